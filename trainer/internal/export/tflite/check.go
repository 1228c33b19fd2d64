package tflite

import (
	"fmt"
	"math"
	"slices"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
)

// Limits of what is read. They are far above any network that we write, and keep a damaged file from asking for
// memory that it does not itself fill.
const (
	maxSide     = 4096    // of images, pixels
	maxElements = 1 << 26 // of one tensor, for one image
	maxScale    = 1e6
)

// check tells whether the program is one that we understand: every operation's inputs stand before it, and shapes,
// kinds and quantisation are what the format wants.
func (p *program) check() error {
	for i, t := range p.tensors {
		if err := t.check(); err != nil {
			return fmt.Errorf("tensor %d, %q: %w", i, t.name, err)
		}
	}
	if err := p.checkEnds(); err != nil {
		return err
	}
	c := checker{p: p, known: make([]role, len(p.tensors))}
	for i, t := range p.tensors {
		if t.data != nil {
			c.known[i] = constant
		}
	}
	c.known[p.input] = flowing
	for i, o := range p.ops {
		if err := c.operation(o); err != nil {
			return fmt.Errorf("operation %d, %v: %w", i, o.code, err)
		}
	}
	if c.known[p.output] != flowing {
		return fmt.Errorf("the output is not computed")
	}
	return nil
}

func (t tensor) check() error {
	if len(t.shape) < 1 || len(t.shape) > 4 {
		return fmt.Errorf("it has %d dimensions", len(t.shape))
	}
	n := 1
	for _, d := range t.shape {
		if d < 1 || d > maxElements || n*d > maxElements {
			return fmt.Errorf("shape %v is out of bounds", t.shape)
		}
		n *= d
	}
	switch t.kind {
	case schema.TensorTypeFloat32, schema.TensorTypeFloat16, schema.TensorTypeInt32, schema.TensorTypeUint8, schema.TensorTypeInt8:
	default:
		return fmt.Errorf("its type %v is none that we write", t.kind)
	}
	if t.data != nil && len(t.data) != n*width(t.kind) {
		return fmt.Errorf("it has %d bytes, which does not fit shape %v of %v", len(t.data), t.shape, t.kind)
	}
	return t.checkQuant()
}

func (t tensor) checkQuant() error {
	q := t.quant
	switch float := t.kind == schema.TensorTypeFloat32 || t.kind == schema.TensorTypeFloat16; {
	case q == nil && (t.kind == schema.TensorTypeInt8 || t.kind == schema.TensorTypeUint8):
		return fmt.Errorf("it is in 8 bits and does not say what they stand for")
	case q == nil:
		return nil
	case float:
		return fmt.Errorf("it is %v and has a scale", t.kind)
	case q.axis < 0 || q.axis >= len(t.shape):
		return fmt.Errorf("it has scales for dimension %d of shape %v", q.axis, t.shape)
	case len(q.scale) != 1 && (len(q.scale) != t.shape[q.axis] || q.zero != 0 || t.data == nil):
		return fmt.Errorf("it has %d scales and zero point %d for shape %v", len(q.scale), q.zero, t.shape)
	}
	low, high := limits(t.kind)
	if q.zero < low || q.zero > high || t.kind == schema.TensorTypeInt32 && q.zero != 0 {
		return fmt.Errorf("its zero point is %d", q.zero)
	}
	for _, s := range q.scale {
		if !(s > 0 && s < maxScale) {
			return fmt.Errorf("it has the scale %v", s)
		}
	}
	return nil
}

// limits are the smallest and largest number of an integer kind.
func limits(kind schema.TensorType) (low, high int) {
	switch kind {
	case schema.TensorTypeInt8:
		return math.MinInt8, math.MaxInt8
	case schema.TensorTypeUint8:
		return 0, math.MaxUint8
	}
	return math.MinInt32, math.MaxInt32
}

// checkEnds tells whether input and output are an image and probabilities, of the same kind.
func (p *program) checkEnds() error {
	in, out := p.tensors[p.input], p.tensors[p.output]
	if s := in.shape; len(s) != 4 || s[0] != 1 || s[1] != s[2] || s[1] > maxSide || s[3] != 3 || in.data != nil {
		return fmt.Errorf("the input has shape %v instead of one square RGB image", in.shape)
	}
	if s := out.shape; len(s) != 2 || s[0] != 1 || s[1] < 2 {
		return fmt.Errorf("the output has shape %v instead of probabilities of one image", out.shape)
	}
	if in.kind != out.kind || in.kind != schema.TensorTypeFloat32 && in.kind != schema.TensorTypeUint8 {
		return fmt.Errorf("the input is %v and the output %v", in.kind, out.kind)
	}
	if in.quant != nil && (in.quant.scale[0] != 1 || in.quant.zero != 0) {
		return fmt.Errorf("the input's integers are not pixels of 0…255")
	}
	return nil
}

// role is what a tensor is at a point of the program.
type role int

const (
	unknown  role = iota // not computed yet
	constant             // weights and the like
	flowing              // depends on the image; its first dimension is the batch
)

type checker struct {
	p     *program
	known []role
}

func (c *checker) operation(o operation) error {
	want, ok := arity[o.code]
	if !ok {
		return fmt.Errorf("it is none that we write")
	}
	if len(o.inputs) < want.least || len(o.inputs) > want.most {
		return fmt.Errorf("it has %d inputs", len(o.inputs))
	}
	in := make([]tensor, len(o.inputs))
	for i, index := range o.inputs {
		in[i] = c.p.tensors[index]
		parameter := want.parameters && i > 0 || o.code == schema.BuiltinOperatorDequantize
		either := want.operand && i == inOperand
		switch role := c.known[index]; {
		case role == unknown:
			return fmt.Errorf("its input %q is not computed before it", in[i].name)
		case (role == constant) != parameter && !either:
			return fmt.Errorf("its input %d, %q, is a constant where it should not be, or none where it should", i, in[i].name)
		}
	}
	out := c.p.tensors[o.output]
	if c.known[o.output] != unknown || out.data != nil {
		return fmt.Errorf("its output %q is known before it", out.name)
	}
	c.known[o.output] = flowing
	if o.code == schema.BuiltinOperatorDequantize {
		c.known[o.output] = constant
	}
	shape, err := o.shape(in)
	if err != nil {
		return err
	}
	if !slices.Equal(shape, out.shape) {
		return fmt.Errorf("its output has shape %v instead of %v", out.shape, shape)
	}
	return o.checkKinds(in, out)
}

// arity is how many inputs an operation has; whether those behind the first are parameters, which do not depend on the
// image, and whether the second may be either.
var arity = map[schema.BuiltinOperator]struct {
	least, most         int
	parameters, operand bool
}{
	schema.BuiltinOperatorAdd:             {2, 2, false, true},
	schema.BuiltinOperatorMul:             {2, 2, false, true},
	schema.BuiltinOperatorConcatenation:   {2, 64, false, false},
	schema.BuiltinOperatorConv2D:          {3, 3, true, false},
	schema.BuiltinOperatorDepthwiseConv2D: {3, 3, true, false},
	schema.BuiltinOperatorFullyConnected:  {3, 3, true, false},
	schema.BuiltinOperatorDequantize:      {1, 1, false, false},
	schema.BuiltinOperatorRelu6:           {1, 1, false, false},
	schema.BuiltinOperatorSoftmax:         {1, 1, false, false},
	schema.BuiltinOperatorQuantize:        {1, 1, false, false},
	schema.BuiltinOperatorPad:             {2, 2, true, false},
	schema.BuiltinOperatorMean:            {2, 2, true, false},
}
