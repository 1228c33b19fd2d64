// Package weights reads the files that pretrained weights come in (Keras .h5, PyTorch .pth, safetensors), brings them
// into the names and layouts of package network, and writes them as safetensors. It fetches nothing.
package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// The format is https://github.com/huggingface/safetensors: length of the header (8 bytes, little-endian), a JSON
// object from names to type, shape and byte range, then the bytes without a hole.
const (
	lengthBytes = 8
	maxHeader   = 16 << 20 // bytes; a header of ours has under 64 KiB
	maxFile     = 1 << 31  // bytes; the largest base has under 40 MiB
	metadataKey = "__metadata__"
)

// Array is one array of a safetensors file. Data is in row-major order, little-endian.
type Array struct {
	Type  string // the format's name of the element type, such as F32 or U8
	Shape []int
	Data  []byte
}

type header struct {
	Type    string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// elementBytes are the sizes of the element types that are accepted.
func elementBytes(kind string) int64 {
	switch kind {
	case "U8", "I8", "BOOL":
		return 1
	case "F16", "BF16", "I16", "U16":
		return 2
	case "F32", "I32", "U32":
		return 4
	case "F64", "I64", "U64":
		return 8
	}
	return 0
}

// ReadSafetensors reads a safetensors file with its metadata. See ParseSafetensors.
func ReadSafetensors(path string) (map[string]Array, map[string]string, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	arrays, metadata, err := ParseSafetensors(data)
	if err != nil {
		return nil, nil, fmt.Errorf("read %q: %w", path, err)
	}
	return arrays, metadata, nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read weights: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("read weights: %q is not a file of at most 2 GiB", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read weights: %w", err)
	}
	return data, nil
}

// ParseSafetensors reads the bytes of a safetensors file; the arrays share their memory with data. It accepts nothing
// that is ambiguous: byte ranges must fit type and shape and cover the whole of the data once.
func ParseSafetensors(data []byte) (map[string]Array, map[string]string, error) {
	if len(data) < lengthBytes {
		return nil, nil, fmt.Errorf("the file is cut short: a safetensors file has at least %d bytes", lengthBytes)
	}
	length := binary.LittleEndian.Uint64(data)
	if length > maxHeader || length > uint64(len(data)-lengthBytes) {
		return nil, nil, fmt.Errorf("not a safetensors file, or cut short: its header would have %d bytes", length)
	}
	raw, body := data[lengthBytes:lengthBytes+length], data[lengthBytes+length:]
	headers, metadata, err := parseHeader(raw)
	if err != nil {
		return nil, nil, err
	}
	arrays := make(map[string]Array, len(headers))
	names := slices.SortedFunc(maps.Keys(headers), func(a, b string) int {
		if c := headers[a].Offsets[0] - headers[b].Offsets[0]; c != 0 {
			return sign(c)
		}
		return sign(headers[a].Offsets[1] - headers[b].Offsets[1]) // an empty array stands before a full one
	})
	end := int64(0)
	for _, name := range names {
		h := headers[name]
		size, err := h.bytes(int64(len(body)))
		if err != nil {
			return nil, nil, fmt.Errorf("array %q: %w", name, err)
		}
		if h.Offsets[0] != end || h.Offsets[1] != end+size || h.Offsets[1] > int64(len(body)) {
			return nil, nil, fmt.Errorf("array %q: bytes %v do not follow on byte %d with %d bytes inside the file's %d",
				name, h.Offsets, end, size, len(body))
		}
		arrays[name] = Array{Type: h.Type, Shape: h.Shape, Data: body[end:h.Offsets[1]]}
		end = h.Offsets[1]
	}
	if end != int64(len(body)) {
		return nil, nil, fmt.Errorf("%d bytes after the last array", int64(len(body))-end)
	}
	return arrays, metadata, nil
}

func sign(v int64) int {
	if v < 0 {
		return -1
	}
	return int(min(v, 1))
}

// parseHeader reads the JSON object by tokens, because encoding/json would let a name that comes twice pass.
func parseHeader(raw []byte) (map[string]header, map[string]string, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, nil, fmt.Errorf("the header is not a JSON object")
	}
	headers := map[string]header{}
	var metadata map[string]string
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("the header is not valid JSON: %w", err)
		}
		name, _ := token.(string)
		if name == metadataKey {
			if metadata != nil {
				return nil, nil, fmt.Errorf("the header has its metadata twice")
			}
			metadata = map[string]string{}
			if err := decoder.Decode(&metadata); err != nil {
				return nil, nil, fmt.Errorf("the header's metadata: %w", err)
			}
			continue
		}
		var h header
		if err := decoder.Decode(&h); err != nil {
			return nil, nil, fmt.Errorf("the header of array %q: %w", name, err)
		}
		if _, twice := headers[name]; twice {
			return nil, nil, fmt.Errorf("the header has array %q twice", name)
		}
		headers[name] = h
	}
	if _, err := decoder.Token(); err != nil {
		return nil, nil, fmt.Errorf("the header is not valid JSON: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, nil, fmt.Errorf("the header goes on after its JSON object")
	}
	return headers, metadata, nil
}

// bytes is the size that type and shape ask for; limit guards against overflow.
func (h header) bytes(limit int64) (int64, error) {
	size := elementBytes(h.Type)
	if size == 0 {
		return 0, fmt.Errorf("unknown element type %q", h.Type)
	}
	for _, d := range h.Shape {
		if d == 0 {
			return 0, nil
		}
	}
	for _, d := range h.Shape {
		if d < 0 || int64(d) > limit/size {
			return 0, fmt.Errorf("shape %v is larger than the file", h.Shape)
		}
		size *= int64(d)
	}
	return size, nil
}

// Floats decodes an F32 array.
func (a Array) Floats() ([]float32, error) {
	if a.Type != "F32" {
		return nil, fmt.Errorf("element type is %s, not F32", a.Type)
	}
	values := make([]float32, len(a.Data)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(a.Data[4*i:]))
	}
	return values, nil
}

// Decode turns every array of a safetensors file into float32 weights; all must be F32.
func Decode(arrays map[string]Array) (network.Weights, error) {
	w := make(network.Weights, len(arrays))
	for name, a := range arrays {
		values, err := a.Floats()
		if err != nil {
			return nil, fmt.Errorf("array %q: %w", name, err)
		}
		w[name] = network.Tensor{Shape: a.Shape, Data: values}
	}
	return w, nil
}

// Encode returns w as the bytes of a safetensors file. Equal weights and metadata give equal bytes.
func Encode(w network.Weights, metadata map[string]string) ([]byte, error) {
	headers := map[string]any{}
	if len(metadata) > 0 {
		headers[metadataKey] = metadata
	}
	names := slices.Sorted(maps.Keys(w))
	end := int64(0)
	for _, name := range names {
		t := w[name]
		h := header{Type: "F32", Shape: t.Shape, Offsets: [2]int64{end, end + 4*int64(len(t.Data))}}
		if size, err := h.bytes(math.MaxInt64); err != nil || size != 4*int64(len(t.Data)) || name == metadataKey {
			return nil, fmt.Errorf("write array %q: %d values do not fill shape %v", name, len(t.Data), t.Shape)
		}
		if h.Shape == nil {
			h.Shape = []int{}
		}
		headers[name], end = h, h.Offsets[1]
	}
	raw, err := json.Marshal(headers) // sorts the names
	if err != nil {
		return nil, fmt.Errorf("write the header: %w", err)
	}
	raw = append(raw, bytes.Repeat([]byte(" "), (lengthBytes-len(raw)%lengthBytes)%lengthBytes)...)
	out := make([]byte, 0, int64(lengthBytes+len(raw))+end)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(raw)))
	out = append(out, raw...)
	for _, name := range names {
		for _, v := range w[name].Data {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		}
	}
	return out, nil
}
