package network

import (
	"fmt"
	"math"
	"slices"
)

// Fold merges each batch normalization into the convolution that alone feeds it, for fast inference. The merged
// convolution has a bias and bears the batch norm's name, so a name that both networks have means the same value.
// Neither n nor w is changed; arrays that need no change are shared with w.
func (n Network) Fold(w Weights) (Network, Weights, error) {
	if err := n.Validate(w); err != nil {
		return Network{}, nil, err
	}
	consumers := map[string]int{}
	for _, l := range n.Layers {
		for _, in := range l.Inputs {
			consumers[in]++
		}
	}
	folded := n
	folded.Layers = nil
	weights := Weights{}
	for _, l := range n.Layers {
		if l.Kind == BatchNormalization && consumers[l.Inputs[0]] == 1 {
			at := folded.index(l.Inputs[0])
			if conv := folded.Layers[at]; conv.Kind == Conv2D || conv.Kind == DepthwiseConv2D {
				merged := conv
				merged.Name, merged.Bias = l.Name, true
				folded.Layers = slices.Delete(folded.Layers, at, at+1)
				folded.Layers = append(folded.Layers, merged)
				foldConv(conv, l, w, weights)
				continue
			}
		}
		folded.Layers = append(folded.Layers, l)
	}
	arrays, err := folded.Arrays()
	if err != nil {
		return Network{}, nil, fmt.Errorf("fold %s: %w", n.Name, err)
	}
	for _, a := range arrays {
		if _, merged := weights[a.Name]; !merged {
			weights[a.Name] = w[a.Name]
		}
	}
	return folded, weights, nil
}

// foldConv writes the merged arrays into out: kernel·s and beta + (bias − mean)·s with s = gamma / √(variance + ε).
// Computed in float64, so that folding adds no error of its own.
func foldConv(conv, norm Layer, w, out Weights) {
	gamma, beta := w[norm.Name+"/gamma"].Data, w[norm.Name+"/beta"].Data
	mean, variance := w[norm.Name+"/moving_mean"].Data, w[norm.Name+"/moving_variance"].Data
	channels := len(gamma)
	scale := make([]float64, channels)
	bias := make([]float32, channels)
	old := w[conv.Name+"/bias"].Data // nil without a bias
	for c := range scale {
		scale[c] = float64(gamma[c]) / math.Sqrt(float64(variance[c])+float64(norm.Epsilon))
		shift := -float64(mean[c])
		if old != nil {
			shift += float64(old[c])
		}
		bias[c] = float32(float64(beta[c]) + shift*scale[c])
	}
	name := "/kernel"
	if conv.Kind == DepthwiseConv2D {
		name = "/depthwise_kernel"
	}
	// The output channel is the fastest index of both layouts: the depth multiplier is always 1.
	kernel := w[conv.Name+name]
	data := make([]float32, len(kernel.Data))
	for i, v := range kernel.Data {
		data[i] = float32(float64(v) * scale[i%channels])
	}
	out[norm.Name+name] = Tensor{Shape: slices.Clone(kernel.Shape), Data: data}
	out[norm.Name+"/bias"] = Tensor{Shape: []int{channels}, Data: bias}
}
