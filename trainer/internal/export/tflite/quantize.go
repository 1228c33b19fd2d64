package tflite

import (
	"fmt"
	"math"
	"slices"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
)

// span is between which numbers the values of a tensor lie. Zero is always among them.
type span struct{ low, high float64 }

// Numbers of the specification, https://ai.google.dev/edge/litert/models/quantization_spec.
const (
	softmaxScale = 1.0 / 256
	maxWeight    = 127 // weights are symmetric: −127…127
)

// ranges are what must be known of a program's values to quantise it, by tensor.
type ranges struct {
	spans map[int]span // of what operations compute; those of the image and the probabilities are known
	// drift is by how much the sums behind a tensor, quantised without it, lie too high on average, by channel.
	drift map[int][]float64
}

// quantize turns a float32 program into one of 8-bit integers that takes and gives uint8. Nothing but its arguments
// decides what comes out.
//
// Kernels of convolutions are symmetric with a scale for each output channel. A dense layer's kernel has a single scale:
// runtimes from before 2024 know no other, and behind spread the classes' weights are alike enough. Biases have 32 bits,
// activations are asymmetric with one scale for each tensor.
func quantize(p *program, r ranges) (*program, error) {
	q := quantizer{p: p.clone(), float: p, spans: joinedSpans(p, r.spans), drift: r.drift}
	q.p.ops = nil
	q.image()
	for _, o := range p.ops {
		if err := q.operation(o); err != nil {
			return nil, fmt.Errorf("quantize %q: %w", p.tensors[o.output].name, err)
		}
	}
	// The last operation is Softmax; callers get its answers as uint8.
	answer := q.p.tensors[p.output]
	q.p.tensors[p.output].name += "_int8"
	q.p.output = q.p.add(tensor{name: answer.name, kind: schema.TensorTypeUint8, shape: answer.shape,
		quant: &quant{scale: []float32{softmaxScale}}})
	q.p.ops = append(q.p.ops, operation{code: schema.BuiltinOperatorQuantize, inputs: []int{p.output}, output: q.p.output})
	return q.p, nil
}

type quantizer struct {
	p     *program // what is made; its tensors have the indices of float's
	float *program
	spans map[int]span
	drift map[int][]float64
}

// joinedSpans gives the inputs and the output of each Concatenation the same span, since the operation only copies.
func joinedSpans(p *program, spans map[int]span) map[int]span {
	all := make(map[int]span, len(spans))
	for i, s := range spans {
		all[i] = s
	}
	// From the end, so that what joins joined tensors comes first.
	for i := len(p.ops) - 1; i >= 0; i-- {
		o := p.ops[i]
		if o.code != schema.BuiltinOperatorConcatenation {
			continue
		}
		both := all[o.output]
		for _, in := range o.inputs {
			both = span{min(both.low, all[in].low), max(both.high, all[in].high)}
		}
		all[o.output] = both
		for _, in := range o.inputs {
			all[in] = both
		}
	}
	return all
}

// image puts the pixels in front: uint8 as they are, then the same in int8.
func (q *quantizer) image() {
	image := q.p.tensors[q.float.input]
	q.p.tensors[q.float.input] = tensor{name: image.name + "_int8", kind: schema.TensorTypeInt8, shape: image.shape,
		quant: &quant{scale: []float32{1}, zero: math.MinInt8}}
	q.p.input = q.p.add(tensor{name: image.name, kind: schema.TensorTypeUint8, shape: image.shape, quant: &quant{scale: []float32{1}}})
	q.p.ops = append(q.p.ops, operation{code: schema.BuiltinOperatorQuantize, inputs: []int{q.p.input}, output: q.float.input})
}

func (q *quantizer) operation(o operation) error {
	x := q.p.tensors[o.inputs[0]].quant
	out, err := q.outputQuant(o, *x)
	if err != nil {
		return err
	}
	q.p.tensors[o.output].kind, q.p.tensors[o.output].quant = schema.TensorTypeInt8, &out
	switch o.code {
	case schema.BuiltinOperatorConv2D, schema.BuiltinOperatorDepthwiseConv2D, schema.BuiltinOperatorFullyConnected:
		err = q.weights(o)
	case schema.BuiltinOperatorAdd, schema.BuiltinOperatorMul:
		if q.float.tensors[o.inputs[inOperand]].data != nil {
			err = q.operand(o.inputs[inOperand])
		}
	}
	if err != nil {
		return err
	}
	q.p.ops = append(q.p.ops, o)
	return nil
}

// outputQuant chooses scale and zero point of an operation's output, of which some operations leave no choice.
func (q *quantizer) outputQuant(o operation, x quant) (quant, error) {
	switch o.code {
	case schema.BuiltinOperatorPad:
		return x, nil
	case schema.BuiltinOperatorSoftmax:
		return quant{scale: []float32{softmaxScale}, zero: math.MinInt8}, nil
	case schema.BuiltinOperatorAdd:
		if shift, ok := q.pixelShift(o); ok {
			// Pixels keep their steps; only what they are counted from moves.
			return quant{scale: x.scale, zero: x.zero - shift}, nil
		}
	}
	s, ok := q.spans[o.output]
	if !ok || !(s.low <= 0 && s.high >= 0) || math.IsInf(s.high-s.low, 0) {
		return quant{}, fmt.Errorf("the values %v…%v are no span", s.low, s.high)
	}
	if o.relu6 || o.code == schema.BuiltinOperatorRelu6 {
		s = span{0, min(s.high, 6)}
	}
	return activation(s), nil
}

// pixelShift is the whole number that an operation adds to every pixel, when it does that and the result still has
// a zero that int8 can hold.
func (q *quantizer) pixelShift(o operation) (int, bool) {
	operand := q.float.tensors[o.inputs[inOperand]]
	if o.inputs[0] != q.float.input || operand.data == nil || o.relu6 {
		return 0, false
	}
	values, err := operand.values()
	if err != nil || len(values) != 1 || values[0] != math.Round(values[0]) || values[0] > 0 || values[0] < -255 {
		return 0, false
	}
	return int(values[0]), true
}

// activation is the quantisation of values of that span: its ends become −128 and 127, moved so that zero is exact.
func activation(s span) quant {
	if s.high == s.low {
		s.high = 1 // always zero: any scale will do
	}
	scale := (s.high - s.low) / 255
	zero := math.Round(math.MinInt8 - s.low/scale)
	return quant{scale: []float32{float32(scale)}, zero: int(min(max(zero, math.MinInt8), math.MaxInt8))}
}

// weights quantises kernel and bias of an operation.
func (q *quantizer) weights(o operation) error {
	kernel, bias := q.float.tensors[o.inputs[inKernel]], q.float.tensors[o.inputs[inBias]]
	values, err := kernel.values()
	if err != nil {
		return err
	}
	sums, err := bias.values()
	if err != nil {
		return err
	}
	for c, d := range q.drift[o.output] {
		sums[c] -= d
	}
	x := float64(q.p.tensors[o.inputs[0]].quant.scale[0])
	scales := kernelScales(o.code, values, sums, x)
	stored := make([]byte, len(values))
	for i, v := range values {
		steps := math.Round(v / float64(scales[o.channel(i, len(values), len(sums))]))
		stored[i] = byte(int8(min(max(steps, -maxWeight), maxWeight)))
	}
	steps := make([]float32, len(sums))
	counts := make([]int32, len(sums))
	for c, b := range sums {
		step := x * float64(scales[c])
		steps[c], counts[c] = float32(step), int32(math.Round(b/step))
	}
	axis := 0
	switch o.code {
	case schema.BuiltinOperatorDepthwiseConv2D:
		axis = 3
	case schema.BuiltinOperatorFullyConnected:
		scales, steps = scales[:1], steps[:1]
	}
	q.p.tensors[o.inputs[inKernel]] = tensor{name: kernel.name, kind: schema.TensorTypeInt8, shape: kernel.shape, data: stored,
		quant: &quant{scale: scales, axis: axis}}
	q.p.tensors[o.inputs[inBias]] = tensor{name: bias.name, kind: schema.TensorTypeInt32, shape: bias.shape, data: int32Bytes(counts),
		quant: &quant{scale: steps}}
	return nil
}

// channel is the output channel of weight i: the last dimension of a depthwise kernel, the first one of others.
func (o operation) channel(i, weights, channels int) int {
	if o.code == schema.BuiltinOperatorDepthwiseConv2D {
		return i % channels
	}
	return i / (weights / channels)
}

// kernelScales are the smallest scales with which each channel's weights fit into 8 bits and its bias, counted in steps
// of x·scale, into 30: a channel that a batch norm has all but switched off may have a bias much larger than its weights.
// Those of a dense layer are all the same.
func kernelScales(code schema.BuiltinOperator, values, bias []float64, x float64) []float32 {
	scales := make([]float64, len(bias))
	for c, b := range bias {
		scales[c] = math.Abs(b) / x / (1 << 30)
	}
	for i, v := range values {
		c := operation{code: code}.channel(i, len(values), len(bias))
		scales[c] = max(scales[c], math.Abs(v)/maxWeight)
	}
	largest := slices.Max(scales)
	for c := range scales {
		if scales[c] == 0 || code == schema.BuiltinOperatorFullyConnected {
			scales[c] = largest
		}
		if scales[c] == 0 {
			scales[c] = 1 // nothing but zeros
		}
	}
	return narrow(scales)
}

// operand quantises a constant that is added or multiplied, as an activation.
func (q *quantizer) operand(index int) error {
	constant := q.float.tensors[index]
	values, err := constant.values()
	if err != nil {
		return err
	}
	var s span
	for _, v := range values {
		s = span{min(s.low, v), max(s.high, v)}
	}
	as := activation(s)
	if len(values) == 1 && values[0] == math.Round(values[0]) && values[0] >= math.MinInt8 && values[0] <= math.MaxInt8 {
		as = quant{scale: []float32{1}} // exact
	}
	stored := make([]byte, len(values))
	for i, v := range values {
		steps := math.Round(v/float64(as.scale[0])) + float64(as.zero)
		stored[i] = byte(int8(min(max(steps, math.MinInt8), math.MaxInt8)))
	}
	q.p.tensors[index] = tensor{name: constant.name, kind: schema.TensorTypeInt8, shape: constant.shape, data: stored, quant: &as}
	return nil
}
