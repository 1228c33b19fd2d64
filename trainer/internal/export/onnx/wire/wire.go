// Package wire decodes protobuf files of unknown origin. It first walks through the bytes and refuses what our messages
// do not have, and more structure than any model needs: decoding an empty message of two bytes takes a hundred.
// After that, memory is a small multiple of the file's size.
package wire

import (
	"fmt"
	"os"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Bounds of one file. A network of 2,000 layers with 1,000 classes stays below a tenth of them.
const (
	maxFile      = 1<<31 - 1 // bytes; protobuf's own
	maxMessages  = 50_000
	maxStructure = 4 << 20 // bytes that are not weights
)

// Read decodes the file at path into m.
func Read(path string, m proto.Message) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	// A pipe or device could go on forever.
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return fmt.Errorf("%q is no file of a reasonable size", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return Decode(data, m)
}

// Decode decodes data into m.
func Decode(data []byte, m proto.Message) error {
	var s scan
	if err := s.message(data, m.ProtoReflect().Descriptor()); err != nil {
		return fmt.Errorf("not a file of ours: %w", err)
	}
	if err := proto.Unmarshal(data, m); err != nil {
		return fmt.Errorf("not a file of ours: %w", err)
	}
	return nil
}

// scan counts what was seen so far.
type scan struct{ messages, structure int }

// message looks at one message of kind d, none of which can hold another of its own kind.
func (s *scan) message(b []byte, d protoreflect.MessageDescriptor) error {
	if s.messages++; s.messages > maxMessages {
		return fmt.Errorf("it has more than %d parts", maxMessages)
	}
	for len(b) > 0 {
		number, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return protowire.ParseError(tag)
		}
		field := d.Fields().ByNumber(number)
		if field == nil {
			return fmt.Errorf("%s has the unknown field %d", d.Name(), number)
		}
		size := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if size < 0 {
			return protowire.ParseError(size)
		}
		if err := s.field(field, kind, b[tag:tag+size]); err != nil {
			return err
		}
		if s.structure += tag; s.structure > maxStructure {
			return fmt.Errorf("more than %d bytes of it are not weights", maxStructure)
		}
		b = b[tag+size:]
	}
	return nil
}

// field looks at one value, which is whole.
func (s *scan) field(field protoreflect.FieldDescriptor, kind protowire.Type, value []byte) error {
	want, weights := protowire.BytesType, false
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.StringKind:
	case protoreflect.BytesKind:
		weights = true
	case protoreflect.FloatKind:
		want, weights = protowire.Fixed32Type, kind == protowire.BytesType
	default: // numbers; the messages here have no others
		want = protowire.VarintType
	}
	if kind != want && (kind != protowire.BytesType || !field.IsList()) {
		return fmt.Errorf("field %s has another type", field.FullName())
	}
	if field.Kind() == protoreflect.MessageKind {
		body, _ := protowire.ConsumeBytes(value)
		s.structure += len(value) - len(body)
		return s.message(body, field.Message())
	}
	if !weights {
		s.structure += len(value)
	}
	return nil
}
