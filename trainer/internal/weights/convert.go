package weights

import (
	"fmt"
	"strings"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// FromKeras picks the arrays of net, which may have a head, out of a Keras file's. The error of a missing or
// mis-shaped array names it.
func FromKeras(net network.Network, source network.Weights) (network.Weights, error) {
	arrays, err := net.Arrays()
	if err != nil {
		return nil, err
	}
	w := network.Weights{}
	for _, a := range arrays {
		for _, name := range kerasNames(a.Name) {
			if t, ok := source[name]; ok {
				w[a.Name] = t
				break
			}
		}
	}
	if err := net.Validate(w); err != nil {
		return nil, fmt.Errorf("read Keras weights: %w", err)
	}
	return w, nil
}

// kerasNames are the names an array has borne in Keras' files: the head was once called Logits, and Keras 3 calls the
// depthwise kernel just kernel.
func kerasNames(name string) []string {
	layer, weight, _ := strings.Cut(name, "/")
	names := []string{name}
	if weight == "depthwise_kernel" {
		names = append(names, layer+"/kernel")
	}
	if layer == network.PredictionsName {
		names = append(names, "Logits/"+weight)
	}
	return names
}

// FromPickle picks the arrays of net, an EfficientNet-Lite that may have a head, out of a PyTorch file's and brings
// them into Keras' layouts.
func FromPickle(net network.Network, source network.Weights) (network.Weights, error) {
	arrays, err := net.Arrays()
	if err != nil {
		return nil, err
	}
	names := liteNames(net)
	w := network.Weights{}
	for _, a := range arrays {
		layer, weight, _ := strings.Cut(a.Name, "/")
		t, ok := source[names[layer]+"."+torchWeight(weight)]
		if !ok {
			continue
		}
		if w[a.Name], err = torchLayout(a, weight, t); err != nil {
			return nil, fmt.Errorf("read PyTorch weights: %w", err)
		}
	}
	if err := net.Validate(w); err != nil {
		return nil, fmt.Errorf("read PyTorch weights: %w", err)
	}
	return w, nil
}

// torchWeight is the name of a weight in PyTorch's state dictionaries.
func torchWeight(weight string) string {
	switch weight {
	case "beta", "bias":
		return "bias"
	case "moving_mean":
		return "running_mean"
	case "moving_variance":
		return "running_var"
	default: // kernel, depthwise_kernel, gamma
		return "weight"
	}
}

// liteNames maps our layer names to those of the efficientnet-lite PyTorch packages, whose blocks are numbered through.
func liteNames(net network.Network) map[string]string {
	names := map[string]string{"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1",
		network.PredictionsName: "_fc"}
	parts := map[string]string{"expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv",
		"bn": "_bn1", "project_conv": "_project_conv", "project_bn": "_bn2"}
	index, current := -1, ""
	for _, l := range net.Layers {
		block, part, ok := strings.Cut(l.Name, "_")
		if !ok || !strings.HasPrefix(block, "block") {
			continue
		}
		if block != current {
			index, current = index+1, block
		}
		if p, ok := parts[part]; ok {
			names[l.Name] = fmt.Sprintf("_blocks.%d.%s", index, p)
		}
	}
	return names
}

// torchLayout turns a PyTorch array into ours: convolutions from [out,in,h,w] to [h,w,in,out], depthwise ones from
// [channels,1,h,w] to [h,w,channels,1], dense ones from [out,in] to [in,out].
func torchLayout(a network.Array, weight string, t network.Tensor) (network.Tensor, error) {
	order := []int{0}
	switch {
	case weight == "depthwise_kernel":
		order = []int{2, 3, 0, 1}
	case weight == "kernel" && len(a.Shape) == 4:
		order = []int{2, 3, 1, 0}
	case weight == "kernel":
		order = []int{1, 0}
	}
	if len(t.Shape) != len(order) {
		return network.Tensor{}, fmt.Errorf("the array for %s has shape %v, which does not fit %v", a.Name, t.Shape, a.Shape)
	}
	return transpose(t, order), nil
}

// transpose returns t with its dimensions reordered: dimension i of the result is dimension order[i] of t.
func transpose(t network.Tensor, order []int) network.Tensor {
	strides := make([]int, len(t.Shape))
	step := 1
	for i := len(t.Shape) - 1; i >= 0; i-- {
		strides[i] = step
		step *= t.Shape[i]
	}
	shape, walked := make([]int, len(order)), make([]int, len(order))
	for i, from := range order {
		shape[i], walked[i] = t.Shape[from], strides[from]
	}
	return walk(t.Data, shape, walked)
}

// walk copies the strided view that begins at data[0] into row-major order; every index must lie inside data.
func walk(data []float32, shape, strides []int) network.Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	out := network.Tensor{Shape: shape, Data: make([]float32, n)}
	index := make([]int, len(shape))
	from := 0
	for i := range out.Data {
		out.Data[i] = data[from]
		for d := len(shape) - 1; d >= 0; d-- {
			index[d]++
			from += strides[d]
			if index[d] < shape[d] {
				break
			}
			from -= index[d] * strides[d]
			index[d] = 0
		}
	}
	return out
}
