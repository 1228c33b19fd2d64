package graph_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// block is an inverted residual block on 8 channels, 16 within.
func block() network.Network {
	return network.Network{Name: "block", Size: 6, Features: "pool", FeatureDim: 8, Cuts: []string{"input"}, Layers: []network.Layer{
		{Name: "input", Kind: network.Input, Filters: 8},
		{Name: "expand", Kind: network.Conv2D, Inputs: []string{"input"}, Filters: 16, Kernel: 1, Stride: 1, Padding: network.Same},
		{Name: "expand_bn", Kind: network.BatchNormalization, Inputs: []string{"expand"}, Epsilon: 1e-3},
		{Name: "expand_relu", Kind: network.ReLU6, Inputs: []string{"expand_bn"}},
		{Name: "depth", Kind: network.DepthwiseConv2D, Inputs: []string{"expand_relu"}, Kernel: 3, Stride: 1, Padding: network.Same},
		{Name: "depth_bn", Kind: network.BatchNormalization, Inputs: []string{"depth"}, Epsilon: 1e-3},
		{Name: "depth_relu", Kind: network.ReLU6, Inputs: []string{"depth_bn"}},
		{Name: "project", Kind: network.Conv2D, Inputs: []string{"depth_relu"}, Filters: 8, Kernel: 1, Stride: 1, Padding: network.Same},
		{Name: "project_bn", Kind: network.BatchNormalization, Inputs: []string{"project"}, Epsilon: 1e-3},
		{Name: "add", Kind: network.Add, Inputs: []string{"input", "project_bn"}},
		{Name: "pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{"add"}},
	}}
}

// TestPrunedAnswersAlike takes out channels that say nothing, and channels that always say the same: what comes out of the
// block stays what it was.
func TestPrunedAnswersAlike(t *testing.T) {
	n := block()
	arrays, err := n.Arrays()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	w := network.Weights{}
	for _, a := range arrays {
		data := make([]float32, a.Size())
		for i := range data {
			data[i] = float32(r.NormFloat64())
			if strings.HasSuffix(a.Name, "/gamma") || strings.HasSuffix(a.Name, "/moving_variance") {
				data[i] = float32(0.5 + r.Float64())
			}
		}
		w[a.Name] = network.Tensor{Shape: a.Shape, Data: data}
	}
	// Every second channel: silent, as what takes it on is 0, or constant, as its scale is next to nothing.
	for c := 0; c < 16; c += 2 {
		if c%4 == 0 {
			clear(w["project/kernel"].Data[c*8 : c*8+8])
		} else {
			w["depth_bn/gamma"].Data[c], w["depth_bn/beta"].Data[c] = 1e-5, 2*float32(c) // above 6 it is 6
		}
	}
	smaller, weights, err := n.Prune(w, "input", 0.5)
	if err != nil {
		t.Fatal(err)
	}
	if l, _ := smaller.Layer("expand"); l.Filters != 8 {
		t.Fatalf("%d channels are left", l.Filters)
	}
	image := make([]float32, 2*6*6*8)
	for i := range image {
		image[i] = float32(r.NormFloat64())
	}
	in, err := tf.FromFloats([]int{2, 6, 6, 8}, image)
	if err != nil {
		t.Fatal(err)
	}
	added := func(n network.Network, w network.Weights) []float32 {
		return frozen(t, n, w, in, graph.Options{}, "add")
	}
	want, got := added(n, w), added(smaller, weights)
	for i := range want {
		if math.Abs(float64(want[i]-got[i])) > 1e-3 {
			t.Fatalf("value %d is %v, was %v", i, got[i], want[i])
		}
	}
	// With half of the rest it would be another.
	clear(weights["project/kernel"].Data[:8])
	if slices.Equal(want, added(smaller, weights)) {
		t.Error("a channel that was kept changes nothing")
	}
}
