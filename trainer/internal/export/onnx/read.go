package onnx

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/onnxpb"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/plain"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/wire"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Read rebuilds a classifier from a file that Write made, from nothing but the file. The network computes the same as the
// written one, without the batch norms and dropout that are no longer in the file. Other models are refused with a sentence.
func Read(path string) (network.Model, error) {
	var file onnxpb.ModelProto
	if err := wire.Read(path, &file); err != nil {
		return network.Model{}, fmt.Errorf("read ONNX model %q: %w", path, err)
	}
	m, err := parse(&file)
	if err != nil {
		return network.Model{}, fmt.Errorf("read ONNX model %q: %w", path, err)
	}
	return m, nil
}

func parse(file *onnxpb.ModelProto) (network.Model, error) {
	sets := file.GetOpsetImport()
	if file.GetIrVersion() != irVersion || len(sets) != 1 || sets[0].GetDomain() != "" || sets[0].GetVersion() != opset {
		return network.Model{}, fmt.Errorf("it is not of IR version %d with operator set %d, as written here", irVersion, opset)
	}
	r := reader{
		net:    plain.Net{Name: file.GetGraph().GetName(), Weights: network.Weights{}},
		arrays: map[string]network.Tensor{},
		layers: map[string]string{},
		parts:  map[string]part{},
		made:   map[string]bool{Input: true},
	}
	if err := r.metadata(file); err != nil {
		return network.Model{}, err
	}
	if err := r.ends(file.GetGraph()); err != nil {
		return network.Model{}, err
	}
	for _, t := range file.GetGraph().GetInitializer() {
		if err := r.initializer(t); err != nil {
			return network.Model{}, fmt.Errorf("constant %q: %w", t.GetName(), err)
		}
	}
	for _, n := range file.GetGraph().GetNode() {
		if err := r.node(n); err != nil {
			return network.Model{}, fmt.Errorf("node %q: %w", n.GetName(), err)
		}
	}
	// The last layer is the output, which the plain form requires to be a Softmax.
	if last := len(r.net.Layers) - 1; last < 0 || r.layers[Output] != r.net.Layers[last].Name {
		return network.Model{}, fmt.Errorf("no node makes the output %q last", Output)
	}
	if len(r.parts) > 0 {
		return network.Model{}, fmt.Errorf("a layer of two nodes lacks the second")
	}
	for name := range r.arrays {
		if name != relu6Min && name != relu6Max {
			return network.Model{}, fmt.Errorf("no node takes the constant %q", name)
		}
	}
	return r.net.Model()
}

// metadata reads the class names and the usage.
func (r *reader) metadata(file *onnxpb.ModelProto) error {
	for _, p := range file.GetMetadataProps() {
		switch p.GetKey() {
		case LabelsKey:
			if err := json.Unmarshal([]byte(p.GetValue()), &r.net.Labels); err != nil {
				return fmt.Errorf("class names: %w", err)
			}
		case network.UsageName:
			if err := json.Unmarshal([]byte(p.GetValue()), &r.net.Usage); err != nil {
				return err
			}
		}
	}
	return nil
}

// ends checks input and output and takes the image's size from them.
func (r *reader) ends(g *onnxpb.GraphProto) error {
	if len(g.GetInput()) != 1 || len(g.GetOutput()) != 1 {
		return fmt.Errorf("it has %d inputs and %d outputs instead of one each", len(g.GetInput()), len(g.GetOutput()))
	}
	if dims := g.Input[0].GetType().GetTensorType().GetShape().GetDim(); len(dims) > 1 {
		r.net.Size = int(dims[1].GetDimValue())
	}
	size := int64(r.net.Size)
	if !proto.Equal(g.Input[0], valueInfo(Input, size, size, 3)) {
		return fmt.Errorf("its input is not %q, a batch of square RGB images", Input)
	}
	if !proto.Equal(g.Output[0], valueInfo(Output, int64(len(r.net.Labels)))) {
		return fmt.Errorf("its output is not %q for %d classes", Output, len(r.net.Labels))
	}
	return nil
}

// initializer keeps an array whose shape accounts for every byte of it.
func (r *reader) initializer(t *onnxpb.TensorProto) error {
	if _, twice := r.arrays[t.GetName()]; twice {
		return fmt.Errorf("it stands there twice")
	}
	raw := t.GetRawData()
	elements, whole := len(raw)/4, len(raw)%4 == 0
	count := 1
	shape := make([]int, 0, len(t.GetDims()))
	for _, d := range t.GetDims() {
		if d < 1 || d > int64(elements/count) {
			return fmt.Errorf("shape %v does not fit %d bytes", t.GetDims(), len(raw))
		}
		count *= int(d)
		shape = append(shape, int(d))
	}
	if !whole || count != elements || t.GetDataType() != typeFloat {
		return fmt.Errorf("%d bytes are no float32 array of shape %v", len(raw), t.GetDims())
	}
	data := make([]float32, count)
	for i := range data {
		data[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	r.arrays[t.GetName()] = network.Tensor{Shape: shape, Data: data}
	return nil
}
