package tflite

import (
	"fmt"
	"math"

	graft "github.com/wamuir/graft/tensorflow"
	"github.com/wamuir/graft/tensorflow/op"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// session runs a program with TensorFlow.
//
// Tensors of integers are held as the real numbers that they stand for, in float32, and rounded to those that can be
// stored after each operation, where the 8-bit kernels round. What differs from them is how ties are rounded.
type session struct {
	session *tf.Session
	input   tf.Output
	values  []tf.Output // by tensor
	side    int
}

// newSession opens a session for a program that was checked. more may add to the graph; nil for nothing. The caller
// closes it.
func newSession(p *program, threads int, more func(scope *op.Scope, values []tf.Output)) (*session, error) {
	plain := more != nil || p.tensors[p.input].quant != nil // what is no model to be timed
	return openSession(p.tensors[p.input].shape[1], threads, plain, func(scope *op.Scope, input tf.Output) ([]tf.Output, error) {
		values, err := appendProgram(scope, p, input, nil)
		if err == nil && more != nil {
			more(scope.SubScope("more"), values)
		}
		return values, err
	})
}

// openSession builds a graph behind images of that side, to be run as it is if plain is set.
func openSession(side, threads int, plain bool, build func(scope *op.Scope, input tf.Output) ([]tf.Output, error)) (*session, error) {
	scope := op.NewScope()
	images := graft.MakeShape(-1, int64(side), int64(side), 3)
	input := op.Placeholder(scope.SubScope("images"), graft.Float, op.PlaceholderShape(images))
	values, err := build(scope, input)
	if err != nil {
		return nil, err
	}
	graph, err := scope.Finalize()
	if err != nil {
		return nil, fmt.Errorf("build the graph: %w", err)
	}
	opened, err := tf.NewSession(graph, tf.Threads{Intra: max(1, threads), Inter: -1, Plain: plain})
	if err != nil {
		return nil, err
	}
	return &session{session: opened, input: input, values: values, side: side}, nil
}

// adjust may change the result of an operation before it is cut and rounded.
type adjust func(scope *op.Scope, o operation, y tf.Output) tf.Output

// appendProgram adds the program behind input; the result has the output of each of its tensors.
func appendProgram(scope *op.Scope, p *program, input tf.Output, adjust adjust) ([]tf.Output, error) {
	b := grapher{p: p, values: make([]tf.Output, len(p.tensors)), adjust: adjust}
	b.values[p.input] = input
	if in := p.tensors[p.input]; in.quant != nil {
		b.values[p.input] = b.rounded(scope.SubScope("pixels"), input, in, false)
	}
	for i, t := range p.tensors {
		if t.data != nil {
			b.values[i] = b.constant(scope.SubScope(fmt.Sprintf("constant%d", i)), t)
		}
	}
	for i, o := range p.ops {
		b.values[o.output] = b.operation(scope.SubScope(fmt.Sprintf("operation%d", i)), o)
		if err := scope.Err(); err != nil {
			return nil, fmt.Errorf("operation %d, %v: %w", i, o.code, err)
		}
	}
	return b.values, nil
}

// run feeds images [n,side,side,3] of 0…255.
func (s *session) run(images []float32, fetches ...tf.Output) ([]*tf.Tensor, error) {
	each := s.side * s.side * 3
	if len(images) == 0 || len(images)%each != 0 {
		return nil, fmt.Errorf("%d values are no whole images of %d×%d pixels", len(images), s.side, s.side)
	}
	batch, err := tf.FromFloats([]int{len(images) / each, s.side, s.side, 3}, images)
	if err != nil {
		return nil, err
	}
	return tf.Run(s.session, s.input, batch, fetches...)
}

func (s *session) close() error { return s.session.Close() }

type grapher struct {
	p      *program
	values []tf.Output
	adjust adjust // may be nil
}

// constant is what a stored tensor stands for.
func (b grapher) constant(s *op.Scope, t tensor) tf.Output {
	if t.kind == schema.TensorTypeInt32 && t.quant == nil {
		return tf.Output{} // paddings and axes are read where they are used
	}
	values, err := t.real()
	if err != nil {
		s.UpdateErr(t.name, err)
		return tf.Output{}
	}
	array, err := tf.FromFloats(t.shape, narrow(values))
	if err != nil {
		s.UpdateErr(t.name, err)
		return tf.Output{}
	}
	return op.Const(s, array)
}

func (b grapher) operation(s *op.Scope, o operation) tf.Output {
	x, out := b.values[o.inputs[0]], b.p.tensors[o.output]
	var y tf.Output
	switch o.code {
	case schema.BuiltinOperatorDequantize, schema.BuiltinOperatorQuantize:
		return x // the same numbers in another form
	case schema.BuiltinOperatorConv2D, schema.BuiltinOperatorDepthwiseConv2D:
		y = b.convolution(s, o)
	case schema.BuiltinOperatorFullyConnected:
		kernel := b.p.tensors[o.inputs[inKernel]].shape
		flat := op.Reshape(s, x, op.Const(s.SubScope("flat"), []int32{-1, int32(kernel[1])}))
		y = op.BiasAdd(s, op.MatMul(s, flat, b.values[o.inputs[inKernel]], op.MatMulTransposeB(true)), b.values[o.inputs[inBias]])
	case schema.BuiltinOperatorAdd:
		y = op.AddV2(s, x, b.values[o.inputs[inOperand]])
	case schema.BuiltinOperatorMul:
		y = op.Mul(s, x, b.values[o.inputs[inOperand]])
	case schema.BuiltinOperatorRelu6:
		y = op.Relu6(s, x)
	case schema.BuiltinOperatorMean:
		y = op.Mean(s, x, op.Const(s.SubScope("axes"), []int32{1, 2}), op.MeanKeepDims(o.keep))
	case schema.BuiltinOperatorSoftmax:
		y = op.Softmax(s, x)
	case schema.BuiltinOperatorPad:
		return b.pad(s, o) // nothing to round: zero can always be stored
	case schema.BuiltinOperatorConcatenation:
		parts := make([]tf.Output, len(o.inputs))
		for i, index := range o.inputs {
			parts[i] = b.values[index]
		}
		return op.ConcatV2(s, parts, op.Const(s.SubScope("axis"), int32(-1)))
	default:
		s.UpdateErr(o.code.String(), fmt.Errorf("it cannot be run"))
		return tf.Output{}
	}
	if b.adjust != nil {
		y = b.adjust(s, o, y)
	}
	if out.quant != nil {
		return b.rounded(s.SubScope("rounded"), y, out, o.relu6)
	}
	if o.relu6 {
		return op.Relu6(s, y)
	}
	return y
}

func (b grapher) convolution(s *op.Scope, o operation) tf.Output {
	x, kernel := b.values[o.inputs[0]], b.values[o.inputs[inKernel]]
	strides := []int64{1, int64(o.stride), int64(o.stride), 1}
	padding := "VALID"
	if o.same {
		padding = "SAME"
	}
	// TensorFlow's optimiser folds the transposition of a constant.
	to := func(order ...int32) tf.Output { return op.Transpose(s, kernel, op.Const(s.SubScope("order"), order)) }
	var y tf.Output
	if o.code == schema.BuiltinOperatorConv2D {
		y = op.Conv2D(s, x, to(1, 2, 3, 0), strides, padding)
	} else {
		y = op.DepthwiseConv2dNative(s, x, to(1, 2, 3, 0), strides, padding)
	}
	return op.BiasAdd(s, y, b.values[o.inputs[inBias]])
}

func (b grapher) pad(s *op.Scope, o operation) tf.Output {
	values, err := b.p.tensors[o.inputs[inPaddings]].values()
	if err != nil {
		s.UpdateErr("paddings", err)
		return tf.Output{}
	}
	pairs := make([][]int32, len(values)/2)
	for i := range pairs {
		pairs[i] = []int32{int32(values[2*i]), int32(values[2*i+1])}
	}
	return op.Pad(s, b.values[o.inputs[0]], op.Const(s.SubScope("paddings"), pairs))
}

// rounded takes x to the nearest number that t can store, within 0…6 if need be.
func (b grapher) rounded(s *op.Scope, x tf.Output, t tensor, relu6 bool) tf.Output {
	low, high := limits(t.kind)
	low, high = low-t.quant.zero, high-t.quant.zero
	scale := t.quant.scale[0]
	if relu6 {
		low, high = max(low, 0), min(high, int(math.Round(6/float64(scale))))
	}
	number := func(name string, v float32) tf.Output { return op.Const(s.SubScope(name), v) }
	steps := op.Round(s, op.Mul(s.SubScope("steps"), x, number("inverse", 1/scale)))
	kept := op.ClipByValue(s, steps, number("low", float32(low)), number("high", float32(high)))
	return op.Mul(s.SubScope("real"), kept, number("scale", scale))
}
