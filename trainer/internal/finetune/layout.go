package finetune

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// Names of the head's arrays among those that are trained. They are those of scaled features (see fit.Scaled), not of the
// model that is exported.
const (
	kernelName = "head/kernel"
	biasName   = "head/bias"
)

// layout says where everything lies: the input, which is a row, and the arrays that are trained within one vector.
type layout struct {
	net      network.Network // behind the cut, without a head
	classes  int
	input    string // layer that takes a row
	shape    []int  // of a row there
	dim      int    // of a row
	arrays   []array
	size     int // numbers in all arrays
	mix      bool
	softness float64 // temperature of a teacher's answers; 0: there is none

	mean, scale, deviation []float32 // see fit.Scaled
}

// array is one trained array: the numbers from..from+size of the vector.
type array struct {
	name       string
	shape      []int
	from, size int
	rate       float64 // factor of the learning rate
	decay      bool    // weight decay applies
}

// deepestRate is the factor of the learning rate right behind the cut; it grows evenly to 1 at the head. What lies deeper
// is more general and should move less (discriminative fine-tuning: Howard and Ruder 2018, arXiv:1801.06146).
const deepestRate = 1.0 / 3

func newLayout(net network.Network, head fit.Scaled, mix bool) (*layout, error) {
	shapes, err := net.Shapes()
	if err != nil {
		return nil, err
	}
	l := &layout{net: net, classes: len(head.Bias), mean: head.Mean, scale: head.Scale, deviation: head.Deviation, mix: mix}
	if len(net.Layers) == 0 || net.Layers[0].Kind != network.Input {
		return nil, fmt.Errorf("%s does not begin with its input", net.Name)
	}
	l.input = net.Layers[0].Name
	l.shape, l.dim = shapes[l.input], 1
	for _, d := range l.shape {
		l.dim *= d
	}
	arrays, err := net.Arrays()
	if err != nil {
		return nil, err
	}
	for _, a := range arrays {
		name, weight, _ := strings.Cut(a.Name, "/")
		if strings.HasPrefix(weight, "moving_") {
			continue
		}
		at := slices.IndexFunc(net.Layers, func(layer network.Layer) bool { return layer.Name == name })
		depth := float64(at) / float64(len(net.Layers))
		l.add(array{name: a.Name, shape: a.Shape, rate: deepestRate + (1-deepestRate)*depth, decay: strings.HasSuffix(weight, "kernel")})
	}
	l.add(array{name: kernelName, shape: []int{net.FeatureDim, l.classes}, rate: 1, decay: true})
	l.add(array{name: biasName, shape: []int{l.classes}, rate: 1})
	return l, nil
}

func (l *layout) add(a array) {
	a.from, a.size = l.size, 1
	for _, d := range a.shape {
		a.size *= d
	}
	l.size += a.size
	l.arrays = append(l.arrays, a)
}

// pack gathers the arrays into one vector. The head's kernel is transposed from [classes,dim].
func (l *layout) pack(w network.Weights, head fit.Scaled) (Vector, error) {
	v := make(Vector, l.size)
	for _, a := range l.arrays {
		part := v[a.from : a.from+a.size]
		switch a.name {
		case kernelName:
			dim := a.shape[0]
			for c := range l.classes {
				for j := range dim {
					part[j*l.classes+c] = head.Kernel[c*dim+j]
				}
			}
		case biasName:
			copy(part, head.Bias)
		default:
			if len(w[a.name].Data) != a.size {
				return nil, fmt.Errorf("fine-tune: %s has %d numbers, not %d", a.name, len(w[a.name].Data), a.size)
			}
			copy(part, w[a.name].Data)
		}
	}
	return v, nil
}

// unpack returns the arrays of the base in v, and the head.
func (l *layout) unpack(v Vector) (network.Weights, fit.Scaled) {
	w := network.Weights{}
	head := fit.Scaled{Mean: l.mean, Scale: l.scale, Deviation: l.deviation}
	for _, a := range l.arrays {
		part := v[a.from : a.from+a.size]
		switch a.name {
		case kernelName:
			dim := a.shape[0]
			head.Kernel = make([]float32, len(part))
			for i, x := range part {
				head.Kernel[i%l.classes*dim+i/l.classes] = x
			}
		case biasName:
			head.Bias = slices.Clone([]float32(part))
		default:
			w[a.name] = network.Tensor{Shape: a.shape, Data: slices.Clone(part)}
		}
	}
	return w, head
}

// tensors copies the arrays of v for a session.
func (l *layout) tensors(v Vector) ([]*tf.Tensor, error) {
	out := make([]*tf.Tensor, len(l.arrays))
	for i, a := range l.arrays {
		var err error
		if out[i], err = tf.FromFloats(a.shape, v[a.from:a.from+a.size]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// collect sums the gradients of all shards, in order.
func (l *layout) collect(grads [][]*tf.Tensor) (Vector, error) {
	sum := make(Vector, l.size)
	errs := make([]error, len(l.arrays))
	index := make([]int, len(l.arrays))
	for i := range index {
		index[i] = i
	}
	each(index, func(i int) {
		a := l.arrays[i]
		into := sum[a.from : a.from+a.size : a.from+a.size]
		scratch := make([]float32, a.size)
		for _, one := range grads {
			if _, errs[i] = tf.Floats(one[i], scratch); errs[i] != nil {
				return
			}
			for j, g := range scratch {
				into[j] += g
			}
		}
	})
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return sum, nil
}

// norm is the Euclidean length of v.
func norm(v Vector) float64 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

// Names lists the arrays that are trained of a network or its Suffix, the head's left out.
func Names(net network.Network) ([]string, error) {
	l, err := newLayout(net, fit.Scaled{Bias: make([]float32, 2)}, false)
	if err != nil {
		return nil, fmt.Errorf("fine-tune: %w", err)
	}
	var names []string
	for _, a := range l.arrays {
		if a.name != kernelName && a.name != biasName {
			names = append(names, a.name)
		}
	}
	return names, nil
}

// Trained is how many numbers are trained of a network's Suffix with a head of so many classes.
func Trained(net network.Network, classes int) (int, error) {
	l, err := newLayout(net, fit.Scaled{Bias: make([]float32, classes)}, false)
	if err != nil {
		return 0, fmt.Errorf("fine-tune: %w", err)
	}
	return l.size, nil
}
