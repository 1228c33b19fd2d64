package coreml

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/coreml/coremlpb"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/plain"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/wire"
	"github.com/cultivar-ml/cultivar/trainer/internal/half"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Layers of a network that was read, for which the file has no names.
const (
	inputLayer     = "input"
	rescalingLayer = "rescaling"
)

// Read rebuilds a classifier from a file that Write made, from nothing but the file. The network computes the same as the
// written one, without the batch norms and dropout that are no longer in the file. Other models are refused with a sentence.
func Read(path string) (network.Model, error) {
	var file coremlpb.Model
	if err := wire.Read(path, &file); err != nil {
		return network.Model{}, fmt.Errorf("read Core ML model %q: %w", path, err)
	}
	m, err := parse(&file)
	if err != nil {
		return network.Model{}, fmt.Errorf("read Core ML model %q: %w", path, err)
	}
	return m, nil
}

func parse(file *coremlpb.Model) (network.Model, error) {
	classifier := file.GetNeuralNetworkClassifier()
	if v := file.GetSpecificationVersion(); v != specVersion && v != specVersionHalf || classifier == nil {
		return network.Model{}, fmt.Errorf("it is no neural network classifier of specification %d or %d, as written here", specVersion, specVersionHalf)
	}
	// What the description says of input and output must be what is written here, word for word.
	said := file.GetDescription()
	size := int64(0)
	if len(said.GetInput()) == 1 {
		size = said.Input[0].GetType().GetImageType().GetWidth()
	}
	if size < 1 || size > 1<<14 {
		return network.Model{}, fmt.Errorf("it does not take one image of a reasonable size")
	}
	want := description(int(size))
	want.Metadata = said.GetMetadata()
	if !proto.Equal(said, want) {
		return network.Model{}, fmt.Errorf("its description of inputs and outputs is not the one written here")
	}
	r := reader{layers: map[string]string{Input: rescalingLayer}, made: map[string]bool{Input: true}}
	r.net = plain.Net{Name: said.GetMetadata().GetUserDefined()[NetworkKey], Size: int(size), Weights: network.Weights{},
		Labels: classifier.GetStringClassLabels().GetVector()}
	if usage, ok := said.GetMetadata().GetUserDefined()[UsageKey]; ok {
		if err := json.Unmarshal([]byte(usage), &r.net.Usage); err != nil {
			return network.Model{}, err
		}
	}
	if err := r.preprocessing(classifier.GetPreprocessing()); err != nil {
		return network.Model{}, err
	}
	for _, l := range classifier.GetLayers() {
		if err := r.layer(l); err != nil {
			return network.Model{}, fmt.Errorf("layer %q: %w", l.GetName(), err)
		}
	}
	last := r.net.Layers[len(r.net.Layers)-1].Name
	if r.open.blob != "" || classifier.GetLabelProbabilityLayerName() != Output || r.layers[Output] != last {
		return network.Model{}, fmt.Errorf("its last layer does not make the probabilities")
	}
	return r.net.Model()
}

// reader turns Core ML's layers back into plain ones.
type reader struct {
	net    plain.Net
	layers map[string]string // blob → the layer that makes it
	made   map[string]bool   // blobs
	open   relu6             // the ReLU6 whose steps are being read
}

// relu6 is how far the steps of one have come.
type relu6 struct {
	step        int
	blob, input string // the newest step's output, and the layer that feeds the first
}

func (r *reader) preprocessing(list []*coremlpb.NeuralNetworkPreprocessing) error {
	if len(list) != 1 || list[0].GetFeatureName() != Input || list[0].GetScaler() == nil {
		return fmt.Errorf("it does not rescale its image once")
	}
	s := list[0].GetScaler()
	if s.GetRedBias() != s.GetGreenBias() || s.GetRedBias() != s.GetBlueBias() {
		return fmt.Errorf("it treats colours differently")
	}
	r.net.Layers = []plain.Layer{{Layer: network.Layer{Name: inputLayer, Kind: network.Input}},
		{Layer: network.Layer{Name: rescalingLayer, Kind: network.Rescaling, Inputs: []string{inputLayer}, Scale: s.GetChannelScale(), Offset: s.GetRedBias()}}}
	return nil
}

func (r *reader) layer(c *coremlpb.NeuralNetworkLayer) error {
	if len(c.GetOutput()) != 1 || len(c.GetInput()) == 0 {
		return fmt.Errorf("it has %d inputs and %d outputs", len(c.GetInput()), len(c.GetOutput()))
	}
	blob := c.GetOutput()[0]
	if r.made[blob] {
		return fmt.Errorf("blob %q is made twice", blob)
	}
	r.made[blob] = true
	if c.GetActivation() != nil || c.GetUnary() != nil {
		return r.relu6(c)
	}
	l := plain.Layer{Layer: network.Layer{Name: c.GetName()}}
	for _, in := range c.GetInput() {
		layer, ok := r.layers[in]
		if !ok {
			return fmt.Errorf("no layer before it makes %q", in)
		}
		l.Inputs = append(l.Inputs, layer)
	}
	if err := r.read(c, &l); err != nil {
		return err
	}
	if blob != l.Name && (l.Kind != network.Softmax || blob != Output) {
		return fmt.Errorf("its output is %q", blob)
	}
	r.keep(blob, l)
	return nil
}

func (r *reader) keep(blob string, l plain.Layer) {
	r.layers[blob] = l.Name
	r.net.Layers = append(r.net.Layers, l)
}

// relu6 takes one step of a ReLU6; nothing may stand between them.
func (r *reader) relu6(c *coremlpb.NeuralNetworkLayer) error {
	in := c.GetInput()[0]
	if r.open.blob == "" {
		layer, ok := r.layers[in]
		if !ok {
			return fmt.Errorf("no layer before it makes %q", in)
		}
		r.open = relu6{blob: in, input: layer}
	}
	steps := relu6Steps()
	want := steps[r.open.step].params
	want.Name, want.Input, want.Output = c.GetOutput()[0], []string{r.open.blob}, c.GetOutput()
	if !proto.Equal(c, want) {
		return fmt.Errorf("it is not step %d of a ReLU6", r.open.step+1)
	}
	r.open.blob = c.GetOutput()[0]
	if r.open.step++; r.open.step < len(steps) {
		return nil
	}
	r.keep(r.open.blob, plain.Layer{Layer: network.Layer{Name: c.GetName(), Kind: network.ReLU6, Inputs: []string{r.open.input}}})
	r.open = relu6{}
	return nil
}

// read fills in what the kind of layer has.
func (r *reader) read(c *coremlpb.NeuralNetworkLayer, l *plain.Layer) error {
	if r.open.blob != "" {
		return fmt.Errorf("it stands within a ReLU6")
	}
	switch params := c.GetLayer().(type) {
	case *coremlpb.NeuralNetworkLayer_Convolution:
		return r.convolution(params.Convolution, l)
	case *coremlpb.NeuralNetworkLayer_InnerProduct:
		return r.dense(params.InnerProduct, l)
	case *coremlpb.NeuralNetworkLayer_Batchnorm:
		return r.batchNorm(params.Batchnorm, l)
	case *coremlpb.NeuralNetworkLayer_Pooling:
		l.Kind = network.GlobalAveragePooling2D
		if !proto.Equal(params.Pooling, globalAverage().Pooling) {
			return fmt.Errorf("only a global average is written here")
		}
	case *coremlpb.NeuralNetworkLayer_Add:
		l.Kind = network.Add
	case *coremlpb.NeuralNetworkLayer_Concat:
		l.Kind = network.Concatenate
	case *coremlpb.NeuralNetworkLayer_Softmax:
		l.Kind = network.Softmax
	default:
		return fmt.Errorf("it has no kind that is written here")
	}
	return nil
}

func (r *reader) convolution(p *coremlpb.ConvolutionLayerParams, l *plain.Layer) error {
	one, edges := []uint64{1, 1}, p.GetValid().GetPaddingAmounts().GetBorderAmounts()
	if len(p.GetKernelSize()) != 2 || len(p.GetStride()) != 2 || len(edges) != 2 || !slices.Equal(p.GetDilationFactor(), one) {
		return fmt.Errorf("only plain convolutions of two dimensions are written here")
	}
	numbers := []uint64{p.GetNGroups(), p.GetStride()[0], edges[0].GetStartEdgeSize(), edges[0].GetEndEdgeSize(),
		edges[1].GetStartEdgeSize(), edges[1].GetEndEdgeSize()}
	// What fits 31 bits is looked at in the plain form.
	if slices.Max(numbers) > 1<<31-1 || p.GetStride()[0] != p.GetStride()[1] {
		return fmt.Errorf("groups, strides or padding of %v are out of range", numbers)
	}
	for i := range l.Pads {
		l.Pads[i] = int(numbers[2+i])
	}
	l.Stride, l.Bias = int(numbers[1]), p.GetHasBias()
	kernel, err := array(p.GetWeights(), p.GetOutputChannels(), p.GetKernelChannels(), p.GetKernelSize()[0], p.GetKernelSize()[1])
	if err != nil {
		return err
	}
	if !r.net.SetKernel(l, kernel, int(numbers[0])) {
		return fmt.Errorf("a convolution of shape %v in %d groups is not written here", kernel.Shape, numbers[0])
	}
	return r.bias(p.GetBias(), l, p.GetOutputChannels())
}

func (r *reader) dense(p *coremlpb.InnerProductLayerParams, l *plain.Layer) error {
	kernel, err := array(p.GetWeights(), p.GetOutputChannels(), p.GetInputChannels())
	if err != nil {
		return err
	}
	l.Kind, l.Bias, l.Units = network.Dense, p.GetHasBias(), kernel.Shape[0]
	r.net.Weights[l.Name+"/kernel"] = plain.Transpose(kernel, []int{1, 0})
	return r.bias(p.GetBias(), l, p.GetOutputChannels())
}

func (r *reader) bias(p *coremlpb.WeightParams, l *plain.Layer, outputs uint64) error {
	if !l.Bias {
		if p != nil {
			return fmt.Errorf("it has a bias that it does not announce")
		}
		return nil
	}
	t, err := array(p, outputs)
	r.net.Weights[l.Name+"/bias"] = t
	return err
}

func (r *reader) batchNorm(p *coremlpb.BatchnormLayerParams, l *plain.Layer) error {
	l.Kind, l.Epsilon = network.BatchNormalization, p.GetEpsilon()
	if !(l.Epsilon > 0) {
		return fmt.Errorf("epsilon is not above 0")
	}
	for weight, from := range batchNormArrays(p) {
		t, err := array(*from, p.GetChannels())
		if err != nil {
			return err
		}
		r.net.Weights[l.Name+"/"+weight] = t
	}
	return nil
}

// array is the array of that shape, which must account for every value.
func array(p *coremlpb.WeightParams, dims ...uint64) (network.Tensor, error) {
	floats, raw := p.GetFloatValue(), p.GetFloat16Value()
	values := len(floats) + len(raw)/2
	if len(floats) > 0 && len(raw) > 0 || len(raw)%2 != 0 {
		return network.Tensor{}, fmt.Errorf("its weights are neither 32 nor 16 bits wide")
	}
	t := network.Tensor{Data: floats}
	count := 1
	for _, d := range dims {
		if d < 1 || d > uint64(values/count) {
			return network.Tensor{}, fmt.Errorf("%d weights do not fit shape %v", values, dims)
		}
		count *= int(d)
		t.Shape = append(t.Shape, int(d))
	}
	if count != values {
		return network.Tensor{}, fmt.Errorf("%d weights do not fit shape %v", values, dims)
	}
	for i := 0; i < len(raw); i += 2 {
		t.Data = append(t.Data, half.Value(binary.LittleEndian.Uint16(raw[i:])))
	}
	return t, nil
}
