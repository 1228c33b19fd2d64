package tflite

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
)

// shape is the shape of the operation's output for inputs of these shapes, which have 1…4 dimensions of at least 1.
func (o operation) shape(in []tensor) ([]int, error) {
	x := in[0].shape
	switch o.code {
	case schema.BuiltinOperatorConv2D, schema.BuiltinOperatorDepthwiseConv2D:
		return o.convolved(x, in[inKernel].shape, in[inBias].shape)
	case schema.BuiltinOperatorFullyConnected:
		kernel, bias := in[inKernel].shape, in[inBias].shape
		if len(kernel) != 2 || elements(x) != kernel[1] || !slices.Equal(bias, kernel[:1]) {
			return nil, fmt.Errorf("kernel %v and bias %v do not fit an input of shape %v", kernel, bias, x)
		}
		return []int{1, kernel[0]}, nil
	case schema.BuiltinOperatorPad:
		return padded(x, in[inPaddings])
	case schema.BuiltinOperatorMean:
		return o.pooled(x, in[1])
	case schema.BuiltinOperatorConcatenation:
		return joined(in)
	case schema.BuiltinOperatorAdd, schema.BuiltinOperatorMul:
		y := in[inOperand].shape
		if spreads := len(y) == 1 && (y[0] == 1 || y[0] == x[len(x)-1]); !spreads && !slices.Equal(x, y) {
			return nil, fmt.Errorf("shapes %v and %v do not go together", x, y)
		}
	}
	return x, nil
}

func (o operation) convolved(x, kernel, bias []int) ([]int, error) {
	if len(x) != 4 || len(kernel) != 4 || o.stride < 1 {
		return nil, fmt.Errorf("kernel %v and stride %d do not fit an input of shape %v", kernel, o.stride, x)
	}
	outputs, inputs := kernel[0], kernel[3]
	if o.code == schema.BuiltinOperatorDepthwiseConv2D {
		outputs, inputs = kernel[3], kernel[3]
		if kernel[0] != 1 {
			return nil, fmt.Errorf("kernel %v is not that of a depthwise convolution", kernel)
		}
	}
	if inputs != x[3] || !slices.Equal(bias, []int{outputs}) {
		return nil, fmt.Errorf("kernel %v and bias %v do not fit an input of shape %v", kernel, bias, x)
	}
	out := []int{1, 0, 0, outputs}
	for i := 1; i <= 2; i++ {
		out[i] = (x[i] + o.stride - 1) / o.stride
		if !o.same {
			if x[i] < kernel[i] {
				return nil, fmt.Errorf("kernel %v is larger than an input of shape %v", kernel, x)
			}
			out[i] = (x[i]-kernel[i])/o.stride + 1
		}
	}
	return out, nil
}

func padded(x []int, paddings tensor) ([]int, error) {
	if !slices.Equal(paddings.shape, []int{len(x), 2}) || paddings.kind != schema.TensorTypeInt32 {
		return nil, fmt.Errorf("paddings of shape %v do not fit an input of shape %v", paddings.shape, x)
	}
	values, err := paddings.values()
	if err != nil {
		return nil, err
	}
	out := slices.Clone(x)
	for i := range x {
		before, after := values[2*i], values[2*i+1]
		if before < 0 || after < 0 || before > maxSide || after > maxSide || i == 0 && before+after > 0 {
			return nil, fmt.Errorf("the paddings are %v", values)
		}
		out[i] += int(before + after)
	}
	return out, nil
}

func (o operation) pooled(x []int, axes tensor) ([]int, error) {
	if len(x) != 4 || axes.kind != schema.TensorTypeInt32 || !bytes.Equal(axes.data, int32Bytes([]int32{1, 2})) {
		return nil, fmt.Errorf("it is no mean over height and width of an image")
	}
	if o.keep {
		return []int{1, 1, 1, x[3]}, nil
	}
	return []int{1, x[3]}, nil
}

func joined(in []tensor) ([]int, error) {
	out := slices.Clone(in[0].shape)
	last := len(out) - 1
	for _, t := range in[1:] {
		if len(t.shape) != len(out) || !slices.Equal(t.shape[:last], out[:last]) {
			return nil, fmt.Errorf("cannot join shapes %v and %v", in[0].shape, t.shape)
		}
		out[last] += t.shape[last]
	}
	return out, nil
}

// checkKinds tells whether types and quantisation are those of a float or of a full-integer program. The rules are
// those of the 8-bit quantisation specification, https://ai.google.dev/edge/litert/models/quantization_spec.
func (o operation) checkKinds(in []tensor, out tensor) error {
	switch o.code {
	case schema.BuiltinOperatorDequantize, schema.BuiltinOperatorQuantize:
		return o.checkConversion(in[0], out)
	}
	kind := out.kind
	if kind != schema.TensorTypeFloat32 && kind != schema.TensorTypeInt8 {
		return fmt.Errorf("its output is %v", kind)
	}
	for i, t := range in {
		want := kind
		switch {
		case o.hasBias() && i == inBias && kind == schema.TensorTypeInt8:
			want = schema.TensorTypeInt32
		case i > 0 && (o.code == schema.BuiltinOperatorPad || o.code == schema.BuiltinOperatorMean):
			continue // paddings and axes, looked at before
		}
		if t.kind != want {
			return fmt.Errorf("its input %d is %v and its output %v", i, t.kind, kind)
		}
	}
	if kind == schema.TensorTypeInt8 {
		return o.checkQuant(in, out)
	}
	return nil
}

// checkConversion: float16 weights are widened, and pixels and probabilities change between uint8 and int8; the numbers
// stay what they are.
func (o operation) checkConversion(in, out tensor) error {
	type pair struct{ from, to schema.TensorType }
	switch p := (pair{in.kind, out.kind}); {
	case o.code == schema.BuiltinOperatorDequantize && p == pair{schema.TensorTypeFloat16, schema.TensorTypeFloat32}:
		return nil
	case o.code == schema.BuiltinOperatorQuantize && (p == pair{schema.TensorTypeUint8, schema.TensorTypeInt8} || p == pair{schema.TensorTypeInt8, schema.TensorTypeUint8}):
		if a, b := in.quant, out.quant; a.scale[0] != b.scale[0] || a.zero-b.zero != limit(in.kind)-limit(out.kind) {
			return fmt.Errorf("it is more than another way to write the same numbers")
		}
		return nil
	}
	return fmt.Errorf("it turns %v into %v", in.kind, out.kind)
}

// limit is the smallest number of an 8-bit kind.
func limit(kind schema.TensorType) int {
	low, _ := limits(kind)
	return low
}

func (o operation) checkQuant(in []tensor, out tensor) error {
	if o.hasBias() {
		return o.checkScales(in[0].quant, in[inKernel], in[inBias])
	}
	switch o.code {
	case schema.BuiltinOperatorPad, schema.BuiltinOperatorConcatenation:
		joined := in[:1]
		if o.code == schema.BuiltinOperatorConcatenation {
			joined = in
		}
		for _, t := range joined {
			if t.quant.scale[0] != out.quant.scale[0] || t.quant.zero != out.quant.zero {
				return fmt.Errorf("input %q and output have different scales", t.name)
			}
		}
	case schema.BuiltinOperatorSoftmax:
		if out.quant.scale[0] != softmaxScale || out.quant.zero != math.MinInt8 {
			return fmt.Errorf("its output has scale %v and zero point %d", out.quant.scale[0], out.quant.zero)
		}
	}
	return nil
}

// checkScales: kernels are symmetric, and a bias is in steps of input scale × kernel scale, as the sums are.
func (o operation) checkScales(x *quant, kernel, bias tensor) error {
	axis, scales := 0, len(bias.data)/4
	switch o.code {
	case schema.BuiltinOperatorDepthwiseConv2D:
		axis = 3
	case schema.BuiltinOperatorFullyConnected:
		scales = 1
	}
	if k := kernel.quant; k.zero != 0 || len(k.scale) != scales || k.axis != axis {
		return fmt.Errorf("its kernel has %d scales for dimension %d and zero point %d", len(k.scale), k.axis, k.zero)
	}
	if bias.quant == nil || len(bias.quant.scale) != scales {
		return fmt.Errorf("its bias has not the scales of the kernel")
	}
	for i, s := range bias.quant.scale {
		want := float64(x.scale[0]) * float64(kernel.quant.scale[i])
		if math.Abs(float64(s)-want) > 1e-5*want {
			return fmt.Errorf("scale %d of its bias is %v instead of %v", i, s, want)
		}
	}
	return nil
}
