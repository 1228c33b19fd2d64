package onnx

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/onnxpb"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/plain"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// writer turns layers into nodes. A node bears the name of its layer, and so does the tensor it makes, except at both
// ends of the graph; where a layer takes two nodes, the first one's name has a slash.
type writer struct {
	net     plain.Net
	graph   *onnxpb.GraphProto
	clipped bool // the bounds of ReLU6 stand among the constants
}

func (w *writer) layers() error {
	for i, l := range w.net.Layers {
		if middle := i > 0 && i < len(w.net.Layers)-1; middle && (l.Name == Input || l.Name == Output) {
			return fmt.Errorf("layer %s of %s has the name of the model's input or output", l.Name, w.net.Name)
		}
		if err := w.layer(l); err != nil {
			return err
		}
	}
	return nil
}

// tensor is the name of a layer's output.
func (w *writer) tensor(layer string) string {
	switch layer {
	case w.net.Layers[0].Name:
		return imageName
	case w.net.Layers[len(w.net.Layers)-1].Name:
		return Output
	}
	return layer
}

func (w *writer) node(op, name, output string, inputs []string, attributes ...*onnxpb.AttributeProto) {
	w.graph.Node = append(w.graph.Node, &onnxpb.NodeProto{Input: inputs, Output: []string{output},
		Name: proto.String(name), OpType: proto.String(op), Attribute: attributes})
}

// constant adds an array to the graph and returns its name.
func (w *writer) constant(name string, t network.Tensor) string {
	w.graph.Initializer = append(w.graph.Initializer, initializer(name, t))
	return name
}

// array adds the layer's own array of that name as it is.
func (w *writer) array(l plain.Layer, weight string) string {
	name := l.Name + "/" + weight
	return w.constant(name, w.net.Weights[name])
}

func scalar(v float32) network.Tensor { return network.Tensor{Data: []float32{v}} }

func (w *writer) layer(l plain.Layer) error {
	in := make([]string, len(l.Inputs))
	for i, name := range l.Inputs {
		in[i] = w.tensor(name)
	}
	out := w.tensor(l.Name)
	switch l.Kind {
	case network.Input:
		w.node("Transpose", l.Name, out, []string{Input}, intsAttribute("perm", 0, 3, 1, 2))
	case network.Rescaling:
		scaled := l.Name + "/scaled"
		w.node("Mul", scaled, scaled, append(in, w.constant(l.Name+"/scale", scalar(l.Scale))))
		w.node("Add", l.Name, out, []string{scaled, w.constant(l.Name+"/offset", scalar(l.Offset))})
	case network.Conv2D, network.DepthwiseConv2D:
		w.convolution(l, in, out)
	case network.BatchNormalization:
		for _, weight := range []string{"gamma", "beta", "moving_mean", "moving_variance"} {
			in = append(in, w.array(l, weight))
		}
		w.node("BatchNormalization", l.Name, out, in, floatAttribute("epsilon", l.Epsilon))
	case network.ReLU6:
		if !w.clipped {
			w.constant(relu6Min, scalar(0))
			w.constant(relu6Max, scalar(6))
			w.clipped = true
		}
		w.node("Clip", l.Name, out, append(in, relu6Min, relu6Max))
	case network.Add:
		w.node("Add", l.Name, out, in)
	case network.Concatenate:
		w.node("Concat", l.Name, out, in, intAttribute("axis", 1))
	case network.GlobalAveragePooling2D:
		pooled := l.Name + "/pooled"
		w.node("GlobalAveragePool", pooled, pooled, in)
		w.node("Flatten", l.Name, out, []string{pooled}, intAttribute("axis", 1))
	case network.Dense:
		in = append(in, w.array(l, "kernel"))
		if l.Bias {
			in = append(in, w.array(l, "bias"))
		}
		w.node("Gemm", l.Name, out, in)
	case network.Softmax:
		w.node("Softmax", l.Name, out, in, intAttribute("axis", 1))
	default:
		return fmt.Errorf("layer %s of %s: no operator for kind %q", l.Name, w.net.Name, l.Kind)
	}
	return nil
}

// convolution writes pads as numbers, since SAME_UPPER is deprecated.
func (w *writer) convolution(l plain.Layer, in []string, out string) {
	kernel, groups := w.net.Kernel(l)
	name := l.Name + "/kernel"
	if l.Kind == network.DepthwiseConv2D {
		name = l.Name + "/depthwise_kernel"
	}
	in = append(in, w.constant(name, kernel))
	if l.Bias {
		in = append(in, w.array(l, "bias"))
	}
	top, bottom, left, right := l.Pads[0], l.Pads[1], l.Pads[2], l.Pads[3]
	w.node("Conv", l.Name, out, in, intAttribute("group", groups), intsAttribute("kernel_shape", l.Kernel, l.Kernel),
		intsAttribute("pads", top, left, bottom, right), intsAttribute("strides", l.Stride, l.Stride))
}
