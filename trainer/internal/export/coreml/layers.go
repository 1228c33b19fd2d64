package coreml

import (
	"encoding/binary"
	"fmt"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/coreml/coremlpb"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/plain"
	"github.com/cultivar-ml/cultivar/trainer/internal/half"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// writer turns plain layers into Core ML's. A layer and the blob it makes bear the same name, except at both ends of the
// network. Blobs have Core ML's old shape [sequence, batch, channels, height, width], so pooled features are images of
// one pixel and need no flattening.
type writer struct {
	net    plain.Net
	half   bool
	image  string // the layer whose output is the rescaled image
	layers []*coremlpb.NeuralNetworkLayer
}

// blob is the name of a layer's output.
func (w *writer) blob(layer string) string {
	switch layer {
	case w.image:
		return Input
	case w.net.Layers[len(w.net.Layers)-1].Name:
		return Output
	}
	return layer
}

func (w *writer) layer(l plain.Layer) error {
	if last := w.blob(l.Name) == Output; !last && (l.Name == Input || l.Name == Output || l.Name == ClassLabel) {
		return fmt.Errorf("layer %s of %s has the name of the model's input or output", l.Name, w.net.Name)
	}
	if l.Kind == network.ReLU6 {
		w.relu6(l)
		return nil
	}
	c := &coremlpb.NeuralNetworkLayer{Name: l.Name, Output: []string{w.blob(l.Name)}}
	for _, in := range l.Inputs {
		c.Input = append(c.Input, w.blob(in))
	}
	w.layers = append(w.layers, c)
	switch l.Kind {
	case network.Conv2D, network.DepthwiseConv2D:
		return w.convolution(c, l)
	case network.Dense:
		return w.dense(c, l)
	case network.BatchNormalization:
		return w.batchNorm(c, l)
	case network.Add:
		c.Layer = &coremlpb.NeuralNetworkLayer_Add{Add: &coremlpb.AddLayerParams{}}
	case network.Concatenate:
		c.Layer = &coremlpb.NeuralNetworkLayer_Concat{Concat: &coremlpb.ConcatLayerParams{}}
	case network.GlobalAveragePooling2D:
		c.Layer = globalAverage()
	case network.Softmax:
		c.Layer = &coremlpb.NeuralNetworkLayer_Softmax{Softmax: &coremlpb.SoftmaxLayerParams{}}
	default:
		return fmt.Errorf("layer %s of %s: no layer for kind %q", l.Name, w.net.Name, l.Kind)
	}
	return nil
}

func globalAverage() *coremlpb.NeuralNetworkLayer_Pooling {
	return &coremlpb.NeuralNetworkLayer_Pooling{Pooling: &coremlpb.PoolingLayerParams{
		Type:               coremlpb.PoolingLayerParams_AVERAGE,
		PoolingPaddingType: &coremlpb.PoolingLayerParams_Valid{Valid: borders([4]int{})}, // must be there, though unused
		GlobalPooling:      true,
	}}
}

// relu6Step is one of the layers that make min(max(x, 0), 6), which the format's first version has no layer for:
// max(x, 0), then −max(−x, −6). The last one bears the layer's own name.
type relu6Step struct {
	suffix string
	params *coremlpb.NeuralNetworkLayer
}

// relu6Steps are in the order and form of coremltools' own converter (converters/mil/backend/nn/op_mapping.py).
func relu6Steps() []relu6Step {
	negate := func() *coremlpb.NeuralNetworkLayer {
		linear := &coremlpb.ActivationParams_Linear{Linear: &coremlpb.ActivationLinear{Alpha: -1}}
		return &coremlpb.NeuralNetworkLayer{Layer: &coremlpb.NeuralNetworkLayer_Activation{
			Activation: &coremlpb.ActivationParams{NonlinearityType: linear}}}
	}
	relu := &coremlpb.ActivationParams{NonlinearityType: &coremlpb.ActivationParams_ReLU{ReLU: &coremlpb.ActivationReLU{}}}
	threshold := &coremlpb.UnaryFunctionLayerParams{Type: coremlpb.UnaryFunctionLayerParams_THRESHOLD, Alpha: -6, Scale: 1}
	return []relu6Step{
		{"/relu", &coremlpb.NeuralNetworkLayer{Layer: &coremlpb.NeuralNetworkLayer_Activation{Activation: relu}}},
		{"/negated", negate()},
		{"/threshold", &coremlpb.NeuralNetworkLayer{Layer: &coremlpb.NeuralNetworkLayer_Unary{Unary: threshold}}},
		{"", negate()},
	}
}

func (w *writer) relu6(l plain.Layer) {
	in := w.blob(l.Inputs[0])
	for _, step := range relu6Steps() {
		out := l.Name + step.suffix
		step.params.Name, step.params.Input, step.params.Output = out, []string{in}, []string{out}
		w.layers = append(w.layers, step.params)
		in = out
	}
}

// borders are pads of height, then width.
func borders(pads [4]int) *coremlpb.ValidPadding {
	edges := func(start, end int) *coremlpb.BorderAmounts_EdgeSizes {
		return &coremlpb.BorderAmounts_EdgeSizes{StartEdgeSize: uint64(start), EndEdgeSize: uint64(end)}
	}
	return &coremlpb.ValidPadding{PaddingAmounts: &coremlpb.BorderAmounts{
		BorderAmounts: []*coremlpb.BorderAmounts_EdgeSizes{edges(pads[0], pads[1]), edges(pads[2], pads[3])}}}
}

func (w *writer) convolution(c *coremlpb.NeuralNetworkLayer, l plain.Layer) error {
	kernel, groups := w.net.Kernel(l)
	side, stride := uint64(l.Kernel), uint64(l.Stride)
	p := &coremlpb.ConvolutionLayerParams{
		OutputChannels: uint64(kernel.Shape[0]), KernelChannels: uint64(kernel.Shape[1]), NGroups: uint64(groups),
		KernelSize: []uint64{side, side}, Stride: []uint64{stride, stride}, DilationFactor: []uint64{1, 1},
		ConvolutionPaddingType: &coremlpb.ConvolutionLayerParams_Valid{Valid: borders(l.Pads)},
		HasBias:                l.Bias,
	}
	c.Layer = &coremlpb.NeuralNetworkLayer_Convolution{Convolution: p}
	var err error
	if p.Weights, err = w.weights(l.Name+"/kernel", kernel.Data); err != nil || !l.Bias {
		return err
	}
	p.Bias, err = w.array(l, "bias")
	return err
}

func (w *writer) dense(c *coremlpb.NeuralNetworkLayer, l plain.Layer) error {
	kernel := plain.Transpose(w.net.Weights[l.Name+"/kernel"], []int{1, 0})
	p := &coremlpb.InnerProductLayerParams{OutputChannels: uint64(kernel.Shape[0]), InputChannels: uint64(kernel.Shape[1]), HasBias: l.Bias}
	c.Layer = &coremlpb.NeuralNetworkLayer_InnerProduct{InnerProduct: p}
	var err error
	if p.Weights, err = w.weights(l.Name+"/kernel", kernel.Data); err != nil || !l.Bias {
		return err
	}
	p.Bias, err = w.array(l, "bias")
	return err
}

// batchNorm stays in 32 bits, since variances may be too small for 16 and the few numbers take no room.
func (w *writer) batchNorm(c *coremlpb.NeuralNetworkLayer, l plain.Layer) error {
	exact := &writer{net: w.net}
	p := &coremlpb.BatchnormLayerParams{Channels: uint64(len(w.net.Weights[l.Name+"/gamma"].Data)), Epsilon: l.Epsilon}
	c.Layer = &coremlpb.NeuralNetworkLayer_Batchnorm{Batchnorm: p}
	for weight, to := range batchNormArrays(p) {
		var err error
		if *to, err = exact.array(l, weight); err != nil {
			return err
		}
	}
	return nil
}

// batchNormArrays gives the places of Keras' arrays.
func batchNormArrays(p *coremlpb.BatchnormLayerParams) map[string]**coremlpb.WeightParams {
	return map[string]**coremlpb.WeightParams{"gamma": &p.Gamma, "beta": &p.Beta, "moving_mean": &p.Mean, "moving_variance": &p.Variance}
}

// array is the layer's own array of that name as it is.
func (w *writer) array(l plain.Layer, weight string) (*coremlpb.WeightParams, error) {
	name := l.Name + "/" + weight
	return w.weights(name, w.net.Weights[name].Data)
}

func (w *writer) weights(name string, data []float32) (*coremlpb.WeightParams, error) {
	if !w.half {
		return &coremlpb.WeightParams{FloatValue: data}, nil
	}
	raw := make([]byte, 0, 2*len(data))
	for i, v := range data {
		h := half.Of(v)
		if h&^half.Sign == half.Infinity {
			return nil, fmt.Errorf("%s has the value %v at %d, which is too large for a half float", name, v, i)
		}
		raw = binary.LittleEndian.AppendUint16(raw, h)
	}
	return &coremlpb.WeightParams{Float16Value: raw}, nil
}
