package network

import (
	"fmt"
	"slices"
)

// Shapes returns the shape of each layer's output without the batch dimension: [height, width, channels] or [units].
// The error names the layer whose inputs do not fit it.
func (n Network) Shapes() (map[string][]int, error) {
	shapes := make(map[string][]int, len(n.Layers))
	for _, l := range n.Layers {
		inputs := make([][]int, len(l.Inputs))
		for i, name := range l.Inputs {
			shape, ok := shapes[name]
			if !ok {
				return nil, fmt.Errorf("layer %s of %s is fed by %q, which does not stand before it", l.Name, n.Name, name)
			}
			inputs[i] = shape
		}
		if _, twice := shapes[l.Name]; twice {
			return nil, fmt.Errorf("%s has two layers named %s", n.Name, l.Name)
		}
		shape, err := l.shape(n.Size, inputs)
		if err != nil {
			return nil, fmt.Errorf("layer %s of %s: %w", l.Name, n.Name, err)
		}
		shapes[l.Name] = shape
	}
	return shapes, nil
}

// shape infers one layer's output; size is the network's input side.
func (l Layer) shape(size int, inputs [][]int) ([]int, error) {
	if err := l.checkInputs(inputs); err != nil {
		return nil, err
	}
	switch l.Kind {
	case Input:
		if l.Units > 0 {
			return []int{l.Units}, nil
		}
		if l.Filters > 0 {
			return []int{size, size, l.Filters}, nil
		}
		return []int{size, size, 3}, nil
	case ZeroPadding2D:
		in := inputs[0]
		return []int{in[0] + l.Pad[0] + l.Pad[1], in[1] + l.Pad[2] + l.Pad[3], in[2]}, nil
	case Conv2D, DepthwiseConv2D:
		return l.convolved(inputs[0])
	case GlobalAveragePooling2D:
		return []int{inputs[0][2]}, nil
	case Concatenate:
		return joined(inputs), nil
	case Dense:
		return []int{l.Units}, nil
	default: // element by element
		return inputs[0], nil
	}
}

// checkInputs tells whether number and rank of the inputs suit the kind.
func (l Layer) checkInputs(inputs [][]int) error {
	want, rank := 1, 0
	switch l.Kind {
	case Concatenate:
		return checkJoined(inputs)
	case Input:
		want = 0
	case Add:
		want = 2
	case ZeroPadding2D, Conv2D, DepthwiseConv2D, GlobalAveragePooling2D:
		rank = 3
	case Dense:
		rank = 1
	case Rescaling, BatchNormalization, ReLU6, Dropout, Softmax:
	default:
		return fmt.Errorf("unknown kind %q", l.Kind)
	}
	if len(inputs) != want {
		return fmt.Errorf("%s takes %d inputs, not %d", l.Kind, want, len(inputs))
	}
	for _, in := range inputs {
		if rank > 0 && len(in) != rank {
			return fmt.Errorf("%s takes an input of %d dimensions, not of shape %v", l.Kind, rank, in)
		}
	}
	if l.Kind == Add && !equalShape(inputs[0], inputs[1]) {
		return fmt.Errorf("cannot add shapes %v and %v", inputs[0], inputs[1])
	}
	return nil
}

// checkJoined tells whether the inputs differ in their last axis only.
func checkJoined(inputs [][]int) error {
	if len(inputs) < 2 {
		return fmt.Errorf("%s takes at least 2 inputs, not %d", Concatenate, len(inputs))
	}
	first := inputs[0]
	for _, in := range inputs[1:] {
		if len(in) != len(first) || !equalShape(in[:len(in)-1], first[:len(first)-1]) {
			return fmt.Errorf("cannot join shapes %v and %v", first, in)
		}
	}
	return nil
}

func joined(inputs [][]int) []int {
	shape := slices.Clone(inputs[0])
	last := len(shape) - 1
	for _, in := range inputs[1:] {
		shape[last] += in[last]
	}
	return shape
}

func (l Layer) convolved(in []int) ([]int, error) {
	if l.Kernel < 1 || l.Stride < 1 {
		return nil, fmt.Errorf("kernel %d and stride %d must be at least 1", l.Kernel, l.Stride)
	}
	out := make([]int, 3)
	for i := range 2 {
		if l.Padding == Same {
			out[i] = ceilDiv(in[i], l.Stride)
			continue
		}
		if in[i] < l.Kernel {
			return nil, fmt.Errorf("input of %v pixels is smaller than the kernel of %d", in[:2], l.Kernel)
		}
		out[i] = (in[i]-l.Kernel)/l.Stride + 1
	}
	out[2] = in[2]
	if l.Kind == Conv2D {
		out[2] = l.Filters
	}
	return out, nil
}

func equalShape(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// Array is the name ("layer/weight") and shape of one weight array.
type Array struct {
	Name  string
	Shape []int
}

// Size is the number of elements.
func (a Array) Size() int { return product(a.Shape) }

// Arrays lists every weight array of the network, in layer order and within a layer in Keras' order.
func (n Network) Arrays() ([]Array, error) {
	shapes, err := n.Shapes()
	if err != nil {
		return nil, err
	}
	var arrays []Array
	for _, l := range n.Layers {
		if len(l.Inputs) == 0 {
			continue
		}
		in := shapes[l.Inputs[0]]
		arrays = append(arrays, l.arrays(in[len(in)-1])...)
	}
	return arrays, nil
}

// arrays lists one layer's weights, given the channels of its input.
func (l Layer) arrays(channels int) []Array {
	array := func(weight string, shape ...int) Array { return Array{Name: l.Name + "/" + weight, Shape: shape} }
	var arrays []Array
	outputs := channels
	switch l.Kind {
	case Conv2D:
		outputs = l.Filters
		arrays = []Array{array("kernel", l.Kernel, l.Kernel, channels, l.Filters)}
	case DepthwiseConv2D:
		arrays = []Array{array("depthwise_kernel", l.Kernel, l.Kernel, channels, 1)}
	case Dense:
		outputs = l.Units
		arrays = []Array{array("kernel", channels, l.Units)}
	case BatchNormalization:
		return []Array{array("gamma", channels), array("beta", channels),
			array("moving_mean", channels), array("moving_variance", channels)}
	default:
		return nil
	}
	if l.Bias {
		arrays = append(arrays, array("bias", outputs))
	}
	return arrays
}

// Params counts the weights, moving means and variances included, as Keras' count_params does.
func (n Network) Params() (int, error) {
	arrays, err := n.Arrays()
	if err != nil {
		return 0, err
	}
	total := 0
	for _, a := range arrays {
		total += a.Size()
	}
	return total, nil
}

// MACs counts the multiply-accumulates of convolutions and dense layers for one image.
func (n Network) MACs() (int, error) {
	shapes, err := n.Shapes()
	if err != nil {
		return 0, err
	}
	total := 0
	for _, l := range n.Layers {
		switch l.Kind {
		case Conv2D:
			total += product(shapes[l.Name]) * l.Kernel * l.Kernel * shapes[l.Inputs[0]][2]
		case DepthwiseConv2D:
			total += product(shapes[l.Name]) * l.Kernel * l.Kernel
		case Dense:
			total += shapes[l.Inputs[0]][0] * l.Units
		}
	}
	return total, nil
}
