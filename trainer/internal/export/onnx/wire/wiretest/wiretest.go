// Package wiretest changes protobuf messages at random, for tests of the code that reads models from them. Random bytes
// seldom get past the decoder; a message with one field changed gets everywhere. Only tests import it.
package wiretest

import (
	"math"
	"math/rand/v2"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// place is one field of one message within the whole.
type place struct {
	message protoreflect.Message
	field   protoreflect.FieldDescriptor
}

// Mutate changes one field somewhere in m: its value, its presence, or the number or order of its elements.
func Mutate(m proto.Message, r *rand.Rand) {
	var places []place
	collect(m.ProtoReflect(), &places)
	p := places[r.IntN(len(places))]
	switch {
	case r.IntN(8) == 0:
		p.message.Clear(p.field)
	case p.field.IsMap():
	case p.field.IsList():
		list(p.message.Mutable(p.field).List(), p.field, r)
	case p.field.Message() == nil:
		p.message.Set(p.field, value(p.message.Get(p.field), p.field, r))
	}
}

// collect lists the fields that are set, and those of the messages in them.
func collect(m protoreflect.Message, places *[]place) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		*places = append(*places, place{m, f})
		switch {
		case f.IsMap() || f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				collect(v.List().Get(i).Message(), places)
			}
		default:
			collect(v.Message(), places)
		}
		return true
	})
}

func list(l protoreflect.List, f protoreflect.FieldDescriptor, r *rand.Rand) {
	i, j := r.IntN(l.Len()), r.IntN(l.Len())
	switch r.IntN(4) {
	case 0:
		l.Truncate(i)
	case 1:
		l.Append(clone(l.Get(i)))
	case 2:
		a, b := clone(l.Get(i)), clone(l.Get(j))
		l.Set(i, b)
		l.Set(j, a)
	default:
		if f.Message() == nil {
			l.Set(i, value(l.Get(i), f, r))
		} else {
			l.Set(i, clone(l.Get(j)))
		}
	}
}

func clone(v protoreflect.Value) protoreflect.Value {
	if m, ok := v.Interface().(protoreflect.Message); ok {
		return protoreflect.ValueOfMessage(proto.Clone(m.Interface()).ProtoReflect())
	}
	return v
}

// value is another one of the field's type, of those that hurt.
func value(old protoreflect.Value, f protoreflect.FieldDescriptor, r *rand.Rand) protoreflect.Value {
	numbers := []int64{0, 1, -1, 2, 3, 7, 1 << 14, 1 << 20, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64}
	n := numbers[r.IntN(len(numbers))]
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString([]string{"", "/", "image", "probabilities", "relu", old.String() + "x"}[r.IntN(6)])
	case protoreflect.BytesKind:
		raw := append([]byte(nil), old.Bytes()...)
		return protoreflect.ValueOfBytes([][]byte{nil, append(raw, 0), append(raw, raw...), raw[:len(raw)/2]}[r.IntN(4)])
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(!old.Bool())
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32([]float32{0, -1, float32(math.NaN()), float32(math.Inf(1)), 1e38, -6}[r.IntN(6)])
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(n)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(n))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n))
	}
	return old
}
