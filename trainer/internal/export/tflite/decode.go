package tflite

import (
	"fmt"
	"slices"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
)

// Limits of how much of a kind is read.
const (
	maxTensors = 8192
	maxInputs  = 64
)

// decode reads a program from a file that encode wrote. Others are refused with a sentence, and so are damaged ones: the
// accessors of flatbuffers slice without asking, so what points out of the file panics and is caught here. Weights are
// not copied, and what is copied is counted against the file's size, as a small file may name one thing many times.
func decode(file []byte) (p *program, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("it is damaged: %v", r)
		}
	}()
	if len(file) < 8 || !flatbuffers.BufferHasIdentifier(file, identifier) {
		return nil, fmt.Errorf("it does not begin as TensorFlow Lite models do")
	}
	d := decoder{model: schema.GetRootAsModel(file, 0), left: len(file)}
	if d.model.Version() != schemaVersion || d.model.SubgraphsLength() != 1 {
		return nil, fmt.Errorf("it is of version %d with %d graphs, which is not ours", d.model.Version(), d.model.SubgraphsLength())
	}
	var graph schema.SubGraph
	d.model.Subgraphs(&graph, 0)
	if p, err = d.program(&graph); err != nil {
		return nil, err
	}
	return p, p.check()
}

type decoder struct {
	model *schema.Model
	left  int // bytes that may still be taken over
}

// take counts bytes that are taken over.
func (d *decoder) take(n int) error {
	if n < 0 || n > d.left {
		return fmt.Errorf("it names more than it holds")
	}
	d.left -= n
	return nil
}

func (d *decoder) program(graph *schema.SubGraph) (*program, error) {
	if n, m := graph.TensorsLength(), graph.OperatorsLength(); n > maxTensors || m > maxTensors {
		return nil, fmt.Errorf("it has %d tensors and %d operations, more than any of ours", n, m)
	}
	if graph.InputsLength() != 1 || graph.OutputsLength() != 1 {
		return nil, fmt.Errorf("it has %d inputs and %d outputs", graph.InputsLength(), graph.OutputsLength())
	}
	p := &program{input: int(graph.Inputs(0)), output: int(graph.Outputs(0))}
	var stored schema.Tensor
	for i := range graph.TensorsLength() {
		graph.Tensors(&stored, i)
		t, err := d.tensor(&stored)
		if err != nil {
			return nil, fmt.Errorf("tensor %d: %w", i, err)
		}
		p.tensors = append(p.tensors, t)
	}
	if !p.has(p.input) || !p.has(p.output) {
		return nil, fmt.Errorf("its input is tensor %d and its output %d of %d", p.input, p.output, len(p.tensors))
	}
	var o schema.Operator
	for i := range graph.OperatorsLength() {
		graph.Operators(&o, i)
		step, err := d.operation(p, &o)
		if err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
		p.ops = append(p.ops, step)
	}
	return p, nil
}

func (p *program) has(tensor int) bool { return tensor >= 0 && tensor < len(p.tensors) }

func (d *decoder) tensor(stored *schema.Tensor) (tensor, error) {
	name := stored.Name()
	t := tensor{name: string(name), kind: stored.Type()}
	rank := stored.ShapeLength()
	if rank > 4 {
		return t, fmt.Errorf("it has %d dimensions", rank)
	}
	for i := range rank {
		t.shape = append(t.shape, int(stored.Shape(i)))
	}
	if err := d.take(len(name) + 4*rank); err != nil {
		return t, err
	}
	if index := int(stored.Buffer()); index != 0 {
		var buffer schema.Buffer
		if index >= d.model.BuffersLength() || !d.model.Buffers(&buffer, index) {
			return t, fmt.Errorf("its values would be in buffer %d", index)
		}
		// A constant has values, so that no values mean that it is computed.
		if t.data = buffer.DataBytes(); len(t.data) == 0 {
			return t, fmt.Errorf("its buffer is empty")
		}
		if err := d.take(len(t.data)); err != nil {
			return t, err
		}
	}
	var err error
	t.quant, err = d.quant(stored.Quantization(nil))
	return t, err
}

func (d *decoder) quant(stored *schema.QuantizationParameters) (*quant, error) {
	if stored == nil || stored.ScaleLength() == 0 && stored.ZeroPointLength() == 0 {
		return nil, nil
	}
	n := stored.ScaleLength()
	if stored.ZeroPointLength() != n || n == 0 {
		return nil, fmt.Errorf("it has %d scales and %d zero points", n, stored.ZeroPointLength())
	}
	if err := d.take(4 * n); err != nil {
		return nil, err
	}
	q := &quant{zero: int(stored.ZeroPoint(0)), axis: int(stored.QuantizedDimension()), scale: make([]float32, n)}
	for i := range n {
		if stored.ZeroPoint(i) != int64(q.zero) {
			return nil, fmt.Errorf("it has different zero points")
		}
		q.scale[i] = stored.Scale(i)
	}
	return q, nil
}

func (d *decoder) operation(p *program, stored *schema.Operator) (operation, error) {
	var o operation
	var code schema.OperatorCode
	index := int(stored.OpcodeIndex())
	if index >= d.model.OperatorCodesLength() || !d.model.OperatorCodes(&code, index) {
		return o, fmt.Errorf("its kind would be number %d", index)
	}
	// Writers from before operator 127 leave the newer field 0.
	o.code = max(code.BuiltinCode(), schema.BuiltinOperator(code.DeprecatedBuiltinCode()))
	if n := stored.InputsLength(); n > maxInputs || stored.OutputsLength() != 1 {
		return o, fmt.Errorf("it has %d inputs and %d outputs", n, stored.OutputsLength())
	}
	o.output = int(stored.Outputs(0))
	for i := range stored.InputsLength() {
		o.inputs = append(o.inputs, int(stored.Inputs(i)))
	}
	if slices.ContainsFunc(append([]int{o.output}, o.inputs...), func(i int) bool { return !p.has(i) }) {
		return o, fmt.Errorf("it takes %v and gives %d of %d tensors", o.inputs, o.output, len(p.tensors))
	}
	if err := d.take(4 * len(o.inputs)); err != nil {
		return o, err
	}
	if err := o.readOptions(p, stored); err != nil {
		return o, fmt.Errorf("%v: %w", o.code, err)
	}
	if p.version(o) != code.Version() {
		return o, fmt.Errorf("%v is of version %d instead of %d", o.code, code.Version(), p.version(o))
	}
	return o, nil
}
