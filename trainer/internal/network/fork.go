package network

import (
	"fmt"
	"slices"
)

// forkPrefix begins the names of the layers that Fork adds.
const forkPrefix = "tuned_"

// Forked is what Fork calls the copy of a layer, or of an array of one.
func Forked(name string) string { return forkPrefix + name }

// Fork returns n with the part behind cut twice: what is fine-tuned beside what it was. n is plain itself or plain.Deep(); cut is
// one of plain's Cuts, or empty for all of it. The copies bear Forked names, and what they find joins the features at the end: a
// head sees both (an ensemble: Hansen and Salamon 1990) for one pass through what lies before the cut.
func (n Network) Fork(plain Network, cut string) (Network, error) {
	if n.Features == "" || n.index(Forked(plain.Features)) >= 0 {
		return Network{}, fmt.Errorf("%s cannot be forked", n.Name)
	}
	behind := plain.Layers
	if cut != "" {
		suffix, err := plain.Suffix(cut)
		if err != nil {
			return Network{}, err
		}
		behind = suffix.Layers
	}
	copied := map[string]bool{}
	for _, l := range behind {
		copied[l.Name] = l.Kind != Input
	}
	forked := n
	forked.Layers = nil
	// Beside each other, where Keras lists them too, since it orders layers by their distance from the output.
	for _, l := range n.Layers {
		forked.Layers = append(forked.Layers, l)
		if !copied[l.Name] {
			continue
		}
		l.Inputs = slices.Clone(l.Inputs)
		l.Name = Forked(l.Name)
		for i, in := range l.Inputs {
			if copied[in] {
				l.Inputs[i] = Forked(in)
			}
		}
		forked.Layers = append(forked.Layers, l)
	}
	joined := Layer{Name: DeepName, Kind: Concatenate, Inputs: []string{n.Features}}
	if features, _ := n.Layer(n.Features); features.Kind == Concatenate {
		joined.Inputs = features.Inputs
		forked.Layers = slices.DeleteFunc(forked.Layers, func(l Layer) bool { return l.Name == features.Name })
	}
	joined.Inputs = append(slices.Clone(joined.Inputs), Forked(plain.Features))
	forked.Layers = append(forked.Layers, joined)
	forked.Features, forked.FeatureDim, forked.Taps, forked.Cuts = DeepName, n.FeatureDim+plain.FeatureDim, nil, nil
	return forked, nil
}
