package tflite

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
	"github.com/cultivar-ml/cultivar/trainer/internal/half"
)

// program is what a file holds: tensors, and operations in the order in which they run. It is made from a network and
// written, or read from a file and run; the two ways share nothing else.
type program struct {
	tensors       []tensor
	ops           []operation
	input, output int // of tensors
}

// tensor is a constant or a value that is computed.
type tensor struct {
	name  string
	kind  schema.TensorType
	shape []int  // for one image: of computed values, the first dimension is the batch
	data  []byte // little-endian; nil for computed values
	quant *quant // of integers that stand for real numbers, nil for others
}

// quant says which real numbers the integers of a tensor stand for: scale·(stored − zero). With several scales, each
// holds for one slice of the dimension axis; zero is 0 then.
type quant struct {
	scale []float32
	zero  int
	axis  int
}

// operation has one output. Of the options, a kind of operation uses those that it has.
type operation struct {
	code   schema.BuiltinOperator
	inputs []int
	output int
	stride int  // Conv2D, DepthwiseConv2D
	same   bool // Conv2D, DepthwiseConv2D: zeros around the image, as TensorFlow's SAME
	relu6  bool // cuts the result to 0…6
	keep   bool // Mean: the result keeps height and width, as 1
}

// Positions of inputs.
const (
	inKernel   = 1 // Conv2D, DepthwiseConv2D, FullyConnected
	inBias     = 2
	inOperand  = 1 // Add, Mul
	inPaddings = 1 // Pad
)

func (p *program) add(t tensor) int {
	p.tensors = append(p.tensors, t)
	return len(p.tensors) - 1
}

// floats adds a float32 constant.
func (p *program) floats(name string, shape []int, values []float32) int {
	return p.add(tensor{name: name, kind: schema.TensorTypeFloat32, shape: shape, data: floatBytes(values)})
}

func floatBytes(values []float32) []byte {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return data
}

// ints adds an int32 constant.
func (p *program) ints(name string, shape []int, values []int32) int {
	return p.add(tensor{name: name, kind: schema.TensorTypeInt32, shape: shape, data: int32Bytes(values)})
}

func int32Bytes(values []int32) []byte {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, uint32(v))
	}
	return data
}

// values are the numbers of a constant as stored.
func (t tensor) values() ([]float64, error) {
	width := width(t.kind)
	if t.data == nil || len(t.data)%width != 0 {
		return nil, fmt.Errorf("tensor %q has no values", t.name)
	}
	values := make([]float64, len(t.data)/width)
	for i := range values {
		b := t.data[i*width:]
		switch t.kind {
		case schema.TensorTypeFloat32:
			values[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		case schema.TensorTypeFloat16:
			values[i] = float64(half.Value(binary.LittleEndian.Uint16(b)))
		case schema.TensorTypeInt32:
			values[i] = float64(int32(binary.LittleEndian.Uint32(b)))
		case schema.TensorTypeInt8:
			values[i] = float64(int8(b[0]))
		default:
			values[i] = float64(b[0])
		}
	}
	return values, nil
}

// real are the numbers that a constant stands for.
func (t tensor) real() ([]float64, error) {
	values, err := t.values()
	if err != nil || t.quant == nil {
		return values, err
	}
	// Elements of one slice follow each other, then comes the next slice, and after the last one the first again.
	inner := 1
	for _, d := range t.shape[min(t.quant.axis+1, len(t.shape)):] {
		inner *= d
	}
	for i := range values {
		scale := t.quant.scale[i/inner%len(t.quant.scale)]
		values[i] = float64(scale) * (values[i] - float64(t.quant.zero))
	}
	return values, nil
}

// width is how many bytes an element takes.
func width(kind schema.TensorType) int {
	switch kind {
	case schema.TensorTypeFloat32, schema.TensorTypeInt32:
		return 4
	case schema.TensorTypeFloat16:
		return 2
	}
	return 1
}

// clone copies a program so that tensors and operations can be replaced; what they point to is shared.
func (p *program) clone() *program {
	c := *p
	c.tensors = append([]tensor(nil), p.tensors...)
	c.ops = make([]operation, len(p.ops))
	for i, o := range p.ops {
		o.inputs = append([]int(nil), o.inputs...)
		c.ops[i] = o
	}
	return &c
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
