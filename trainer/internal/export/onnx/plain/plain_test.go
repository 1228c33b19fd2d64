package plain_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/plain"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// one is a network of one convolution.
func one(t *testing.T, size, kernel, stride int, padding network.Padding, pads ...[4]int) network.Model {
	t.Helper()
	n := network.Network{Name: "one", Size: size, Layers: []network.Layer{{Name: "input", Kind: network.Input}}}
	last := "input"
	then := func(l network.Layer) {
		l.Inputs = []string{last}
		n.Layers, last = append(n.Layers, l), l.Name
	}
	for i, pad := range pads {
		then(network.Layer{Name: "pad" + string(rune('a'+i)), Kind: network.ZeroPadding2D, Pad: pad})
	}
	then(network.Layer{Name: "conv", Kind: network.Conv2D, Filters: 2, Kernel: kernel, Stride: stride, Padding: padding})
	then(network.Layer{Name: "pool", Kind: network.GlobalAveragePooling2D})
	then(network.Layer{Name: "softmax", Kind: network.Softmax})
	return network.Model{Network: n, Weights: exporttest.Random(t, n), Labels: []string{"a", "b"}}
}

// The pads of SAME are those of TensorFlow's documentation (tf.nn, "Notes on padding").
func TestPads(t *testing.T) {
	for name, c := range map[string]struct {
		size, kernel, stride int
		padding              network.Padding
		pads                 [][4]int
		want                 [4]int
		again                network.Padding // what Model makes of it
	}{
		"same, odd kernel":              {8, 3, 1, network.Same, nil, [4]int{1, 1, 1, 1}, network.Same},
		"same, even kernel":             {8, 2, 1, network.Same, nil, [4]int{0, 1, 0, 1}, network.Same},
		"same, stride 2 of even size":   {224, 3, 2, network.Same, nil, [4]int{0, 1, 0, 1}, network.Same},
		"same, stride 2 of odd size":    {113, 3, 2, network.Same, nil, [4]int{1, 1, 1, 1}, network.Same},
		"same, kernel 5, stride 2":      {56, 5, 2, network.Same, nil, [4]int{1, 2, 1, 2}, network.Same},
		"same, one pixel":               {7, 1, 1, network.Same, nil, [4]int{}, network.Valid},
		"same, stride above the kernel": {8, 1, 2, network.Same, nil, [4]int{}, network.Valid},
		"valid":                         {8, 3, 1, network.Valid, nil, [4]int{}, network.Valid},
		"a padding before":              {8, 3, 1, network.Valid, [][4]int{{0, 1, 2, 1}}, [4]int{0, 1, 2, 1}, network.Valid},
		"a padding like same":           {224, 3, 2, network.Valid, [][4]int{{0, 1, 0, 1}}, [4]int{0, 1, 0, 1}, network.Same},
		"a padding before same":         {7, 3, 2, network.Same, [][4]int{{0, 1, 0, 1}}, [4]int{0, 2, 0, 2}, network.Valid},
		"two paddings":                  {8, 3, 1, network.Valid, [][4]int{{1, 0, 0, 0}, {1, 2, 3, 4}}, [4]int{2, 2, 3, 4}, network.Valid},
		"a padding of nothing":          {8, 3, 1, network.Valid, [][4]int{{}}, [4]int{}, network.Valid},
	} {
		t.Run(name, func(t *testing.T) {
			m := one(t, c.size, c.kernel, c.stride, c.padding, c.pads...)
			net, err := plain.Of(m)
			if err != nil {
				t.Fatal(err)
			}
			conv := net.Layers[1]
			if conv.Pads != c.want || conv.Name != "conv" || !slices.Equal(conv.Inputs, []string{"input"}) {
				t.Errorf("%+v, want pads %v", conv, c.want)
			}
			back, err := net.Model()
			if err != nil {
				t.Fatal(err)
			}
			layer, _ := back.Network.Layer("conv")
			if _, pad := back.Network.Layer("conv_pad"); layer.Padding != c.again || pad != (c.again == network.Valid && c.want != [4]int{}) {
				t.Errorf("%s padding again, with a layer of its own: %v", layer.Padding, pad)
			}
			wantShapes, errA := m.Network.Shapes()
			shapes, errB := back.Network.Shapes()
			if errA != nil || errB != nil || !slices.Equal(shapes["conv"], wantShapes["conv"]) {
				t.Errorf("shape %v, want %v (%v, %v)", shapes["conv"], wantShapes["conv"], errA, errB)
			}
			if again, err := plain.Of(back); err != nil || !reflect.DeepEqual(again, net) {
				t.Errorf("%+v, then %+v (%v)", net, again, err)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	edit := func(m *network.Model, name string, change func(*network.Layer)) {
		i := slices.IndexFunc(m.Network.Layers, func(l network.Layer) bool { return l.Name == name })
		change(&m.Network.Layers[i])
	}
	for name, c := range map[string]struct {
		spoil func(*network.Model)
		want  string
	}{
		"no layers": {func(m *network.Model) { m.Network.Layers = nil }, "begin with an input"},
		"a second input": {func(m *network.Model) {
			edit(m, "depth", func(l *network.Layer) { l.Kind, l.Inputs = network.Input, nil })
		}, "second input"},
		"an activation":     {func(m *network.Model) { m.Network.Layers[0].Filters = 5 }, "RGB image"},
		"a slash":           {func(m *network.Model) { edit(m, "probabilities", func(l *network.Layer) { l.Name = "a/b" }) }, "a/b"},
		"a loose end":       {func(m *network.Model) { edit(m, "sum", func(l *network.Layer) { l.Inputs[1] = "stem_relu" }) }, "depth_relu of small leads nowhere"},
		"no softmax":        {func(m *network.Model) { edit(m, "probabilities", func(l *network.Layer) { l.Kind = network.ReLU6 }) }, "Softmax"},
		"no labels":         {func(m *network.Model) { m.Labels = nil }, "0 classes"},
		"a huge image":      {func(m *network.Model) { m.Network.Size = 10_000 }, "too large"},
		"a huge size":       {func(m *network.Model) { m.Network.Size = 1 << 40 }, "too much"},
		"a huge pad":        {func(m *network.Model) { m.Network.Layers[2].Pad[3] = 1 << 40 }, "stem_pad"},
		"a negative pad":    {func(m *network.Model) { m.Network.Layers[2].Pad[3] = -1 }, "stem_pad"},
		"a padded addition": {func(m *network.Model) { edit(m, "stem_pad", padAdded(m)) }, "fed by a padding"},
		"many layers":       {func(m *network.Model) { m.Network.Layers = make([]network.Layer, 20_000) }, "too much"},
	} {
		t.Run(name, func(t *testing.T) {
			m := exporttest.Small(t)
			c.spoil(&m)
			if _, err := plain.Of(m); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

// padAdded puts a padding that changes nothing in shape between the sum and its second part.
func padAdded(m *network.Model) func(*network.Layer) {
	return func(*network.Layer) {
		for i, l := range m.Network.Layers {
			switch l.Name {
			case "depth":
				m.Network.Layers[i].Padding = network.Valid
			case "depth_relu":
				m.Network.Layers[i].Kind, m.Network.Layers[i].Pad = network.ZeroPadding2D, [4]int{2, 2, 2, 2}
			}
		}
	}
}

func TestModelChecksWeights(t *testing.T) {
	net, err := plain.Of(exporttest.Small(t))
	if err != nil {
		t.Fatal(err)
	}
	delete(net.Weights, "last/kernel")
	if _, err := net.Model(); err == nil || !strings.Contains(err.Error(), "last/kernel") {
		t.Errorf("a missing weight gives %v", err)
	}
}

func TestTranspose(t *testing.T) {
	in := network.Tensor{Shape: []int{2, 3, 1, 2}, Data: make([]float32, 12)}
	for i := range in.Data {
		in.Data[i] = float32(i)
	}
	order := []int{3, 0, 2, 1}
	out := plain.Transpose(in, order)
	if !slices.Equal(out.Shape, []int{2, 2, 1, 3}) {
		t.Fatalf("shape %v", out.Shape)
	}
	for a := range 2 {
		for b := range 3 {
			for d := range 2 {
				if got, want := out.Data[(d*2+a)*3+b], in.Data[(a*3+b)*2+d]; got != want {
					t.Errorf("at %d, %d, %d: %v, want %v", a, b, d, got, want)
				}
			}
		}
	}
	if back := plain.Transpose(out, []int{1, 3, 2, 0}); !reflect.DeepEqual(back, in) {
		t.Errorf("back: %v", back)
	}
	matrix := network.Tensor{Shape: []int{2, 3}, Data: []float32{1, 2, 3, 4, 5, 6}}
	if got := plain.Transpose(matrix, []int{1, 0}); !slices.Equal(got.Data, []float32{1, 4, 2, 5, 3, 6}) {
		t.Errorf("matrix %v", got)
	}
}
