package network

import (
	"fmt"
	"math"
	"slices"
)

// The layers that Clipped adds: one that moves and scales each feature, and one that lets 0…6 of it pass.
const (
	ClipNormName = "features_norm"
	ClipName     = "features_clip"
)

// clipEpsilon is that of the added batch norm.
const clipEpsilon = 1e-3

// Clipped returns the network with features that are kept within bounds: what ClipWeights are made for passes as it is, but moved
// and scaled, what lies further out counts as the bound. A head that is linear on unbounded features is the surer of a photo the
// stranger it is; on bounded ones it is less so (ReAct: Sun, Guo and Li 2021, arXiv:2111.12797, which bounds them from
// above).
func (n Network) Clipped() (Network, error) {
	if n.Features == "" || n.index(ClipName) >= 0 || n.index(PredictionsName) >= 0 {
		return Network{}, fmt.Errorf("the features of %s cannot be clipped", n.Name)
	}
	clipped := n
	clipped.Layers = append(slices.Clone(n.Layers),
		Layer{Name: ClipNormName, Kind: BatchNormalization, Inputs: []string{n.Features}, Epsilon: clipEpsilon},
		Layer{Name: ClipName, Kind: ReLU6, Inputs: []string{ClipNormName}})
	clipped.Features, clipped.Taps = ClipName, nil
	return clipped, nil
}

// ClipWeights are the arrays of Clipped for features that pass within reach times their deviation of their mean: the
// first comes out as 0, the last as 6.
func ClipWeights(mean, deviation []float32, reach float64) Weights {
	of := func(value func(j int) float64) Tensor {
		t := Tensor{Shape: []int{len(mean)}, Data: make([]float32, len(mean))}
		for j := range t.Data {
			t.Data[j] = float32(value(j))
		}
		return t
	}
	square := func(j int) float64 { return float64(deviation[j]) * float64(deviation[j]) }
	return Weights{
		ClipNormName + "/moving_mean":     of(func(j int) float64 { return float64(mean[j]) }),
		ClipNormName + "/moving_variance": of(square),
		ClipNormName + "/gamma": of(func(j int) float64 {
			return 3 / reach * math.Sqrt(square(j)+clipEpsilon) / float64(deviation[j])
		}),
		ClipNormName + "/beta": of(func(int) float64 { return 3 }),
	}
}
