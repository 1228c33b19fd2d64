package tflite

import (
	"math"
	"slices"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// This file moves scales and offsets into weights. Sums are taken in float64 and rounded once.

// settled makes a layer's output a tensor of its own, by the operations Mul and Add if need be.
func (l *lowering) settled(layer string) value {
	v := l.values[layer]
	if v.scale == nil {
		return v
	}
	shape := l.shape(layer)
	v.tensor = l.elementwise(schema.BuiltinOperatorMul, layer+"/scaled", shape, v.tensor, v.scale)
	v.tensor = l.elementwise(schema.BuiltinOperatorAdd, layer, shape, v.tensor, v.offset)
	v.scale, v.offset = nil, nil
	l.values[layer] = v // for others that use it
	return v
}

// centered is the layer's output without an offset, so that a zero in it is a stored zero.
func (l *lowering) centered(layer string) value {
	v := l.values[layer]
	if v.scale == nil || allAre(v.offset, 0) {
		return v
	}
	if slices.Contains(v.scale, 0) {
		return l.settled(layer)
	}
	shift := make([]float64, len(v.scale))
	rest := make([]float64, len(v.scale))
	for c := range shift {
		shift[c] = v.offset[c] / v.scale[c]
	}
	if l.whole && v.tensor == l.p.input && allAre(shift, shift[0]) {
		rounded := math.RoundToEven(shift[0])
		for c := range shift {
			rest[c] = (shift[c] - rounded) * v.scale[c]
			shift[c] = rounded
		}
	}
	v.tensor = l.elementwise(schema.BuiltinOperatorAdd, layer+"/centered", l.shape(layer), v.tensor, shift)
	v.offset = rest
	l.values[layer] = v
	return v
}

// elementwise adds or multiplies one number for each channel, or one for all when they are the same.
func (l *lowering) elementwise(code schema.BuiltinOperator, name string, shape []int, tensor int, numbers []float64) int {
	if allAre(numbers, numbers[0]) {
		numbers = numbers[:1]
	}
	operand := l.p.floats(name+"/operand", []int{len(numbers)}, narrow(numbers))
	output := l.computed(name, shape)
	l.p.ops = append(l.p.ops, operation{code: code, inputs: []int{tensor, operand}, output: output})
	return output
}

func (l *lowering) pad(layer network.Layer) value {
	v := l.centered(layer.Inputs[0])
	paddings := l.p.ints(layer.Name+"/paddings", []int{4, 2}, []int32{0, 0,
		int32(layer.Pad[0]), int32(layer.Pad[1]), int32(layer.Pad[2]), int32(layer.Pad[3]), 0, 0})
	v.tensor = l.run(layer.Name, operation{code: schema.BuiltinOperatorPad, inputs: []int{v.tensor, paddings}})
	return v
}

// convolution takes the scale and offset of its input into kernel and bias. TensorFlow Lite's layouts are
// [out,h,w,in], and [1,h,w,channels] for a depthwise one, which is the order in memory that we have.
func (l *lowering) convolution(layer network.Layer, v value) value {
	in := l.shapes[layer.Inputs[0]]
	if layer.Padding == network.Same && (padding(in[0], layer) > 0 || padding(in[1], layer) > 0) {
		v = l.centered(layer.Inputs[0])
	}
	o := operation{code: schema.BuiltinOperatorConv2D, stride: layer.Stride, same: layer.Padding == network.Same}
	name, outputs := layer.Name+"/kernel", layer.Filters
	if layer.Kind == network.DepthwiseConv2D {
		o.code, name, outputs = schema.BuiltinOperatorDepthwiseConv2D, layer.Name+"/depthwise_kernel", in[2]
	}
	kernel := widen(l.weights[name].Data)
	bias := l.bias(layer, outputs)
	shape := []int{1, layer.Kernel, layer.Kernel, outputs}
	if layer.Kind == network.Conv2D {
		v.intoKernel(kernel, bias)
		kernel = transposed(kernel, outputs)
		shape = []int{outputs, layer.Kernel, layer.Kernel, in[2]}
	} else {
		v.intoDepthwise(kernel, bias)
	}
	o.inputs = []int{v.tensor, l.p.floats(name, shape, narrow(kernel)), l.p.floats(layer.Name+"/bias", []int{outputs}, narrow(bias))}
	return value{tensor: l.run(layer.Name, o)}
}

func (l *lowering) dense(layer network.Layer, v value) value {
	name := layer.Name + "/kernel"
	kernel, bias := widen(l.weights[name].Data), l.bias(layer, layer.Units)
	v.intoKernel(kernel, bias)
	o := operation{code: schema.BuiltinOperatorFullyConnected, inputs: []int{v.tensor,
		l.p.floats(name, []int{layer.Units, len(kernel) / layer.Units}, narrow(transposed(kernel, layer.Units))),
		l.p.floats(layer.Name+"/bias", []int{layer.Units}, narrow(bias))}}
	return value{tensor: l.run(layer.Name, o)}
}

// bias is a layer's bias, or zeros.
func (l *lowering) bias(layer network.Layer, outputs int) []float64 {
	if array, ok := l.weights[layer.Name+"/bias"]; ok && layer.Bias {
		return widen(array.Data)
	}
	return make([]float64, outputs)
}

// padding is how many rows or columns of zeros SAME adds in all.
func padding(size int, layer network.Layer) int {
	out := (size + layer.Stride - 1) / layer.Stride
	return max(0, (out-1)*layer.Stride+layer.Kernel-size)
}

// intoKernel changes a kernel […,in,out] and its bias so that they take the stored tensor in place of the value.
func (v value) intoKernel(kernel, bias []float64) {
	if v.scale == nil {
		return
	}
	outputs := len(bias)
	for i, k := range kernel {
		c := i / outputs % len(v.scale)
		bias[i%outputs] += v.offset[c] * k
		kernel[i] = v.scale[c] * k
	}
}

// intoDepthwise is intoKernel for a kernel [h,w,channels].
func (v value) intoDepthwise(kernel, bias []float64) {
	if v.scale == nil {
		return
	}
	for i, k := range kernel {
		c := i % len(v.scale)
		bias[c] += v.offset[c] * k
		kernel[i] = v.scale[c] * k
	}
}

// transposed turns [rows,columns] into [columns,rows].
func transposed(values []float64, columns int) []float64 {
	rows := len(values) / columns
	t := make([]float64, len(values))
	for i, v := range values {
		t[i%columns*rows+i/columns] = v
	}
	return t
}

func allAre(values []float64, x float64) bool {
	return !slices.ContainsFunc(values, func(v float64) bool { return v != x })
}

func widen(values []float32) []float64 {
	wide := make([]float64, len(values))
	for i, v := range values {
		wide[i] = float64(v)
	}
	return wide
}

func narrow(values []float64) []float32 {
	narrow := make([]float32, len(values))
	for i, v := range values {
		narrow[i] = float32(v)
	}
	return narrow
}
