package plain

import "github.com/cultivar-ml/cultivar/trainer/internal/network"

// Orders of the axes of a kernel in the files, as axes in the network's order, and the way back. A convolution's
// [h,w,in,out] becomes [out,in,h,w]; a depthwise one's [h,w,channels,1] becomes [channels,1,h,w].
var (
	convToFile        = []int{3, 2, 0, 1}
	convFromFile      = []int{2, 3, 1, 0}
	depthwiseToFile   = []int{2, 3, 0, 1}
	depthwiseFromFile = []int{2, 3, 0, 1}
)

// Kernel returns a convolution's array with the outputs first: [outputs, inputs of a group, height, width]. groups is
// the number of groups.
func (n Net) Kernel(l Layer) (kernel network.Tensor, groups int) {
	if l.Kind == network.DepthwiseConv2D {
		kernel = Transpose(n.Weights[l.Name+"/depthwise_kernel"], depthwiseToFile)
		return kernel, kernel.Shape[0]
	}
	return Transpose(n.Weights[l.Name+"/kernel"], convToFile), 1
}

// SetKernel is the opposite of Kernel for a layer that is yet to be filled in: it sets the layer's kind, kernel and filters
// and keeps the array. It tells whether both formats' convolution of that kind is one of ours: square, and with one group
// or as many as there are channels.
func (n Net) SetKernel(l *Layer, kernel network.Tensor, groups int) bool {
	if len(kernel.Shape) != 4 || kernel.Shape[2] != kernel.Shape[3] {
		return false
	}
	l.Kernel = kernel.Shape[2]
	switch {
	case groups == 1:
		l.Kind, l.Filters = network.Conv2D, kernel.Shape[0]
		n.Weights[l.Name+"/kernel"] = Transpose(kernel, convFromFile)
	case groups == kernel.Shape[0] && kernel.Shape[1] == 1:
		l.Kind = network.DepthwiseConv2D
		n.Weights[l.Name+"/depthwise_kernel"] = Transpose(kernel, depthwiseFromFile)
	default:
		return false
	}
	return true
}

// Transpose returns t with its axes in another order: axis i of the result is axis order[i] of t.
func Transpose(t network.Tensor, order []int) network.Tensor {
	rank := len(order)
	strides := make([]int, rank) // of t
	step := 1
	for axis := rank - 1; axis >= 0; axis-- {
		strides[axis] = step
		step *= t.Shape[axis]
	}
	out := network.Tensor{Shape: make([]int, rank), Data: make([]float32, len(t.Data))}
	steps := make([]int, rank)
	for i, axis := range order {
		out.Shape[i], steps[i] = t.Shape[axis], strides[axis]
	}
	at, from := make([]int, rank), 0
	for i := range out.Data {
		out.Data[i] = t.Data[from]
		for axis := rank - 1; axis >= 0; axis-- {
			at[axis]++
			from += steps[axis]
			if at[axis] < out.Shape[axis] {
				break
			}
			from -= steps[axis] * out.Shape[axis]
			at[axis] = 0
		}
	}
	return out
}
