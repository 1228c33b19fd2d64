// Package plain turns a trained network into the form that ONNX and Core ML both describe, and back: batch norms folded
// into the convolutions before them, dropout left out, and the padding of each convolution as pixels on four sides.
// It also lays out weights as both formats do. It writes and reads no files.
package plain

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Layer is one step of a plain network. Dropout and ZeroPadding2D do not occur.
type Layer struct {
	network.Layer
	// Pads are the zeros that a convolution adds at the top, bottom, left and right of its input, pixels. They stand
	// in place of Padding, which is empty.
	Pads [4]int
}

// Net is a classifier of square RGB images: Layers begins with the Input and ends with the Softmax.
type Net struct {
	Name    string
	Size    int // side of the image, pixels
	Layers  []Layer
	Weights network.Weights // as in network, with Keras' layouts
	Labels  []string        // class names in output order
	Usage   network.Usage
}

// Bounds of what is written and read: a file that someone damaged must fail here, not in TensorFlow's allocator. The
// networks in use stay below a tenth of each.
const (
	maxLayers = 10_000
	maxSide   = 1 << 14 // also of kernels, strides and channels
	maxValues = 1 << 26 // of one activation of one image
)

// Of returns the plain form of m, whose weights must be finite. The error names what has none. m is not changed;
// arrays that folding does not touch are shared with it.
func Of(m network.Model) (Net, error) {
	if err := check(m.Network, m.Labels); err != nil {
		return Net{}, err
	}
	folded, weights, err := m.Network.Fold(m.Weights)
	if err != nil {
		return Net{}, err
	}
	shapes, err := folded.Shapes()
	if err != nil {
		return Net{}, err
	}
	net := Net{Name: m.Network.Name, Size: m.Network.Size, Weights: weights, Labels: m.Labels, Usage: m.Usage}
	source := map[string]string{} // what stands in place of a layer that is left out
	padded := map[string][4]int{} // the outputs of ZeroPadding2D
	for _, l := range folded.Layers {
		plain := Layer{Layer: l}
		plain.Inputs = slices.Clone(l.Inputs)
		var pads [4]int
		for i, in := range l.Inputs {
			if own, ok := padded[in]; ok {
				pads = own
			}
			if from, ok := source[in]; ok {
				plain.Inputs[i] = from
			}
		}
		switch l.Kind {
		case network.Dropout, network.ZeroPadding2D:
			source[l.Name] = plain.Inputs[0]
			if sum := add(pads, l.Pad); sum != ([4]int{}) {
				padded[l.Name] = sum
			}
			continue
		case network.Conv2D, network.DepthwiseConv2D:
			if l.Padding == network.Same {
				pads = add(pads, samePads(shapes[l.Inputs[0]], l))
			}
			plain.Pads, plain.Padding = pads, ""
		default:
			if pads != ([4]int{}) {
				return Net{}, fmt.Errorf("%s of %s is fed by a padding; only convolutions can be", l.Name, net.Name)
			}
		}
		net.Layers = append(net.Layers, plain)
	}
	return net, nil
}

func add(a, b [4]int) [4]int {
	for i := range a {
		a[i] += b[i]
	}
	return a
}

// samePads are the pads of TensorFlow's SAME: just enough for an output of ⌈size/stride⌉, the odd pixel at the bottom
// and right.
func samePads(in []int, l network.Layer) [4]int {
	var pads [4]int
	for axis := range 2 {
		outputs := (in[axis] + l.Stride - 1) / l.Stride
		total := max(0, (outputs-1)*l.Stride+l.Kernel-in[axis])
		pads[2*axis], pads[2*axis+1] = total/2, total-total/2
	}
	return pads
}

// Model is the opposite of Of: a network that computes the same. Padding that TensorFlow's SAME gives is written so,
// since it runs faster than a layer of its own. The weights are checked; Features is what feeds the last Dense layer.
func (n Net) Model() (network.Model, error) {
	explicit := network.Network{Name: n.Name, Size: n.Size}
	for _, l := range n.Layers {
		layer := l.Layer
		if layer.Kind == network.Conv2D || layer.Kind == network.DepthwiseConv2D {
			layer.Padding = network.Valid
		}
		if l.Pads != ([4]int{}) {
			pad := network.Layer{Name: l.Name + "_pad", Kind: network.ZeroPadding2D, Inputs: l.Inputs, Pad: l.Pads}
			explicit.Layers = append(explicit.Layers, pad)
			layer.Inputs = []string{pad.Name}
		}
		explicit.Layers = append(explicit.Layers, layer)
	}
	if err := check(explicit, n.Labels); err != nil {
		return network.Model{}, err
	}
	shapes, err := explicit.Shapes()
	if err != nil {
		return network.Model{}, err
	}
	whole := network.Network{Name: n.Name, Size: n.Size}
	for _, l := range explicit.Layers {
		if last := len(whole.Layers) - 1; l.Padding == network.Valid && last >= 0 {
			pad := whole.Layers[last]
			if pad.Kind == network.ZeroPadding2D && pad.Pad == samePads(shapes[pad.Inputs[0]], l) {
				l.Inputs, l.Padding = pad.Inputs, network.Same
				whole.Layers = whole.Layers[:last]
			}
		}
		if l.Kind == network.Dense {
			whole.Features, whole.FeatureDim = l.Inputs[0], shapes[l.Inputs[0]][0]
		}
		whole.Layers = append(whole.Layers, l)
	}
	if err := whole.Validate(n.Weights); err != nil {
		return network.Model{}, err
	}
	return network.Model{Network: whole, Weights: n.Weights, Labels: n.Labels, Usage: n.Usage}, nil
}

// check tells whether n leads from one RGB image to the probabilities of labels, within the bounds.
func check(n network.Network, labels []string) error {
	if len(n.Layers) > maxLayers || n.Size > maxSide {
		return fmt.Errorf("%d layers for images of %d pixels are too much", len(n.Layers), n.Size)
	}
	if err := checkLayers(n); err != nil {
		return err
	}
	shapes, err := n.Shapes()
	if err != nil {
		return err
	}
	last := n.Layers[len(n.Layers)-1]
	if !slices.Equal(shapes[n.Layers[0].Name], []int{n.Size, n.Size, 3}) || n.Size < 1 {
		return fmt.Errorf("%s does not begin with an RGB image", n.Name)
	}
	if last.Kind != network.Softmax || !slices.Equal(shapes[last.Name], []int{len(labels)}) || len(labels) == 0 {
		return fmt.Errorf("%s ends with %s of shape %v, not with a Softmax over %d classes", n.Name, last.Kind, shapes[last.Name], len(labels))
	}
	for _, l := range n.Layers {
		values := 1
		for _, d := range shapes[l.Name] {
			if d < 1 || d > maxValues/values {
				return fmt.Errorf("layer %s of %s has an output of shape %v, which is too large", l.Name, n.Name, shapes[l.Name])
			}
			values *= d
		}
	}
	for i, label := range labels {
		if !utf8.ValidString(label) {
			return fmt.Errorf("class %d has a name that is not UTF-8 (%q): rename its folder", i, label)
		}
	}
	return nil
}

// checkLayers looks at names, sizes and connections.
func checkLayers(n network.Network) error {
	if len(n.Layers) < 2 || n.Layers[0].Kind != network.Input {
		return fmt.Errorf("%s does not begin with an input", n.Name)
	}
	used := map[string]bool{n.Layers[len(n.Layers)-1].Name: true}
	for i, l := range n.Layers {
		if i > 0 && l.Kind == network.Input {
			return fmt.Errorf("%s has a second input, %q", n.Name, l.Name)
		}
		// A slash joins a layer's name with that of its arrays.
		if l.Name == "" || strings.Contains(l.Name, "/") || !utf8.ValidString(l.Name) {
			return fmt.Errorf("%s has a layer named %q", n.Name, l.Name)
		}
		for _, size := range append(l.Pad[:], l.Kernel, l.Stride, l.Filters, l.Units) {
			if size < 0 || size > maxSide {
				return fmt.Errorf("layer %s of %s has a size of %d", l.Name, n.Name, size)
			}
		}
		for _, v := range []float32{l.Scale, l.Offset, l.Epsilon} {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return fmt.Errorf("layer %s of %s has a setting that is not finite", l.Name, n.Name)
			}
		}
		for _, in := range l.Inputs {
			used[in] = true
		}
	}
	for _, l := range n.Layers {
		if !used[l.Name] {
			return fmt.Errorf("layer %s of %s leads nowhere", l.Name, n.Name)
		}
	}
	return nil
}
