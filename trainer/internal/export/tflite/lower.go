package tflite

import (
	"fmt"
	"math"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Names that callers of the model use.
const (
	imageName  = "image"
	answerName = "probabilities"
)

// lower turns a classifier into a float32 program: batch norms folded, ReLU6 merged into the operation before it,
// Dropout dropped, and rescaling moved into the weights as far as that is exact: a factor always, since zeros around an
// image stay zeros, but an offset only where no zeros are added.
//
// With whole, the number that is left to be added to the pixels is rounded to a whole one, so that pixels in 8 bits
// stay exact, and the remainder goes into the next bias. It is then missing from zeros around the image, which are off
// by half a step of a pixel at most.
func lower(m network.Model, whole bool) (*program, error) {
	folded, weights, err := m.Network.Fold(m.Weights)
	if err != nil {
		return nil, err
	}
	if err := checkClassifier(folded, len(m.Labels)); err != nil {
		return nil, err
	}
	l := lowering{p: &program{}, weights: weights, whole: whole, values: map[string]value{},
		uses: map[string]int{}, relu6: map[string]string{}}
	if l.shapes, err = folded.Shapes(); err != nil {
		return nil, err
	}
	l.lookAhead(folded)
	for _, layer := range folded.Layers {
		if _, done := l.values[layer.Name]; done {
			continue // merged into the one before it
		}
		if l.values[layer.Name], err = l.layer(layer); err != nil {
			return nil, fmt.Errorf("layer %s of %s: %w", layer.Name, folded.Name, err)
		}
	}
	last := l.values[folded.Layers[len(folded.Layers)-1].Name]
	l.p.output = last.tensor
	l.p.tensors[last.tensor].name = answerName
	return l.p, nil
}

// checkClassifier tells whether the network goes from one image to the probabilities of that many classes.
func checkClassifier(n network.Network, classes int) error {
	shapes, err := n.Shapes()
	if err != nil {
		return err
	}
	if len(n.Layers) < 2 || n.Layers[0].Kind != network.Input || len(shapes[n.Layers[0].Name]) != 3 || shapes[n.Layers[0].Name][2] != 3 {
		return fmt.Errorf("%s does not begin with an image", n.Name)
	}
	last := n.Layers[len(n.Layers)-1]
	if shape := shapes[last.Name]; last.Kind != network.Softmax || len(shape) != 1 || shape[0] != classes {
		return fmt.Errorf("%s ends with %s of shape %v instead of probabilities of its %d classes", n.Name, last.Kind, shape, classes)
	}
	for _, l := range n.Layers[1:] {
		if l.Kind == network.Input {
			return fmt.Errorf("%s has a second input, %q", n.Name, l.Name)
		}
	}
	return nil
}

type lowering struct {
	p       *program
	weights network.Weights
	shapes  map[string][]int
	whole   bool
	values  map[string]value
	uses    map[string]int    // how often a layer's output is used
	relu6   map[string]string // by layer, the ReLU6 that alone uses its output
}

// value is the output of a layer: scale·tensor + offset. Both are nil where the tensor is the output itself, and have
// one element for each channel otherwise.
type value struct {
	tensor        int
	scale, offset []float64
}

func (l *lowering) lookAhead(n network.Network) {
	for _, layer := range n.Layers {
		for _, in := range layer.Inputs {
			l.uses[in]++
		}
	}
	for _, layer := range n.Layers {
		if layer.Kind == network.ReLU6 && l.uses[layer.Inputs[0]] == 1 {
			l.relu6[layer.Inputs[0]] = layer.Name
		}
	}
}

// shape is that of a layer's output for one image.
func (l *lowering) shape(layer string) []int { return append([]int{1}, l.shapes[layer]...) }

func (l *lowering) layer(layer network.Layer) (value, error) {
	in := make([]value, len(layer.Inputs))
	for i, name := range layer.Inputs {
		in[i] = l.values[name]
	}
	switch layer.Kind {
	case network.Input:
		l.p.input = l.computed(imageName, l.shape(layer.Name))
		return value{tensor: l.p.input}, nil
	case network.Dropout:
		return in[0], nil
	case network.Rescaling:
		n := l.channels(layer.Name)
		return in[0].then(repeat(float64(layer.Scale), n), repeat(float64(layer.Offset), n)), nil
	case network.BatchNormalization:
		scale, offset := l.norm(layer)
		return in[0].then(scale, offset), nil
	case network.ZeroPadding2D:
		return l.pad(layer), nil
	case network.Conv2D, network.DepthwiseConv2D:
		return l.convolution(layer, in[0]), nil
	case network.Dense:
		return l.dense(layer, in[0]), nil
	case network.GlobalAveragePooling2D:
		// The mean of scaled values is the scaled mean.
		axes := l.p.ints(layer.Name+"/axes", []int{2}, []int32{1, 2})
		mean := operation{code: schema.BuiltinOperatorMean, inputs: []int{in[0].tensor, axes}}
		return value{tensor: l.run(layer.Name, mean), scale: in[0].scale, offset: in[0].offset}, nil
	}
	codes := map[network.Kind]schema.BuiltinOperator{network.Add: schema.BuiltinOperatorAdd, network.ReLU6: schema.BuiltinOperatorRelu6,
		network.Concatenate: schema.BuiltinOperatorConcatenation, network.Softmax: schema.BuiltinOperatorSoftmax}
	code, ok := codes[layer.Kind]
	if !ok {
		return value{}, fmt.Errorf("TensorFlow Lite has no operation for kind %q", layer.Kind)
	}
	tensors := make([]int, len(in))
	for i, name := range layer.Inputs {
		tensors[i] = l.settled(name).tensor
	}
	return value{tensor: l.run(layer.Name, operation{code: code, inputs: tensors})}, nil
}

func (l *lowering) computed(name string, shape []int) int {
	return l.p.add(tensor{name: name, kind: schema.TensorTypeFloat32, shape: shape})
}

// run appends the operation of a layer and returns its output. Where it can, it takes the ReLU6 behind it along.
func (l *lowering) run(layer string, o operation) int {
	name := layer
	switch next, ok := l.relu6[layer]; {
	case !ok:
	case o.code == schema.BuiltinOperatorConv2D, o.code == schema.BuiltinOperatorDepthwiseConv2D,
		o.code == schema.BuiltinOperatorFullyConnected, o.code == schema.BuiltinOperatorAdd:
		name, o.relu6 = next, true
	}
	o.output = l.computed(name, l.shape(layer))
	l.p.ops = append(l.p.ops, o)
	if o.relu6 {
		l.values[name] = value{tensor: o.output}
	}
	return o.output
}

func (l *lowering) channels(layer string) int {
	shape := l.shapes[layer]
	return shape[len(shape)-1]
}

// norm is a batch norm that could not be folded: gamma·(x − mean)/√(variance + ε) + beta.
func (l *lowering) norm(layer network.Layer) (scale, offset []float64) {
	array := func(name string) []float32 { return l.weights[layer.Name+"/"+name].Data }
	gamma, beta, mean, variance := array("gamma"), array("beta"), array("moving_mean"), array("moving_variance")
	scale, offset = make([]float64, len(gamma)), make([]float64, len(gamma))
	for c := range gamma {
		scale[c] = float64(gamma[c]) / math.Sqrt(float64(variance[c])+float64(layer.Epsilon))
		offset[c] = float64(beta[c]) - float64(mean[c])*scale[c]
	}
	return scale, offset
}

// then is the value scale·v + offset.
func (v value) then(scale, offset []float64) value {
	t := value{tensor: v.tensor, scale: make([]float64, len(scale)), offset: make([]float64, len(scale))}
	for c := range scale {
		t.scale[c], t.offset[c] = scale[c], offset[c]
		if v.scale != nil {
			t.scale[c], t.offset[c] = scale[c]*v.scale[c], scale[c]*v.offset[c]+offset[c]
		}
	}
	return t
}

func repeat(x float64, n int) []float64 {
	all := make([]float64, n)
	for i := range all {
		all[i] = x
	}
	return all
}
