package network_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// small is a convolution with batch norm on 4-pixel images.
func small() (network.Network, network.Weights) {
	n := network.Network{Name: "small", Size: 4, Features: "pool", FeatureDim: 2, Cuts: []string{"bn"}, Layers: []network.Layer{
		{Name: "input", Kind: network.Input},
		{Name: "conv", Kind: network.Conv2D, Inputs: []string{"input"}, Filters: 2, Kernel: 1, Stride: 1, Padding: network.Same},
		{Name: "bn", Kind: network.BatchNormalization, Inputs: []string{"conv"}, Epsilon: 0.5},
		{Name: "pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{"bn"}},
	}}
	return n, network.Weights{
		"conv/kernel":        {Shape: []int{1, 1, 3, 2}, Data: []float32{1, 2, 3, 4, 5, 6}},
		"bn/gamma":           {Shape: []int{2}, Data: []float32{2, 3}},
		"bn/beta":            {Shape: []int{2}, Data: []float32{10, 20}},
		"bn/moving_mean":     {Shape: []int{2}, Data: []float32{1, -1}},
		"bn/moving_variance": {Shape: []int{2}, Data: []float32{0.5, 8.5}},
	}
}

func TestFold(t *testing.T) {
	n, w := small()
	folded, weights, err := n.Fold(w)
	if err != nil {
		t.Fatal(err)
	}
	// scale is 2/√1 and 3/√9, bias 10 − 1·2 and 20 + 1·1.
	if got, want := weights["bn/kernel"].Data, []float32{2, 2, 6, 4, 10, 6}; !slices.Equal(got, want) {
		t.Errorf("kernel %v, want %v", got, want)
	}
	if got, want := weights["bn/bias"].Data, []float32{8, 21}; !slices.Equal(got, want) {
		t.Errorf("bias %v, want %v", got, want)
	}
	if len(folded.Layers) != 3 || len(weights) != 2 {
		t.Errorf("%d layers, %d arrays", len(folded.Layers), len(weights))
	}
	if err := folded.Validate(weights); err != nil {
		t.Error(err)
	}
	if w["conv/kernel"].Data[0] != 1 || len(n.Layers) != 4 {
		t.Error("the original was changed")
	}
}

func TestFoldKeepsWhatOthersRead(t *testing.T) {
	n, w := small()
	n.Layers = append(n.Layers, network.Layer{Name: "sum", Kind: network.Add, Inputs: []string{"conv", "bn"}})
	folded, _, err := n.Fold(w)
	if err != nil {
		t.Fatal(err)
	}
	if l, ok := folded.Layer("bn"); !ok || l.Kind != network.BatchNormalization || len(folded.Layers) != len(n.Layers) {
		t.Errorf("a convolution that two layers read was folded: %+v", folded.Layers)
	}
}

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		spoil func(network.Weights)
		want  string
	}{
		"missing":  {func(w network.Weights) { delete(w, "bn/beta") }, "bn/beta is missing"},
		"shape":    {func(w network.Weights) { w["bn/beta"] = network.Tensor{Shape: []int{1}, Data: []float32{1}} }, "[1] instead of [2]"},
		"values":   {func(w network.Weights) { w["bn/beta"] = network.Tensor{Shape: []int{2}, Data: []float32{1}} }, "1 values instead of 2"},
		"NaN":      {func(w network.Weights) { w["bn/beta"].Data[1] = float32(math.NaN()) }, "value NaN at 1"},
		"infinite": {func(w network.Weights) { w["bn/beta"].Data[0] = float32(math.Inf(-1)) }, "value -Inf at 0"},
		"variance": {func(w network.Weights) { w["bn/moving_variance"].Data[0] = -1 }, "negative variance"},
		"many":     {func(w network.Weights) { clear(w) }, "conv/kernel is missing"},
		"extra":    {func(w network.Weights) { w["other/kernel"] = network.Tensor{} }, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n, w := small()
			test.spoil(w)
			err := n.Validate(w)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want …%s…", err, test.want)
			}
			if _, _, err := n.Fold(w); err == nil {
				t.Error("Fold accepted the weights")
			}
		})
	}
}
