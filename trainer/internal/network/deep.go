package network

import (
	"fmt"
	"slices"
)

// DeepName is the layer that joins the features of several depths.
const DeepName = "features"

// Deep returns the network with features from several depths: the averages over the image of each of Taps, then the
// features as they were, side by side in the layer "features". They come out of the same forward pass. The last layer
// alone has learned to forget what ImageNet's classes do not need; layers before it still know textures and parts, and
// a linear head picks what it can use (Head2Toe: Evci et al. 2022, arXiv:2201.03529).
func (n Network) Deep() (Network, error) {
	if len(n.Taps) == 0 || n.Features == "" || n.index(DeepName) >= 0 {
		return Network{}, fmt.Errorf("%s has no features of several depths", n.Name)
	}
	var parts []string
	var pools []Layer
	for _, tap := range n.Taps {
		parts = append(parts, tap+"_pool")
		pools = append(pools, Layer{Name: tap + "_pool", Kind: GlobalAveragePooling2D, Inputs: []string{tap}})
	}
	parts = append(parts, n.Features)
	deep := n
	// Just before the last pooling, where Keras lists them too, since it orders layers by their distance from the output.
	deep.Layers = slices.Insert(slices.Clone(n.Layers), n.index(n.Features), pools...)
	deep.Layers = append(deep.Layers, Layer{Name: DeepName, Kind: Concatenate, Inputs: parts})
	shapes, err := deep.Shapes()
	if err != nil {
		return Network{}, err
	}
	deep.Features, deep.FeatureDim, deep.Taps = DeepName, shapes[DeepName][0], nil
	return deep, nil
}

// Parts are the lengths of what Features joins, in order: one for each depth.
func (n Network) Parts() ([]int, error) {
	shapes, err := n.Shapes()
	if err != nil {
		return nil, err
	}
	features, ok := n.Layer(n.Features)
	if !ok || features.Kind != Concatenate {
		return []int{n.FeatureDim}, nil
	}
	parts := make([]int, len(features.Inputs))
	for i, name := range features.Inputs {
		parts[i] = shapes[name][len(shapes[name])-1]
	}
	return parts, nil
}
