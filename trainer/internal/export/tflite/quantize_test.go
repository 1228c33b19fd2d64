package tflite

import (
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
)

func TestActivation(t *testing.T) {
	for name, c := range map[string]struct {
		span  span
		scale float32
		zero  int
	}{
		"relu6":          {span{0, 6}, 6.0 / 255, -128},
		"symmetric":      {span{-128, 127}, 1, 0},
		"only negative":  {span{-5.1, 0}, 0.02, 127},
		"zero is nudged": {span{-1, 2}, 3.0 / 255, -43},
		"always zero":    {span{0, 0}, 1.0 / 255, -128},
	} {
		t.Run(name, func(t *testing.T) {
			q := activation(c.span)
			if math.Abs(float64(q.scale[0]/c.scale-1)) > 1e-6 || q.zero != c.zero || len(q.scale) != 1 {
				t.Errorf("scale %v zero %d, want %v and %d", q.scale, q.zero, c.scale, c.zero)
			}
		})
	}
}

// convolved is a program of one operation with weights, behind the image.
func convolved(code schema.BuiltinOperator, kernel []int, weights, bias []float32) *program {
	p := &program{}
	p.input = p.add(tensor{name: "image", kind: schema.TensorTypeFloat32, shape: []int{1, 4, 4, 3}})
	k, b := p.floats("kernel", kernel, weights), p.floats("bias", []int{len(bias)}, bias)
	o := operation{code: code, stride: 1, inputs: []int{p.input, k, b}}
	o.output = p.add(tensor{name: "out", kind: schema.TensorTypeFloat32, shape: []int{1, 4, 4, len(bias)}})
	p.output, p.ops = o.output, []operation{o}
	return p
}

func TestWeights(t *testing.T) {
	conv, depth, dense := schema.BuiltinOperatorConv2D, schema.BuiltinOperatorDepthwiseConv2D, schema.BuiltinOperatorFullyConnected
	for name, c := range map[string]struct {
		code          schema.BuiltinOperator
		kernel        []int
		weights, bias []float32
		drift         []float64
		scale         []float32
		axis          int
		stored        []int8
		counts        []float64
	}{
		"a scale for each output channel": {conv, []int{2, 1, 1, 3}, []float32{1.27, -0.5, 0.004, 0, 12.7, -12.7}, []float32{1, -1}, nil,
			[]float32{0.01, 0.1}, 0, []int8{127, -50, 0, 0, 127, -127}, []float64{100, -10}},
		"depthwise: along the last dimension": {depth, []int{1, 1, 2, 3}, []float32{1.27, 12.7, 127, -1.27, 0, 1}, []float32{0, 0, 0}, nil,
			[]float32{0.01, 0.1, 1}, 3, []int8{127, 127, 127, -127, 0, 1}, []float64{0, 0, 0}},
		"dense: one for all": {dense, []int{2, 3}, []float32{1.27, 0, 0, 12.7, 0.04, 0.06}, []float32{1, 1}, nil,
			[]float32{0.1}, 0, []int8{13, 0, 0, 127, 0, 1}, []float64{10, 10}},
		"drift is taken off": {conv, []int{2, 1, 1, 1}, []float32{1.27, 1.27}, []float32{1, 1}, []float64{0.5, -0.25},
			[]float32{0.01, 0.01}, 0, []int8{127, 127}, []float64{50, 125}},
		"a dead channel": {conv, []int{2, 1, 1, 1}, []float32{0, 1.27}, []float32{0, 0}, nil,
			[]float32{0.01, 0.01}, 0, []int8{0, 127}, []float64{0, 0}},
		"a bias far above its weights": {conv, []int{1, 1, 1, 1}, []float32{1e-12}, []float32{4}, nil,
			[]float32{4.0 / (1 << 30)}, 0, []int8{0}, []float64{1 << 30}},
	} {
		t.Run(name, func(t *testing.T) {
			p := convolved(c.code, c.kernel, c.weights, c.bias)
			q, err := quantize(p, ranges{spans: map[int]span{p.output: {-1, 1}}, drift: map[int][]float64{p.output: c.drift}})
			if err != nil {
				t.Fatal(err)
			}
			kernel, bias := q.tensors[1], q.tensors[2]
			for i, s := range kernel.quant.scale {
				if math.Abs(float64(s/c.scale[i]-1)) > 1e-6 || math.Abs(float64(bias.quant.scale[i]/s-1)) > 1e-6 { // pixels have scale 1
					t.Errorf("scale %d is %v and that of the bias %v, want %v", i, s, bias.quant.scale[i], c.scale[i])
				}
			}
			if len(kernel.quant.scale) != len(c.scale) || kernel.quant.axis != c.axis || kernel.quant.zero != 0 {
				t.Errorf("%d scales along %d, zero %d", len(kernel.quant.scale), kernel.quant.axis, kernel.quant.zero)
			}
			for i, v := range kernel.data {
				if int8(v) != c.stored[i] {
					t.Errorf("weight %d is %d, want %d", i, int8(v), c.stored[i])
				}
			}
			if counts, err := bias.values(); err != nil || !slices.Equal(counts, c.counts) {
				t.Errorf("bias %v (%v), want %v", counts, err, c.counts)
			}
		})
	}
}

func TestQuantizedEnds(t *testing.T) {
	q := smalls(t)[Int8]
	in, out := q.tensors[q.input], q.tensors[q.output]
	if in.name != "image" || in.kind != schema.TensorTypeUint8 || in.quant.scale[0] != 1 || in.quant.zero != 0 {
		t.Errorf("input %+v %+v", in, in.quant)
	}
	if out.name != "probabilities" || out.kind != schema.TensorTypeUint8 || out.quant.scale[0] != 1.0/256 || out.quant.zero != 0 {
		t.Errorf("output %+v %+v", out, out.quant)
	}
	for _, o := range q.ops {
		out := q.tensors[o.output]
		switch in := q.tensors[o.inputs[0]]; {
		case out.name == "rescaling/centered" && (out.quant.scale[0] != 1 || out.quant.zero != -1): // 127 is subtracted; the rest is in the bias
			t.Errorf("pixels become %+v", out.quant)
		case o.code == schema.BuiltinOperatorSoftmax && (out.quant.scale[0] != 1.0/256 || out.quant.zero != -128):
			t.Errorf("Softmax gives %+v", out.quant)
		case o.code == schema.BuiltinOperatorPad && !reflect.DeepEqual(in.quant, out.quant):
			t.Errorf("Pad turns %+v into %+v", in.quant, out.quant)
		case o.code == schema.BuiltinOperatorConcatenation:
			for _, i := range o.inputs {
				if !reflect.DeepEqual(q.tensors[i].quant, out.quant) {
					t.Errorf("Concatenation turns %+v into %+v", q.tensors[i].quant, out.quant)
				}
			}
		case o.relu6 && (out.quant.zero != -128 || out.quant.scale[0] > 6.0/255+1e-9):
			t.Errorf("%s is cut to 0…6 and has %+v", out.name, out.quant)
		}
	}
	if err := q.check(); err != nil {
		t.Error(err)
	}
}

func TestQuantizeIsPure(t *testing.T) {
	first, second := smalls(t), smalls(t)
	if !reflect.DeepEqual(first[Int8], second[Int8]) {
		t.Error("equal programs and spans gave different ones")
	}
	if !reflect.DeepEqual(first[Float32], second[Float32]) {
		t.Error("equal networks gave different programs")
	}
}

func TestQuantizeRefuses(t *testing.T) {
	for name, spans := range map[string]map[int]span{
		"an unknown span":  {},
		"one without zero": {3: {1, 2}},
		"an infinite one":  {3: {0, math.Inf(1)}},
		"not a number":     {3: {math.NaN(), math.NaN()}},
	} {
		t.Run(name, func(t *testing.T) {
			p := convolved(schema.BuiltinOperatorConv2D, []int{1, 1, 1, 3}, []float32{1, 2, 3}, []float32{0})
			if _, err := quantize(p, ranges{spans: spans}); err == nil || !strings.Contains(err.Error(), `"out"`) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// The head sees the same features, brought to a common middle and size by moves that are taken out of its kernel and bias.
func TestSpread(t *testing.T) {
	p := &program{}
	p.input = p.add(tensor{name: "image", kind: schema.TensorTypeFloat32, shape: []int{1, 4, 4, 3}})
	mean := operation{code: schema.BuiltinOperatorMean, inputs: []int{p.input, p.ints("axes", []int{2}, []int32{1, 2})}}
	mean.output = p.add(tensor{name: "pool", kind: schema.TensorTypeFloat32, shape: []int{1, 3}})
	dense := operation{code: schema.BuiltinOperatorFullyConnected, inputs: []int{mean.output,
		p.floats("kernel", []int{2, 3}, []float32{1, 2, 3, 4, 5, 6}), p.floats("bias", []int{2}, []float32{0, 7})}}
	dense.output = p.add(tensor{name: "logits", kind: schema.TensorTypeFloat32, shape: []int{1, 2}})
	p.ops, p.output = []operation{mean, dense}, dense.output
	spans := map[int]span{}
	// The loudest feature is 4; one that changes by less than 4/255 counts as changing by that.
	s, err := spread(p, map[int]seen{mean.output: {low: []float64{-0.5, 3, 2}, high: []float64{0.3, 4, 2.001}}}, spans)
	if err != nil {
		t.Fatal(err)
	}
	conv := s.ops[1]
	factors, err := s.tensors[conv.inputs[inKernel]].values()
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := s.tensors[dense.inputs[inKernel]].values()
	if err != nil {
		t.Fatal(err)
	}
	offsets, err := s.tensors[conv.inputs[inBias]].values()
	if err != nil {
		t.Fatal(err)
	}
	bias, err := s.tensors[dense.inputs[inBias]].values()
	if err != nil {
		t.Fatal(err)
	}
	want, middle := []float64{2.5, 2, 63.75}, []float64{-0.1, 3.5, 2.0005}
	for c, o := range offsets {
		if math.Abs(o+want[c]*middle[c]) > 1e-5 {
			t.Errorf("offsets %v", offsets)
		}
	}
	if math.Abs(bias[0]-(-0.1+2*3.5+3*2.0005)) > 1e-5 || math.Abs(bias[1]-(7-4*0.1+5*3.5+6*2.0005)) > 1e-5 {
		t.Errorf("biases %v", bias)
	}
	for i, k := range kernel {
		if math.Abs(factors[i%3]-want[i%3]) > 1e-6 || math.Abs(k*want[i%3]-float64(i+1)) > 1e-6 {
			t.Errorf("factors %v, kernel %v", factors, kernel)
		}
	}
	if spans[conv.output] != (span{-1, 1}) || s.ops[2].inputs[0] != conv.output || !s.ops[0].keep {
		t.Errorf("span %v in\n%s", spans[conv.output], s.text())
	}
	if values, err := p.tensors[dense.inputs[inKernel]].values(); err != nil || values[5] != 6 || p.ops[0].keep {
		t.Error("the program itself was changed")
	}
}

// What is too large for float16 becomes the largest one, and no weight infinite.
func TestHalvedWeightsStayFinite(t *testing.T) {
	data := make([]byte, 0, 16)
	for _, v := range []float32{1e9, -1e9, 65519, 1} {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	p := &program{tensors: []tensor{{name: "in"}, {name: "kernel", data: data}, {name: "bias"}},
		ops: []operation{{code: schema.BuiltinOperatorFullyConnected, inputs: []int{0, 1, 2}}}}
	h := halve(p)
	got := h.tensors[len(h.tensors)-1].data
	for i, want := range []uint16{0x7bff, 0xfbff, 0x7bff, 0x3c00} {
		if bits := binary.LittleEndian.Uint16(got[2*i:]); bits != want {
			t.Errorf("weight %d became %#x, want %#x", i, bits, want)
		}
	}
}
