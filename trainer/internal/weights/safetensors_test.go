package weights_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/weights"
)

func sample() network.Weights {
	return network.Weights{
		"b/kernel": {Shape: []int{2, 3}, Data: []float32{1, 2, 3, 4, 5, 6.5}},
		"a/bias":   {Shape: []int{2}, Data: []float32{-1, 1e-30}},
		"c/scalar": {Shape: []int{}, Data: []float32{7}},
		"d/empty":  {Shape: []int{0, 4}, Data: nil},
	}
}

func TestSafetensorsRoundTrip(t *testing.T) {
	metadata := map[string]string{"base": "x", "format": "y"}
	data, err := weights.Encode(sample(), metadata)
	if err != nil {
		t.Fatal(err)
	}
	again, err := weights.Encode(sample(), metadata)
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("equal weights gave other bytes (%v)", err)
	}
	path := filepath.Join(t.TempDir(), "w.safetensors")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	arrays, gotMetadata, err := weights.ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(gotMetadata, metadata) {
		t.Errorf("metadata %v", gotMetadata)
	}
	got, err := weights.Decode(arrays)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range sample() {
		if g := got[name]; !slices.Equal(g.Shape, want.Shape) || !slices.Equal(g.Data, want.Data) {
			t.Errorf("%s: got %v, want %v", name, g, want)
		}
	}
	if len(got) != len(sample()) {
		t.Errorf("%d arrays", len(got))
	}
}

// file puts a header before body bytes.
func file(header string, body int) []byte {
	data := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(data, header...), make([]byte, body)...)
}

func TestSafetensorsRefuses(t *testing.T) {
	tests := map[string]struct {
		data []byte
		want string
	}{
		"empty":              {nil, "cut short"},
		"header too long":    {binary.LittleEndian.AppendUint64(nil, 1<<63), "header would have"},
		"not JSON":           {file("hello", 0), "not a JSON object"},
		"array":              {file("[]", 0), "not a JSON object"},
		"cut JSON":           {file(`{"a":`, 0), `array "a"`},
		"tail":               {file(`{} {}`, 0), "goes on"},
		"unknown type":       {file(`{"a":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}}`, 1), "unknown element type"},
		"negative dimension": {file(`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 1), "larger than the file"},
		"overflow":           {file(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), "larger than the file"},
		"past the end":       {file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 1), "larger than the file"},
		"wrong size":         {file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,3]}}`, 4), "do not follow"},
		"negative offset":    {file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}`, 1), "do not follow"},
		"hole":               {file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), "do not follow"},
		"overlap": {file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3),
			"do not follow"},
		"bytes left over": {file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 2), "after the last"},
		"name twice": {file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2),
			`"a" twice`},
		"metadata twice": {file(`{"__metadata__":{},"__metadata__":{}}`, 0), "metadata twice"},
		"metadata type":  {file(`{"__metadata__":{"a":1}}`, 0), "metadata"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, _, err := weights.ParseSafetensors(test.data); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want …%s…", err, test.want)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, w := range map[string]network.Weights{
		"too few values": {"a": {Shape: []int{3}, Data: []float32{1}}},
		"reserved name":  {"__metadata__": {Shape: []int{1}, Data: []float32{1}}},
	} {
		if _, err := weights.Encode(w, nil); err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

func FuzzSafetensors(f *testing.F) {
	data, err := weights.Encode(sample(), map[string]string{"a": "b"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 2))
	f.Add(file(`{"a":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]}}`, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		arrays, metadata, err := weights.ParseSafetensors(data)
		if err != nil {
			return
		}
		total := 0
		for name, a := range arrays {
			total += len(a.Data)
			for _, d := range a.Shape {
				if d < 0 {
					t.Errorf("%q has shape %v", name, a.Shape)
				}
			}
		}
		if total > len(data) {
			t.Errorf("arrays of %d bytes out of a file of %d", total, len(data))
		}
		w, err := weights.Decode(arrays)
		if err != nil {
			return
		}
		if encoded, err := weights.Encode(w, metadata); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		} else if _, _, err := weights.ParseSafetensors(encoded); err != nil {
			t.Errorf("what was written cannot be read: %v", err)
		}
	})
}
