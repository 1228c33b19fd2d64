package weights_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/hdf"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/weights"
)

// stem is a network with one array of each kind, named as EfficientNet-Lite's are.
func stem() network.Network {
	return network.Network{Name: "stem", Size: 4, Layers: []network.Layer{
		{Name: "input", Kind: network.Input},
		{Name: "stem_conv", Kind: network.Conv2D, Inputs: []string{"input"}, Filters: 2, Kernel: 1, Stride: 1, Padding: network.Same},
		{Name: "stem_bn", Kind: network.BatchNormalization, Inputs: []string{"stem_conv"}},
		{Name: "block1a_dwconv", Kind: network.DepthwiseConv2D, Inputs: []string{"stem_bn"}, Kernel: 2, Stride: 1, Padding: network.Same},
		{Name: "block2a_project_conv", Kind: network.Conv2D, Inputs: []string{"block1a_dwconv"}, Filters: 1, Kernel: 2, Stride: 1, Padding: network.Same},
		{Name: "pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{"block2a_project_conv"}},
		{Name: "predictions", Kind: network.Dense, Inputs: []string{"pool"}, Units: 3, Bias: true},
	}}
}

func count(n int) []float32 {
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(i)
	}
	return values
}

func TestFromPickle(t *testing.T) {
	source := network.Weights{
		"_conv_stem.weight":                {Shape: []int{2, 3, 1, 1}, Data: count(6)},
		"_bn0.weight":                      {Shape: []int{2}, Data: []float32{1, 2}},
		"_bn0.bias":                        {Shape: []int{2}, Data: []float32{3, 4}},
		"_bn0.running_mean":                {Shape: []int{2}, Data: []float32{5, 6}},
		"_bn0.running_var":                 {Shape: []int{2}, Data: []float32{7, 8}},
		"_blocks.0._depthwise_conv.weight": {Shape: []int{2, 1, 2, 2}, Data: count(8)},
		"_blocks.1._project_conv.weight":   {Shape: []int{1, 2, 2, 2}, Data: count(8)},
		"_fc.weight":                       {Shape: []int{3, 1}, Data: count(3)},
		"_fc.bias":                         {Shape: []int{3}, Data: count(3)},
	}
	got, err := weights.FromPickle(stem(), source)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]network.Tensor{
		"stem_conv/kernel":                {Shape: []int{1, 1, 3, 2}, Data: []float32{0, 3, 1, 4, 2, 5}},
		"stem_bn/gamma":                   {Shape: []int{2}, Data: []float32{1, 2}},
		"stem_bn/beta":                    {Shape: []int{2}, Data: []float32{3, 4}},
		"stem_bn/moving_mean":             {Shape: []int{2}, Data: []float32{5, 6}},
		"stem_bn/moving_variance":         {Shape: []int{2}, Data: []float32{7, 8}},
		"block1a_dwconv/depthwise_kernel": {Shape: []int{2, 2, 2, 1}, Data: []float32{0, 4, 1, 5, 2, 6, 3, 7}},
		"block2a_project_conv/kernel":     {Shape: []int{2, 2, 2, 1}, Data: []float32{0, 4, 1, 5, 2, 6, 3, 7}},
		"predictions/kernel":              {Shape: []int{1, 3}, Data: []float32{0, 1, 2}},
	} {
		if g := got[name]; !slices.Equal(g.Shape, want.Shape) || !slices.Equal(g.Data, want.Data) {
			t.Errorf("%s: got %v, want %v", name, g, want)
		}
	}
	source["_fc.weight"] = network.Tensor{Shape: []int{3}, Data: count(3)}
	if _, err := weights.FromPickle(stem(), source); err == nil || !strings.Contains(err.Error(), "predictions/kernel") {
		t.Errorf("wrong rank: %v", err)
	}
	delete(source, "_fc.weight")
	if _, err := weights.FromPickle(stem(), source); err == nil || !strings.Contains(err.Error(), "predictions/kernel is missing") {
		t.Errorf("missing array: %v", err)
	}
}

// keras writes a file with the given datasets below prefix, at layer/layer/weight as Keras does.
func keras(t *testing.T, prefix string, depthwise, head string, suffix string) string {
	t.Helper()
	path := save(t, "w.h5", nil)
	put := func(root hdf.Group, layer, weight string, shape []int, n int) {
		outer, err := root.CreateGroup(layer)
		if err != nil {
			t.Fatal(err)
		}
		inner := outer
		if !root.Has(layer + "/" + layer) {
			if inner, err = outer.CreateGroup(layer); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range strings.Split(weight, " ") {
			if err := inner.SetFloats(name+suffix, shape, count(n)); err != nil {
				t.Fatal(err)
			}
			shape, n = []int{shape[len(shape)-1]}, shape[len(shape)-1]
		}
	}
	err := hdf.Create(path, func(root hdf.Group) error {
		if prefix != "" {
			if _, err := root.CreateGroup("optimizer_weights"); err != nil {
				return err
			}
			var err error
			if root, err = root.CreateGroup(prefix); err != nil {
				return err
			}
		}
		put(root, "stem_conv", "kernel", []int{1, 1, 3, 2}, 6)
		put(root, "stem_bn", "gamma beta moving_mean moving_variance", []int{2}, 2)
		put(root, "block1a_dwconv", depthwise, []int{2, 2, 2, 1}, 8)
		put(root, "block2a_project_conv", "kernel", []int{2, 2, 2, 1}, 8)
		put(root, head, "kernel bias", []int{1, 3}, 3)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFromKeras(t *testing.T) {
	tests := map[string][4]string{
		"weights of Keras 2": {"", "depthwise_kernel", "predictions", ":0"},
		"whole model":        {"model_weights", "depthwise_kernel", "predictions", ":0"},
		"names of Keras 3":   {"", "kernel", "predictions", ""},
		"old head":           {"", "depthwise_kernel", "Logits", ":0"},
	}
	for name, a := range tests {
		t.Run(name, func(t *testing.T) {
			source, err := weights.ReadKeras(keras(t, a[0], a[1], a[2], a[3]))
			if err != nil {
				t.Fatal(err)
			}
			got, err := weights.FromKeras(stem(), source)
			if err != nil {
				t.Fatal(err)
			}
			if d := got["block1a_dwconv/depthwise_kernel"]; !slices.Equal(d.Data, count(8)) || len(got) != 9 {
				t.Errorf("%d arrays, depthwise %v", len(got), d)
			}
		})
	}
	source, err := weights.ReadKeras(keras(t, "", "depthwise_kernel", "other", ":0"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := weights.FromKeras(stem(), source); err == nil || !strings.Contains(err.Error(), "predictions/kernel is missing") {
		t.Errorf("missing head: %v", err)
	}
}

func TestReadKerasRefuses(t *testing.T) {
	whole, err := os.ReadFile(keras(t, "", "depthwise_kernel", "predictions", ":0"))
	if err != nil {
		t.Fatal(err)
	}
	empty := save(t, "empty.h5", nil)
	if err := hdf.Create(empty, func(hdf.Group) error { return nil }); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ path, want string }{
		"text":       {save(t, "text.h5", []byte("these are no weights")), "not an HDF5 file"},
		"cut short":  {save(t, "cut.h5", whole[:len(whole)/2]), "cut short"},
		"no weights": {empty, "holds no weights"},
		"absent":     {"absent.h5", "no such file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := weights.ReadKeras(test.path); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want …%s…", err, test.want)
			}
		})
	}
}
