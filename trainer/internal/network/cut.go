package network

import (
	"fmt"
	"slices"
)

// Names of the head's layers; Dropout stands first when there is any.
const (
	DropoutName       = "dropout"
	PredictionsName   = "predictions"
	ProbabilitiesName = "probabilities"
)

// Layer returns the layer of that name.
func (n Network) Layer(name string) (Layer, bool) {
	i := n.index(name)
	if i < 0 {
		return Layer{}, false
	}
	return n.Layers[i], true
}

func (n Network) index(name string) int {
	return slices.IndexFunc(n.Layers, func(l Layer) bool { return l.Name == name })
}

// Only returns the part of the network that the named outputs need. Features, Cuts and Taps outside it are dropped.
func (n Network) Only(outputs ...string) (Network, error) {
	needed := map[string]bool{}
	for _, name := range outputs {
		if n.index(name) < 0 {
			return Network{}, fmt.Errorf("%s has no layer %q", n.Name, name)
		}
		needed[name] = true
	}
	for _, l := range slices.Backward(n.Layers) {
		if needed[l.Name] {
			for _, in := range l.Inputs {
				needed[in] = true
			}
		}
	}
	return n.keep(needed), nil
}

// Before returns those of the named layers that come before cut.
func (n Network) Before(cut string, names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return n.index(name) >= n.index(cut) })
}

// Suffix returns the network behind cut, which is one of Cuts or Features. Its Input layer bears the name of the cut and takes
// that activation, so all other names stay what they are. Only(cut) followed by it is the whole network.
func (n Network) Suffix(cut string) (Network, error) {
	if err := n.checkCut(cut); err != nil {
		return Network{}, err
	}
	shapes, err := n.Shapes()
	if err != nil {
		return Network{}, err
	}
	input := Layer{Name: cut, Kind: Input}
	size := 0
	if shape := shapes[cut]; len(shape) == 1 {
		input.Units = shape[0]
	} else {
		size, input.Filters = shape[0], shape[2]
	}
	behind := map[string]bool{}
	for _, l := range n.Layers[n.index(cut)+1:] {
		for _, in := range l.Inputs {
			if in != cut && !behind[in] {
				return Network{}, fmt.Errorf("%s cannot be cut at %s: %s also needs %s", n.Name, cut, l.Name, in)
			}
		}
		behind[l.Name] = true
	}
	suffix := n.keep(behind)
	suffix.Size = size
	suffix.Layers = append([]Layer{input}, suffix.Layers...)
	if n.Features == cut {
		suffix.Features, suffix.FeatureDim = n.Features, n.FeatureDim
	}
	return suffix, nil
}

// DefaultCut names a cut to fine-tune from, the last one that sees the image at an eighth of its size. Behind it lie two thirds
// of the computations and nearly all weights.
func (n Network) DefaultCut() (string, error) {
	const shrunk = 8
	shapes, err := n.Shapes()
	if err != nil {
		return "", err
	}
	for _, cut := range slices.Backward(n.Cuts) {
		if shapes[cut][0] >= (n.Size+shrunk-1)/shrunk {
			return cut, nil
		}
	}
	return "", fmt.Errorf("%s has no cut that sees the image at an eighth of its size", n.Name)
}

func (n Network) checkCut(cut string) error {
	if cut == "" || cut != n.Features && !slices.Contains(n.Cuts, cut) {
		return fmt.Errorf("%s cannot be cut at %q; its cuts are %v", n.Name, cut, n.Cuts)
	}
	return nil
}

// keep returns the named layers, with Features and Cuts as far as they are among them.
func (n Network) keep(names map[string]bool) Network {
	kept := n
	kept.Layers, kept.Cuts = nil, nil
	if slices.ContainsFunc(n.Taps, func(tap string) bool { return !names[tap] }) {
		kept.Taps = nil // a part of them would be other features
	}
	for _, l := range n.Layers {
		if names[l.Name] {
			kept.Layers = append(kept.Layers, l)
		}
	}
	for _, cut := range n.Cuts {
		if names[cut] {
			kept.Cuts = append(kept.Cuts, cut)
		}
	}
	if !names[n.Features] {
		kept.Features, kept.FeatureDim = "", 0
	}
	return kept
}

// WithHead returns the network with a classifier on top of Features: Dropout (when rate is above 0), Dense
// "predictions" with bias, Softmax "probabilities". classes is at least 2, rate is 0…1 (1 excluded).
func (n Network) WithHead(classes int, rate float32) (Network, error) {
	if n.Features == "" {
		return Network{}, fmt.Errorf("%s has no features to put a head on", n.Name)
	}
	if classes < 2 {
		return Network{}, fmt.Errorf("a head needs at least 2 classes, not %d", classes)
	}
	if !(rate >= 0 && rate < 1) {
		return Network{}, fmt.Errorf("dropout must be from 0 to below 1, not %v", rate)
	}
	if n.index(PredictionsName) >= 0 {
		return Network{}, fmt.Errorf("%s has a head already", n.Name)
	}
	whole := n
	whole.Layers = slices.Clone(n.Layers)
	last := n.Features
	if rate > 0 {
		whole.Layers = append(whole.Layers, Layer{Name: DropoutName, Kind: Dropout, Inputs: []string{last}, Rate: rate})
		last = DropoutName
	}
	whole.Layers = append(whole.Layers,
		Layer{Name: PredictionsName, Kind: Dense, Inputs: []string{last}, Units: classes, Bias: true},
		Layer{Name: ProbabilitiesName, Kind: Softmax, Inputs: []string{PredictionsName}})
	return whole, nil
}
