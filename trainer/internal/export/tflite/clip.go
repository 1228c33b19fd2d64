package tflite

import (
	"slices"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
)

// clipEarly moves the clipping of a head's features in front of where they are joined, into a depthwise convolution of one
// pixel for each pooled tensor: that has a scale for each channel in 8 bits, where one for all would leave nothing of
// quiet features, and what is joined lies within 0…6 everywhere. It computes the same. Programs that clip nothing there
// are returned as they are.
func clipEarly(p *program) *program {
	c, ok := p.clip()
	if !ok {
		return p
	}
	s := p.clone()
	s.ops = nil
	becomes := map[int]int{c.from: c.from} // by the tensor that was clipped or pooled, what takes its place
	at := 0
	for i, o := range p.ops {
		switch {
		case i == c.scale, i == c.offset, i == c.cut:
			becomes[o.output] = becomes[c.from]
			continue
		case slices.Contains(c.means, i):
			n := p.tensors[o.output].shape[1]
			o.keep = true
			s.tensors[o.output].shape = []int{1, 1, 1, n}
			own := s.clipped(o.output, c.factors[at:at+n], c.shifts[at:at+n])
			s.ops = append(s.ops, o, own)
			becomes[o.output], at = own.output, at+n
			continue
		case i == c.join:
			s.tensors[o.output].shape = []int{1, 1, 1, len(c.factors)}
		}
		o.inputs = slices.Clone(o.inputs)
		for k, in := range o.inputs {
			if to, ok := becomes[in]; ok {
				o.inputs[k] = to
			}
		}
		s.ops = append(s.ops, o)
	}
	return s.compact()
}

// clipped adds the constants that clip a pooled tensor, and returns the operation.
func (p *program) clipped(from int, factors, shifts []float64) operation {
	n, name := len(factors), p.tensors[from].name+"/clip"
	o := operation{code: schema.BuiltinOperatorDepthwiseConv2D, stride: 1, relu6: true, inputs: []int{from,
		p.floats(name+"/kernel", []int{1, 1, 1, n}, narrow(factors)), p.floats(name+"/bias", []int{n}, narrow(shifts))}}
	o.output = p.add(tensor{name: name, kind: schema.TensorTypeFloat32, shape: []int{1, 1, 1, n}})
	return o
}

// clip is where a program clips the features of its head, as indices of operations; join is −1 without one. from is the tensor
// that is clipped, factors and shifts are what is done to it first.
type clip struct {
	means                    []int
	join, scale, offset, cut int
	from                     int
	factors, shifts          []float64
}

func (p *program) clip() (c clip, ok bool) {
	made, uses := p.uses()
	dense := slices.IndexFunc(p.ops, func(o operation) bool { return o.code == schema.BuiltinOperatorFullyConnected })
	if dense < 0 {
		return c, false
	}
	by := func(tensor int, code schema.BuiltinOperator) (int, bool) {
		i, ok := made[tensor]
		return i, ok && p.ops[i].code == code && uses[tensor] == 1
	}
	if c.cut, ok = by(p.ops[dense].inputs[0], schema.BuiltinOperatorRelu6); !ok {
		return c, false
	}
	if c.offset, ok = by(p.ops[c.cut].inputs[0], schema.BuiltinOperatorAdd); !ok {
		return c, false
	}
	if c.scale, ok = by(p.ops[c.offset].inputs[0], schema.BuiltinOperatorMul); !ok {
		return c, false
	}
	c.from = p.ops[c.scale].inputs[0]
	pooled := []int{c.from}
	if c.join, ok = by(c.from, schema.BuiltinOperatorConcatenation); ok {
		pooled = p.ops[c.join].inputs
	} else {
		c.join = -1
	}
	width := 0
	for _, tensor := range pooled {
		mean, ok := by(tensor, schema.BuiltinOperatorMean)
		if !ok || len(p.tensors[tensor].shape) != 2 || len(c.means) > 0 && mean < c.means[len(c.means)-1] {
			return c, false
		}
		c.means, width = append(c.means, mean), width+p.tensors[tensor].shape[1]
	}
	var factors, shifts bool
	c.factors, factors = p.operand(p.ops[c.scale], width)
	c.shifts, shifts = p.operand(p.ops[c.offset], width)
	return c, factors && shifts
}

// operand are the numbers that an operation multiplies or adds, one for each of n channels.
func (p *program) operand(o operation, n int) ([]float64, bool) {
	values, err := p.tensors[o.inputs[inOperand]].values()
	if err == nil && len(values) == 1 {
		values = repeat(values[0], n)
	}
	return values, err == nil && len(values) == n
}

// uses tells which operation makes a tensor, and how many take it.
func (p *program) uses() (made, uses map[int]int) {
	made, uses = map[int]int{}, map[int]int{}
	for i, o := range p.ops {
		made[o.output] = i
		for _, in := range o.inputs {
			uses[in]++
		}
	}
	return made, uses
}

// compact drops tensors that no operation takes or makes.
func (p *program) compact() *program {
	made, uses := p.uses()
	s := p.clone()
	s.tensors = nil
	at := map[int]int{}
	for i, t := range p.tensors {
		if _, ok := made[i]; ok || uses[i] > 0 || i == p.input {
			at[i] = s.add(t)
		}
	}
	for i := range s.ops {
		s.ops[i].output = at[s.ops[i].output]
		for k, in := range s.ops[i].inputs {
			s.ops[i].inputs[k] = at[in]
		}
	}
	s.input, s.output = at[p.input], at[p.output]
	return s
}
