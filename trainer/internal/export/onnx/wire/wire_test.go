package wire_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/coreml/coremlpb"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/onnxpb"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/wire"
)

// field is one length-delimited field.
func field(number protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), body)
}

// Field numbers of ONNX's messages.
const (
	graph       = 7
	node        = 1
	name        = 2
	initializer = 5
	dims        = 1
	rawData     = 9
)

// A hostile file is refused before anything is made of it; decoding these would take up to a hundred times their size.
func TestHostileFilesTakeNoMemory(t *testing.T) {
	const many = 2 << 20
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty nodes":       {field(graph, bytes.Repeat(field(node, nil), many)), "parts"},
		"empty metadata":    {bytes.Repeat(field(14, nil), many), "parts"},
		"dimensions":        {field(graph, field(initializer, field(dims, bytes.Repeat([]byte{1}, 3*many)))), "not weights"},
		"dimensions apart":  {field(graph, field(initializer, bytes.Repeat([]byte{dims << 3, 1}, 3*many))), "not weights"},
		"names of tensors":  {field(graph, field(node, bytes.Repeat(field(1, []byte("a")), many))), "not weights"},
		"a long name":       {field(graph, field(name, make([]byte, 3*many))), "not weights"},
		"graphs of a graph": {bytes.Repeat(field(graph, nil), many), "parts"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := wire.Decode(c.data, &onnxpb.ModelProto{})
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
				t.Errorf("%d bytes of file took %d bytes of memory", len(c.data), took)
			}
		})
	}
}

// What is not refused takes a few times the file's size.
func TestWeightsTakeTheirSize(t *testing.T) {
	weights := make([]byte, 16<<20)
	for name, c := range map[string]struct {
		data []byte
		into proto.Message
	}{
		"ONNX":    {field(graph, field(initializer, field(rawData, weights))), &onnxpb.ModelProto{}},
		"Core ML": {field(403, field(1, field(140, field(20, field(1, weights))))), &coremlpb.Model{}},
		"halves":  {field(403, field(1, field(140, field(20, field(2, weights))))), &coremlpb.Model{}},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := wire.Decode(c.data, c.into)
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 2*uint64(len(c.data)) {
				t.Errorf("%d bytes of file took %d bytes of memory", len(c.data), took)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	number := protowire.AppendVarint(protowire.AppendTag(nil, graph, protowire.VarintType), 1)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"an unknown field":         {field(99, nil), "unknown field 99"},
		"an unknown field inside":  {field(graph, field(99, nil)), "GraphProto has the unknown field 99"},
		"a number for a message":   {number, "another type"},
		"text for a number":        {field(1, []byte("x")), "another type"},
		"a length beyond the end":  {field(graph, field(node, nil))[:2], "unexpected EOF"},
		"a length beyond the part": {field(graph, []byte{node<<3 | 2, 100}), "unexpected EOF"},
		"the field number 0":       {[]byte{0}, "invalid field number"},
		"a name that is not UTF-8": {field(403, field(1, field(1, []byte("\xff")))), "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			var into proto.Message = &onnxpb.ModelProto{}
			if strings.Contains(name, "UTF-8") { // only the third version of the language asks for it
				into = &coremlpb.Model{}
			}
			if err := wire.Decode(c.data, into); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestRead(t *testing.T) {
	want := &onnxpb.ModelProto{IrVersion: proto.Int64(8), Graph: &onnxpb.GraphProto{Name: proto.String("x"),
		Initializer: []*onnxpb.TensorProto{{Dims: []int64{1, 2}, RawData: make([]byte, 8)}}}}
	data, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.onnx")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var got onnxpb.ModelProto
	if err := wire.Read(path, &got); err != nil || !proto.Equal(&got, want) {
		t.Errorf("got %v (%v)", &got, err)
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "absent"), t.TempDir(), os.DevNull} {
		if err := wire.Read(path, &got); err == nil {
			t.Errorf("%s was read", path)
		}
	}
}
