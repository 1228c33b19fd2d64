package tflite

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// classifier puts a head on layers for 9-pixel images, the last of which gives an image, and draws weights.
func classifier(t *testing.T, layers ...network.Layer) network.Model {
	t.Helper()
	n := network.Network{Name: "test", Size: 9, Layers: append([]network.Layer{{Name: "input", Kind: network.Input}}, layers...)}
	last := n.Layers[len(n.Layers)-1].Name
	n.Layers = append(n.Layers,
		network.Layer{Name: "pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{last}},
		network.Layer{Name: "predictions", Kind: network.Dense, Inputs: []string{"pool"}, Units: 2, Bias: true},
		network.Layer{Name: "probabilities", Kind: network.Softmax, Inputs: []string{"predictions"}})
	return network.Model{Network: n, Weights: exporttest.Random(t, n), Labels: []string{"a", "b"}}
}

func codes(p *program) string {
	var names []string
	for _, o := range p.ops {
		names = append(names, o.code.String())
	}
	return strings.Join(names, " ")
}

// What can be folded is, and at the borders as well the program answers as the network does.
func TestLower(t *testing.T) {
	rescaling := network.Layer{Name: "rescaling", Kind: network.Rescaling, Inputs: []string{"input"}, Scale: 1 / 128.0, Offset: -127.0 / 128}
	conv := func(name, from string, kernel int, padding network.Padding) network.Layer {
		return network.Layer{Name: name, Kind: network.Conv2D, Inputs: []string{from}, Filters: 4, Kernel: kernel, Stride: 2, Padding: padding, Bias: true}
	}
	norm := network.Layer{Name: "norm", Kind: network.BatchNormalization, Inputs: []string{"rescaling"}, Epsilon: 1e-3}
	for name, c := range map[string]struct {
		layers []network.Layer
		codes  string
	}{
		"no zeros around: all in the weights": {[]network.Layer{rescaling, conv("c", "rescaling", 3, network.Valid)}, "Conv2D"},
		"SAME without zeros":                  {[]network.Layer{rescaling, conv("c", "rescaling", 1, network.Same)}, "Conv2D"},
		"SAME: the offset is added before":    {[]network.Layer{rescaling, conv("c", "rescaling", 3, network.Same)}, "Add Conv2D"},
		"explicit zeros": {[]network.Layer{rescaling,
			{Name: "pad", Kind: network.ZeroPadding2D, Inputs: []string{"rescaling"}, Pad: [4]int{1, 0, 0, 2}}, conv("c", "pad", 3, network.Valid)}, "Add Pad Conv2D"},
		"a batch norm behind the rescaling": {[]network.Layer{rescaling, norm,
			{Name: "d", Kind: network.DepthwiseConv2D, Inputs: []string{"norm"}, Kernel: 3, Stride: 1, Padding: network.Valid}}, "DepthwiseConv2D"},
		"and zeros": {[]network.Layer{rescaling, norm,
			{Name: "d", Kind: network.DepthwiseConv2D, Inputs: []string{"norm"}, Kernel: 3, Stride: 1, Padding: network.Same, Bias: true}}, "Add DepthwiseConv2D"},
		"a batch norm used twice": {[]network.Layer{rescaling, norm, conv("c", "norm", 1, network.Same), conv("e", "norm", 3, network.Same),
			{Name: "sum", Kind: network.Add, Inputs: []string{"c", "e"}}, {Name: "relu", Kind: network.ReLU6, Inputs: []string{"sum"}}}, "Conv2D Add Conv2D Add"},
		"a ReLU6 with nothing to merge with": {[]network.Layer{rescaling, {Name: "relu", Kind: network.ReLU6, Inputs: []string{"rescaling"}}}, "Mul Add Relu6"},
		"an output with and without ReLU6": {[]network.Layer{rescaling, conv("c", "rescaling", 3, network.Valid),
			{Name: "relu", Kind: network.ReLU6, Inputs: []string{"c"}}, {Name: "sum", Kind: network.Add, Inputs: []string{"c", "relu"}}}, "Conv2D Relu6 Add"},
	} {
		t.Run(name, func(t *testing.T) {
			m := classifier(t, c.layers...)
			p, err := lower(m, false)
			if err != nil {
				t.Fatal(err)
			}
			if want := c.codes + " Mean FullyConnected Softmax"; codes(p) != want {
				t.Errorf("operations %s, want %s", codes(p), want)
			}
			checkAnswers(t, m, p, 1e-5)
			whole, err := lower(m, true)
			if err != nil {
				t.Fatal(err)
			}
			checkAnswers(t, m, whole, 1e-5) // 127 is a whole number
		})
	}
}

// 127.5 is not: what is left over goes into the bias, where borders do not see it.
func TestWholeShift(t *testing.T) {
	m := classifier(t, network.Layer{Name: "rescaling", Kind: network.Rescaling, Inputs: []string{"input"}, Scale: 1 / 127.5, Offset: -1},
		network.Layer{Name: "c", Kind: network.Conv2D, Inputs: []string{"rescaling"}, Filters: 8, Kernel: 3, Stride: 2, Padding: network.Same})
	p, err := lower(m, true)
	if err != nil {
		t.Fatal(err)
	}
	shift, err := p.tensors[p.ops[0].inputs[inOperand]].values()
	if err != nil || !slices.Equal(shift, []float64{-127}) {
		t.Errorf("%v (%v) is added to the pixels", shift, err)
	}
	checkAnswers(t, m, p, 0.02)
}

// checkAnswers compares the program with the trainer's own graph of the network.
func checkAnswers(t *testing.T, m network.Model, p *program, tolerance float64) {
	t.Helper()
	if err := p.check(); err != nil {
		t.Fatal(err)
	}
	images := make([]float32, 3*9*9*3)
	for i := range images {
		contrast := float64(i/(9*9*3)) / 2
		images[i] = float32(math.Round(60 + 60*contrast + 60*contrast*math.Sin(float64(i*i)/(1+float64(i%81)))))
	}
	s, err := newSession(p, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	out, err := s.run(images, s.values[p.output])
	if err != nil {
		t.Fatal(err)
	}
	got, err := tf.Floats(out[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	if worst := exporttest.MaxDifference(t, got, exporttest.Answers(t, m, images)); worst > tolerance {
		t.Errorf("answers differ by %g:\n%s", worst, p.text())
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, spoil := range map[string]func(p *program){
		"an output known before it": func(p *program) { p.ops = append(p.ops, p.ops[0]) },
		"an input not yet computed": func(p *program) { slices.Reverse(p.ops) },
		"a missing operation":       func(p *program) { p.ops = p.ops[:len(p.ops)-1] },
		"no input at all":           func(p *program) { p.ops[0].inputs = nil },
		"weights that are computed": func(p *program) { p.ops[3].inputs[inKernel] = p.ops[2].output },
		"a constant for an image":   func(p *program) { p.ops[3].inputs[0] = p.ops[3].inputs[inKernel] },
		"a wrong shape":             func(p *program) { p.tensors[p.ops[3].output].shape = []int{1, 2, 2, 2} },
		"no stride":                 func(p *program) { p.ops[3].stride = 0 },
		"a huge tensor":             func(p *program) { p.tensors[p.ops[3].output].shape = []int{1, 1 << 20, 1 << 20, 8} },
		"five dimensions":           func(p *program) { p.tensors[p.ops[3].output].shape = []int{1, 1, 1, 1, 1} },
		"no scale":                  func(p *program) { p.tensors[p.ops[3].output].quant = nil },
		"a scale that is no number": func(p *program) { p.tensors[p.ops[3].output].quant.scale[0] = float32(math.NaN()) },
		"a zero point out of range": func(p *program) { p.tensors[p.ops[3].output].quant.zero = 128 },
		"an asymmetric kernel":      func(p *program) { p.tensors[p.ops[3].inputs[inKernel]].quant.zero = 1 },
		"too few kernel scales":     func(p *program) { q := p.tensors[p.ops[3].inputs[inKernel]].quant; q.scale = q.scale[:3] },
		"another bias scale":        func(p *program) { p.tensors[p.ops[3].inputs[inBias]].quant.scale[2] *= 1.1 },
		"Pad to another scale":      func(p *program) { p.tensors[p.ops[2].output].quant.scale[0] = 2 },
		"Softmax to another scale":  func(p *program) { p.tensors[p.ops[len(p.ops)-1].inputs[0]].quant.scale[0] = 1.0 / 255 },
		"pixels that are none":      func(p *program) { p.tensors[p.input].quant.scale[0] = 0.5 },
		"float weights": func(p *program) {
			k := &p.tensors[p.ops[3].inputs[inBias]]
			k.kind, k.quant = schema.TensorTypeFloat32, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := smalls(t)[Int8]
			if p.ops[3].code != schema.BuiltinOperatorConv2D || p.ops[2].code != schema.BuiltinOperatorPad {
				t.Fatal("the small network begins otherwise")
			}
			// Tensors share what they do not choose themselves.
			for i := range p.tensors {
				if q := p.tensors[i].quant; q != nil {
					own := *q
					own.scale = slices.Clone(q.scale)
					p.tensors[i].quant = &own
				}
			}
			if err := p.check(); err != nil {
				t.Fatal(err)
			}
			spoil(p)
			if err := p.check(); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}
