package network

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
)

// prunedStep is what a number of channels is rounded up to a multiple of: what processors compute at once, and what keeps
// results independent of an image's place in its batch.
const prunedStep = 8

// Prune takes a share of the expansion channels, 0 to below 1, out of each inverted residual block behind cut, which is one
// of Cuts or empty for all blocks: a smaller network of the same layers, with its weights. Neither n nor w is changed.
//
// A channel weighs as much as it moves the block's output: the deviation of its activation, which normalisation tells
// (gamma, as in Liu et al. 2017, arXiv:1708.06519, and beta, through ReLU6), times the L1 norm of the filter that takes it
// on (Li et al. 2017, arXiv:1608.08710). The lightest go, and what they put out on average goes into the mean of the
// normalisation behind them.
func (n Network) Prune(w Weights, cut string, share float64) (Network, Weights, error) {
	if !(share >= 0 && share < 1) {
		return Network{}, nil, fmt.Errorf("prune %s: the share must be from 0 to below 1, not %v", n.Name, share)
	}
	if cut != "" {
		if err := n.checkCut(cut); err != nil {
			return Network{}, nil, err
		}
	}
	if err := n.Validate(w); err != nil {
		return Network{}, nil, err
	}
	smaller, weights := n, maps.Clone(w)
	smaller.Layers = slices.Clone(n.Layers)
	found := false
	for _, l := range n.Layers[n.index(cut)+1:] {
		b, ok := n.bottleneck(l)
		if !ok {
			continue
		}
		found = true
		expand := n.index(b.expand)
		smaller.Layers[expand].Filters = b.prune(w, weights, n.Layers[expand].Filters, share)
	}
	if !found {
		return Network{}, nil, fmt.Errorf("prune %s: there is no block with an expansion behind %q", n.Name, cut)
	}
	return smaller, weights, nil
}

// bottleneck is the inside of an inverted residual block, by the names of its layers.
type bottleneck struct {
	expand, expandNorm, depthwise, norm, project, projectNorm string
	epsilon                                                   float64 // of projectNorm
}

// bottleneck finds the block around a depthwise convolution: a convolution of one pixel before it and another behind it,
// each normalised, and nothing else that sees what is between.
func (n Network) bottleneck(depthwise Layer) (bottleneck, bool) {
	b := bottleneck{depthwise: depthwise.Name}
	if depthwise.Kind != DepthwiseConv2D {
		return b, false
	}
	norm, ok := n.walk(depthwise.Inputs[0], BatchNormalization, n.before)
	if !ok {
		return b, false
	}
	expand, ok := n.walk(norm.Inputs[0], Conv2D, n.before)
	if !ok || expand.Kernel != 1 || !n.alone(expand.Name) {
		return b, false
	}
	b.expand, b.expandNorm = expand.Name, norm.Name
	if norm, ok = n.after(depthwise.Name); !ok || norm.Kind != BatchNormalization {
		return b, false
	}
	b.norm = norm.Name
	project, ok := n.walk(norm.Name, Conv2D, n.after)
	if !ok || project.Kernel != 1 {
		return b, false
	}
	last, ok := n.after(project.Name)
	b.project, b.projectNorm, b.epsilon = project.Name, last.Name, float64(last.Epsilon)
	return b, ok && last.Kind == BatchNormalization
}

// walk follows next from the named layer, which counts too, over what works on each channel alone, to a layer of a kind.
func (n Network) walk(name string, kind Kind, next func(string) (Layer, bool)) (Layer, bool) {
	l, ok := n.Layer(name)
	for ok && l.Kind != kind {
		if l.Kind != ReLU6 && l.Kind != ZeroPadding2D && l.Kind != BatchNormalization || !n.alone(l.Name) {
			return l, false
		}
		l, ok = next(l.Name)
	}
	return l, ok
}

// alone tells whether one layer alone takes what the named one puts out.
func (n Network) alone(name string) bool {
	takers := 0
	for _, l := range n.Layers {
		for _, in := range l.Inputs {
			if in == name {
				takers++
			}
		}
	}
	return takers == 1
}

// before is the only input of a layer, after the only layer that it feeds.
func (n Network) before(name string) (Layer, bool) {
	l, ok := n.Layer(name)
	if !ok || len(l.Inputs) != 1 {
		return Layer{}, false
	}
	return n.Layer(l.Inputs[0])
}

func (n Network) after(name string) (Layer, bool) {
	if !n.alone(name) {
		return Layer{}, false
	}
	at := slices.IndexFunc(n.Layers, func(l Layer) bool { return slices.Contains(l.Inputs, name) })
	return n.Layers[at], true
}

// prune writes the arrays of the block with fewer of its channels into out and returns how many are left.
func (b bottleneck) prune(w, out Weights, channels int, share float64) int {
	left := int(math.Ceil((1-share)*float64(channels)/prunedStep-1e-9)) * prunedStep
	left = min(channels, max(prunedStep, left))
	mean, weight := b.weigh(w, channels)
	order := make([]int, channels)
	for c := range order {
		order[c] = c
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(weight[j], weight[i]) })
	kept, gone := slices.Sorted(slices.Values(order[:left])), order[left:]

	project := w[b.project+"/kernel"]
	outputs := project.Shape[3]
	center := slices.Clone(w[b.projectNorm+"/moving_mean"].Data)
	for _, c := range gone {
		for o := range outputs {
			center[o] -= float32(mean[c] * float64(project.Data[c*outputs+o]))
		}
	}
	out[b.projectNorm+"/moving_mean"] = Tensor{Shape: []int{outputs}, Data: center}
	for name, axis := range map[string]int{b.expand + "/kernel": 3, b.expand + "/bias": 0, b.depthwise + "/depthwise_kernel": 2,
		b.depthwise + "/bias": 0, b.project + "/kernel": 2} {
		if t, ok := w[name]; ok {
			out[name] = t.take(axis, kept)
		}
	}
	for _, norm := range []string{b.expandNorm, b.norm} {
		for _, array := range []string{"/gamma", "/beta", "/moving_mean", "/moving_variance"} {
			out[norm+array] = w[norm+array].take(0, kept)
		}
	}
	return left
}

// weigh returns what each channel puts out on average, and how much it matters.
func (b bottleneck) weigh(w Weights, channels int) (mean, weight []float64) {
	mean, weight = make([]float64, channels), make([]float64, channels)
	gamma, beta, project := w[b.norm+"/gamma"].Data, w[b.norm+"/beta"].Data, w[b.project+"/kernel"]
	scale, variance := w[b.projectNorm+"/gamma"].Data, w[b.projectNorm+"/moving_variance"].Data
	outputs := project.Shape[3]
	for c := range channels {
		var deviation float64
		mean[c], deviation = clipped(float64(beta[c]), math.Abs(float64(gamma[c])))
		for o := range outputs {
			factor := float64(scale[o]) / math.Sqrt(float64(variance[o])+b.epsilon)
			weight[c] += math.Abs(float64(project.Data[c*outputs+o]) * factor)
		}
		weight[c] *= deviation
	}
	return mean, weight
}

// clipped is mean and deviation of ReLU6 of a normal distribution, by those of ReLU: of r(x) = max(0, x), ReLU6 is
// r(x) − r(x−6), and its square r(x)² − r(x−6)² − 12·r(x−6).
func clipped(mean, deviation float64) (m, s float64) {
	const ceiling = 6
	if deviation < 1e-9 {
		return min(ceiling, max(0, mean)), 0
	}
	relu := func(mean float64) (first, second float64) {
		at := mean / deviation
		below := 0.5 * math.Erfc(-at/math.Sqrt2)
		density := math.Exp(-at*at/2) / math.Sqrt(2*math.Pi)
		return mean*below + deviation*density, (mean*mean+deviation*deviation)*below + mean*deviation*density
	}
	first, second := relu(mean)
	over, overSquared := relu(mean - ceiling)
	m = first - over
	return m, math.Sqrt(max(0, second-overSquared-2*ceiling*over-m*m))
}

// take returns t with those indices of one axis alone.
func (t Tensor) take(axis int, indices []int) Tensor {
	inner := product(t.Shape[axis+1:])
	outer := product(t.Shape[:axis])
	shape := slices.Clone(t.Shape)
	shape[axis] = len(indices)
	data := make([]float32, 0, outer*len(indices)*inner)
	for o := range outer {
		for _, i := range indices {
			at := (o*t.Shape[axis] + i) * inner
			data = append(data, t.Data[at:at+inner]...)
		}
	}
	return Tensor{Shape: shape, Data: data}
}
