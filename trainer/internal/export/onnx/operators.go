package onnx

import (
	"fmt"
	"math"
	"slices"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/onnxpb"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/plain"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// reader turns nodes back into layers.
type reader struct {
	net    plain.Net
	arrays map[string]network.Tensor // constants that no node has taken yet
	layers map[string]string         // tensor → the layer that makes it
	parts  map[string]part           // tensor → the first half of a layer that lacks its second node
	made   map[string]bool           // tensors
}

// part is the first node of two.
type part struct {
	kind  network.Kind
	input string // layer
	scale float32
}

// step is one node with what was not looked at yet.
type step struct {
	*onnxpb.NodeProto
	attributes map[string]*onnxpb.AttributeProto
}

// node reads one node: all its attributes and constants must be known and taken.
func (r *reader) node(n *onnxpb.NodeProto) error {
	read, ok := operators[n.GetOpType()]
	if !ok || len(n.GetInput()) == 0 || len(n.GetOutput()) != 1 {
		return fmt.Errorf("operator %q of %d inputs and %d outputs is not written here", n.GetOpType(), len(n.GetInput()), len(n.GetOutput()))
	}
	s := step{NodeProto: n, attributes: make(map[string]*onnxpb.AttributeProto, len(n.GetAttribute()))}
	for _, a := range n.GetAttribute() {
		if _, twice := s.attributes[a.GetName()]; twice {
			return fmt.Errorf("it has two attributes %s", a.GetName())
		}
		s.attributes[a.GetName()] = a
	}
	l := plain.Layer{Layer: network.Layer{Name: n.GetName()}}
	half, err := read(r, &s, &l)
	if err != nil {
		return err
	}
	if len(s.attributes) > 0 {
		return fmt.Errorf("it has attributes that are not written here")
	}
	output := n.GetOutput()[0]
	if r.made[output] {
		return fmt.Errorf("tensor %q is made twice", output)
	}
	r.made[output] = true
	if half != nil {
		r.parts[output] = *half
		return nil
	}
	if want := l.Name; output != want && (l.Kind != network.Input || output != imageName) && (l.Kind != network.Softmax || output != Output) {
		return fmt.Errorf("its output is %q instead of %q", output, want)
	}
	r.layers[output] = l.Name
	r.net.Layers = append(r.net.Layers, l)
	return nil
}

// ints takes a list of numbers within the bounds of sizes.
func (s *step) ints(name string, count int) ([]int, error) {
	a := s.attributes[name]
	delete(s.attributes, name)
	values := a.GetInts()
	// What fits a whole number of 32 bits is looked at in the plain form.
	if len(values) != count || slices.Max(values) > math.MaxInt32 || slices.Min(values) < 0 || a.GetType() != typeInts {
		return nil, fmt.Errorf("attribute %s is not %d numbers", name, count)
	}
	numbers := make([]int, count)
	for i, v := range values {
		numbers[i] = int(v)
	}
	return numbers, nil
}

// isInt takes a number that has one right value.
func (s *step) isInt(name string, want int64) error {
	if got, err := s.int(name); err != nil || got != want {
		return fmt.Errorf("attribute %s is not %d", name, want)
	}
	return nil
}

func (s *step) int(name string) (int64, error) {
	a := s.attributes[name]
	delete(s.attributes, name)
	if a.GetType() != typeInt {
		return 0, fmt.Errorf("attribute %s is not a number", name)
	}
	return a.GetI(), nil
}

// float takes a number.
func (s *step) float(name string) (float32, error) {
	a := s.attributes[name]
	delete(s.attributes, name)
	if a.GetType() != typeFloat {
		return 0, fmt.Errorf("attribute %s is not a float", name)
	}
	return a.GetF(), nil
}

// operators read the operators that are written here into l, whose name is set. The first node of a layer of two gives
// a part instead.
var operators = map[string]func(r *reader, s *step, l *plain.Layer) (*part, error){
	"Transpose":          (*reader).transpose,
	"Mul":                (*reader).mul,
	"Add":                (*reader).add,
	"Conv":               (*reader).conv,
	"BatchNormalization": (*reader).batchNorm,
	"Clip":               (*reader).clip,
	"Concat":             (*reader).concat,
	"GlobalAveragePool":  (*reader).pool,
	"Flatten":            (*reader).flatten,
	"Gemm":               (*reader).gemm,
	"Softmax":            (*reader).softmax,
}

// inputs takes the first count inputs as layers; the others are for constants, of which there must be the given number.
func (r *reader) inputs(s *step, l *plain.Layer, count, constants int) error {
	if len(s.GetInput()) != count+constants {
		return fmt.Errorf("it has %d inputs", len(s.GetInput()))
	}
	for _, tensor := range s.GetInput()[:count] {
		layer, ok := r.layers[tensor]
		if !ok {
			return fmt.Errorf("no layer before it makes %q", tensor)
		}
		l.Inputs = append(l.Inputs, layer)
	}
	return nil
}

// second finds the first half of a layer of that kind, of which s is the second.
func (r *reader) second(s *step, kind network.Kind) (part, bool) {
	first, ok := r.parts[s.GetInput()[0]]
	if !ok || first.kind != kind {
		return part{}, false
	}
	delete(r.parts, s.GetInput()[0])
	return first, true
}

// take returns a constant that nothing has taken before.
func (r *reader) take(name string) (network.Tensor, error) {
	t, ok := r.arrays[name]
	if !ok {
		return t, fmt.Errorf("there is no constant %q, or another node took it", name)
	}
	delete(r.arrays, name)
	return t, nil
}

// weight takes the constant at that input as the layer's array of that name.
func (r *reader) weight(s *step, input int, l *plain.Layer, weight string) error {
	t, err := r.take(s.GetInput()[input])
	r.net.Weights[l.Name+"/"+weight] = t
	return err
}

// number takes a constant of one value.
func (r *reader) number(name string) (float32, error) {
	t, err := r.take(name)
	if err != nil || len(t.Shape) != 0 {
		return 0, fmt.Errorf("%q is not a number of its own", name)
	}
	return t.Data[0], nil
}

func (r *reader) transpose(s *step, l *plain.Layer) (*part, error) {
	l.Kind = network.Input
	order, err := s.ints("perm", 4)
	if err != nil || !slices.Equal(order, []int{0, 3, 1, 2}) || !slices.Equal(s.GetInput(), []string{Input}) {
		return nil, fmt.Errorf("it does not bring the image into ONNX's channel order")
	}
	return nil, nil
}

func (r *reader) mul(s *step, l *plain.Layer) (*part, error) {
	if err := r.inputs(s, l, 1, 1); err != nil {
		return nil, err
	}
	scale, err := r.number(s.GetInput()[1])
	return &part{kind: network.Rescaling, input: l.Inputs[0], scale: scale}, err
}

// add is the second half of a Rescaling, or the sum of two layers.
func (r *reader) add(s *step, l *plain.Layer) (*part, error) {
	first, ok := r.second(s, network.Rescaling)
	if !ok {
		l.Kind = network.Add
		return nil, r.inputs(s, l, 2, 0)
	}
	if len(s.GetInput()) != 2 {
		return nil, fmt.Errorf("it has %d inputs", len(s.GetInput()))
	}
	var err error
	l.Kind, l.Inputs, l.Scale = network.Rescaling, []string{first.input}, first.scale
	l.Offset, err = r.number(s.GetInput()[1])
	return nil, err
}

func (r *reader) conv(s *step, l *plain.Layer) (*part, error) {
	l.Bias = len(s.GetInput()) == 3
	if err := r.inputs(s, l, 1, 1+toInt(l.Bias)); err != nil {
		return nil, err
	}
	kernel, err := r.take(s.GetInput()[1])
	if err != nil {
		return nil, err
	}
	groups, err := s.int("group")
	if err != nil {
		return nil, err
	}
	sides, err := s.ints("kernel_shape", 2)
	if err != nil {
		return nil, err
	}
	pads, err := s.ints("pads", 4)
	if err != nil {
		return nil, err
	}
	strides, err := s.ints("strides", 2)
	if err != nil {
		return nil, err
	}
	if groups > math.MaxInt32 || !r.net.SetKernel(l, kernel, int(groups)) || strides[0] != strides[1] ||
		!slices.Equal(sides, []int{l.Kernel, l.Kernel}) {
		return nil, fmt.Errorf("a convolution of shape %v in %d groups with strides %v is not written here", kernel.Shape, groups, strides)
	}
	l.Stride, l.Pads = strides[0], [4]int{pads[0], pads[2], pads[1], pads[3]}
	if !l.Bias {
		return nil, nil
	}
	return nil, r.weight(s, 2, l, "bias")
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (r *reader) batchNorm(s *step, l *plain.Layer) (*part, error) {
	l.Kind = network.BatchNormalization
	if err := r.inputs(s, l, 1, 4); err != nil {
		return nil, err
	}
	for i, weight := range []string{"gamma", "beta", "moving_mean", "moving_variance"} {
		if err := r.weight(s, i+1, l, weight); err != nil {
			return nil, err
		}
	}
	var err error
	if l.Epsilon, err = s.float("epsilon"); err != nil || !(l.Epsilon > 0) {
		return nil, fmt.Errorf("epsilon is not above 0")
	}
	return nil, nil
}

func (r *reader) clip(s *step, l *plain.Layer) (*part, error) {
	l.Kind = network.ReLU6
	if err := r.inputs(s, l, 1, 2); err != nil {
		return nil, err
	}
	low, high := r.arrays[relu6Min].Data, r.arrays[relu6Max].Data
	if !slices.Equal(s.GetInput()[1:], []string{relu6Min, relu6Max}) || !slices.Equal(low, []float32{0}) || !slices.Equal(high, []float32{6}) {
		return nil, fmt.Errorf("only ReLU6 is written here")
	}
	return nil, nil
}

func (r *reader) concat(s *step, l *plain.Layer) (*part, error) {
	l.Kind = network.Concatenate
	if err := s.isInt("axis", 1); err != nil {
		return nil, err
	}
	return nil, r.inputs(s, l, len(s.GetInput()), 0)
}

func (r *reader) pool(s *step, l *plain.Layer) (*part, error) {
	if err := r.inputs(s, l, 1, 0); err != nil {
		return nil, err
	}
	return &part{kind: network.GlobalAveragePooling2D, input: l.Inputs[0]}, nil
}

func (r *reader) flatten(s *step, l *plain.Layer) (*part, error) {
	first, ok := r.second(s, network.GlobalAveragePooling2D)
	if !ok || len(s.GetInput()) != 1 {
		return nil, fmt.Errorf("it does not follow a pooling")
	}
	l.Kind, l.Inputs = network.GlobalAveragePooling2D, []string{first.input}
	return nil, s.isInt("axis", 1)
}

func (r *reader) gemm(s *step, l *plain.Layer) (*part, error) {
	l.Kind, l.Bias = network.Dense, len(s.GetInput()) == 3
	if err := r.inputs(s, l, 1, 1+toInt(l.Bias)); err != nil {
		return nil, err
	}
	if err := r.weight(s, 1, l, "kernel"); err != nil {
		return nil, err
	}
	shape := r.net.Weights[l.Name+"/kernel"].Shape
	if len(shape) != 2 {
		return nil, fmt.Errorf("its constant of shape %v is no matrix", shape)
	}
	l.Units = shape[1]
	if !l.Bias {
		return nil, nil
	}
	return nil, r.weight(s, 2, l, "bias")
}

func (r *reader) softmax(s *step, l *plain.Layer) (*part, error) {
	l.Kind = network.Softmax
	if err := s.isInt("axis", 1); err != nil {
		return nil, err
	}
	return nil, r.inputs(s, l, 1, 0)
}
