package curves

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// EventsName is the name that TensorBoard knows such a file by: it looks for "tfevents" in it.
func EventsName(run int) string { return fmt.Sprintf("events.out.tfevents.run-%d", run) }

// Field numbers of tensorflow.Event and tensorflow.Summary (tensorflow/core/util/event.proto,
// tensorflow/core/framework/summary.proto).
const (
	eventWallTime    = 1
	eventStep        = 2
	eventFileVersion = 3
	eventSummary     = 5
	summaryValue     = 1
	valueTag         = 1
	valueSimple      = 2
	fileVersion      = "brain.Event:2"
)

// WriteEvents writes an event file for TensorBoard: a step for each point, with its numbers as scalars.
func WriteEvents(w io.Writer, points []Point) error {
	begun := time.Unix(0, 0)
	if len(points) > 0 {
		begun = points[0].Time
	}
	head := protowire.AppendString(protowire.AppendTag(event(begun, 0), eventFileVersion, protowire.BytesType), fileVersion)
	if err := writeRecord(w, head); err != nil {
		return err
	}
	for _, p := range points {
		var summary []byte
		for _, c := range all() {
			v := float64(c.of(p.Epoch))
			if c.tag == "" || math.IsNaN(v) || math.IsInf(v, 0) {
				continue
			}
			value := protowire.AppendString(protowire.AppendTag(nil, valueTag, protowire.BytesType), c.tag)
			value = protowire.AppendFixed32(protowire.AppendTag(value, valueSimple, protowire.Fixed32Type), math.Float32bits(float32(v)))
			summary = protowire.AppendBytes(protowire.AppendTag(summary, summaryValue, protowire.BytesType), value)
		}
		e := protowire.AppendBytes(protowire.AppendTag(event(p.Time, p.Epoch.Epoch), eventSummary, protowire.BytesType), summary)
		if err := writeRecord(w, e); err != nil {
			return err
		}
	}
	return nil
}

func event(at time.Time, step int) []byte {
	b := protowire.AppendFixed64(protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type), math.Float64bits(float64(at.UnixMicro())/1e6))
	return protowire.AppendVarint(protowire.AppendTag(b, eventStep, protowire.VarintType), uint64(step))
}

// writeRecord writes a TFRecord: length, its checksum, content, its checksum
// (https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details).
func writeRecord(w io.Writer, content []byte) error {
	length := binary.LittleEndian.AppendUint64(nil, uint64(len(content)))
	record := binary.LittleEndian.AppendUint32(length, masked(length))
	record = binary.LittleEndian.AppendUint32(append(record, content...), masked(content))
	_, err := w.Write(record)
	return err
}

// masked is a checksum as TFRecords have it, which keeps one of a checksum from being itself.
func masked(b []byte) uint32 {
	c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (c>>15 | c<<17) + 0xa282ead8
}
