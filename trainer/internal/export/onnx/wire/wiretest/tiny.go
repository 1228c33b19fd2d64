package wiretest

import (
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// Tiny is a network with a file of a few hundred bytes.
func Tiny() network.Model {
	n := network.Network{Name: "t", Size: 3, Layers: []network.Layer{
		{Name: "input", Kind: network.Input},
		{Name: "rescaling", Kind: network.Rescaling, Inputs: []string{"input"}, Scale: 0.5, Offset: -1},
		{Name: "conv", Kind: network.Conv2D, Inputs: []string{"rescaling"}, Filters: 2, Kernel: 2, Stride: 2, Padding: network.Same, Bias: true},
		{Name: "relu", Kind: network.ReLU6, Inputs: []string{"conv"}},
		{Name: "sum", Kind: network.Add, Inputs: []string{"relu", "conv"}},
		{Name: "norm", Kind: network.BatchNormalization, Inputs: []string{"sum"}, Epsilon: 0.5},
		{Name: "pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{"norm"}},
		{Name: "join", Kind: network.Concatenate, Inputs: []string{"pool", "pool"}},
		{Name: "dense", Kind: network.Dense, Inputs: []string{"join"}, Units: 2},
		{Name: "softmax", Kind: network.Softmax, Inputs: []string{"dense"}},
	}}
	ones := func(shape ...int) network.Tensor {
		count := 1
		for _, d := range shape {
			count *= d
		}
		return network.Tensor{Shape: shape, Data: slices.Repeat([]float32{1}, count)}
	}
	return network.Model{Network: n, Labels: []string{"a", "b"}, Weights: network.Weights{
		"conv/kernel": ones(2, 2, 3, 2), "conv/bias": ones(2), "norm/gamma": ones(2), "norm/beta": ones(2),
		"norm/moving_mean": ones(2), "norm/moving_variance": ones(2), "dense/kernel": ones(4, 2),
	}}
}

// Run computes a network that was read; TensorFlow may refuse it, but not fall over.
func Run(t *testing.T, m network.Model) {
	t.Helper()
	last := m.Network.Layers[len(m.Network.Layers)-1].Name
	frozen, err := graph.NewFrozen(m.Network, m.Weights, []string{last}, graph.Options{})
	if err != nil {
		return
	}
	defer frozen.Close()
	size := m.Network.Size
	image, err := tf.FromFloats([]int{1, size, size, 3}, make([]float32, size*size*3))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := frozen.Run(image); err == nil && out[0].Shape()[1] != int64(len(m.Labels)) {
		t.Errorf("an answer of shape %v for %d classes", out[0].Shape(), len(m.Labels))
	}
}
