// Package graph turns networks into TensorFlow graphs. It trains nothing and reads no files.
package graph

import (
	"fmt"

	graft "github.com/wamuir/graft/tensorflow"
	"github.com/wamuir/graft/tensorflow/op"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// Append adds the part of net that outputs need behind input, for inference: batch norms folded, weights as constants,
// Dropout left out. input is [n,size,size,channels] (or [n,units]), float32 or an integer type, which is cast.
// The result holds an output for each name; w is not kept. The only names that cannot be had are convolutions
// that a batch norm follows: ask for the batch norm.
func Append(scope *op.Scope, net network.Network, w network.Weights, input tf.Output, outputs ...string) (map[string]tf.Output, error) {
	part, err := net.Only(outputs...)
	if err != nil {
		return nil, err
	}
	folded, weights, err := part.Fold(w)
	if err != nil {
		return nil, err
	}
	for _, name := range outputs {
		if _, ok := folded.Layer(name); !ok {
			return nil, fmt.Errorf("graph of %s: %s is merged with the batch norm behind it; ask for that one's output", net.Name, name)
		}
	}
	constant := func(s *op.Scope, name string) tf.Output {
		array := weights[name]
		tensor, err := tf.FromFloats(array.Shape, array.Data)
		if err != nil {
			s.UpdateErr(name, err)
			return tf.Output{}
		}
		return op.Const(s, tensor)
	}
	inputs := map[string]tf.Output{}
	for _, l := range folded.Layers {
		if l.Kind == network.Input {
			inputs[l.Name] = input
		}
	}
	if len(inputs) != 1 {
		return nil, fmt.Errorf("graph of %s: it has %d inputs, not one", net.Name, len(inputs))
	}
	return Layers(scope, folded, inputs, constant, outputs...)
}

// Arrays gives the value of the weight array "layer/weight" in scope; it is asked once for each. It reports a failure
// through the scope.
type Arrays func(scope *op.Scope, name string) tf.Output

// Layers adds the part of net that outputs need, layer by layer as it stands: batch norms in their frozen form,
// Dropout as identity. inputs has a value for each Input layer, by its name. With arrays that are fed or read variables,
// gradients flow to them; Append is the faster form of it.
func Layers(scope *op.Scope, net network.Network, inputs map[string]tf.Output, arrays Arrays, outputs ...string) (map[string]tf.Output, error) {
	part, err := net.Only(outputs...)
	if err != nil {
		return nil, fmt.Errorf("graph of %s: %w", net.Name, err)
	}
	if _, err := part.Shapes(); err != nil {
		return nil, err
	}
	values := make(map[string]tf.Output, len(part.Layers))
	for _, l := range part.Layers {
		b := layerBuilder{scope: scope.SubScope(l.Name), arrays: arrays, layer: l}
		if l.Kind == network.Input {
			input, ok := inputs[l.Name]
			if !ok {
				return nil, fmt.Errorf("graph of %s: nothing is given for its input %s", net.Name, l.Name)
			}
			values[l.Name] = b.input(input)
		} else {
			in := make([]tf.Output, len(l.Inputs))
			for i, name := range l.Inputs {
				in[i] = values[name]
			}
			values[l.Name] = b.build(in)
		}
		if err := scope.Err(); err != nil {
			return nil, fmt.Errorf("graph of %s, layer %s: %w", net.Name, l.Name, err)
		}
	}
	wanted := make(map[string]tf.Output, len(outputs))
	for _, name := range outputs {
		wanted[name] = values[name]
	}
	return wanted, nil
}

// layerBuilder adds the operations of one layer in a scope of that layer's name.
type layerBuilder struct {
	scope  *op.Scope
	arrays Arrays
	layer  network.Layer
}

func (b layerBuilder) array(weight string) tf.Output {
	return b.arrays(b.scope.SubScope(weight), b.layer.Name+"/"+weight)
}

// scalar is a float32 constant in a scope of its own, as two operations of one scope may not share a name.
func (b layerBuilder) scalar(name string, value float32) tf.Output {
	return op.Const(b.scope.SubScope(name), value)
}

func (b layerBuilder) input(x tf.Output) tf.Output {
	if x.DataType() == graft.Float {
		return op.Identity(b.scope, x)
	}
	return op.Cast(b.scope, x, graft.Float)
}

func (b layerBuilder) build(in []tf.Output) tf.Output {
	s, l, x := b.scope, b.layer, in[0]
	switch l.Kind {
	case network.Rescaling:
		return op.AddV2(s, op.Mul(s, x, b.scalar("scale", l.Scale)), b.scalar("offset", l.Offset))
	case network.ZeroPadding2D:
		return op.Pad(s, x, op.Const(s.SubScope("paddings"), [][]int32{{0, 0},
			{int32(l.Pad[0]), int32(l.Pad[1])}, {int32(l.Pad[2]), int32(l.Pad[3])}, {0, 0}}))
	case network.Conv2D, network.DepthwiseConv2D:
		return b.convolution(x)
	case network.BatchNormalization:
		return b.batchNorm(x)
	case network.ReLU6:
		return op.Relu6(s, x)
	case network.Add:
		return op.AddV2(s, x, in[1])
	case network.Concatenate:
		return op.ConcatV2(s, in, op.Const(s.SubScope("axis"), int32(-1)))
	case network.GlobalAveragePooling2D:
		return op.Mean(s, x, op.Const(s.SubScope("axes"), []int32{1, 2}))
	case network.Dropout:
		return op.Identity(s, x)
	case network.Dense:
		y := op.MatMul(s, x, b.array("kernel"))
		if l.Bias {
			y = op.BiasAdd(s, y, b.array("bias"))
		}
		return y
	case network.Softmax:
		return op.Softmax(s, x)
	}
	s.UpdateErr(l.Name, fmt.Errorf("no operation for kind %q", l.Kind))
	return tf.Output{}
}

// convolution puts bias and activation right behind the convolution, the order that TensorFlow's optimiser fuses.
func (b layerBuilder) convolution(x tf.Output) tf.Output {
	padding := "VALID"
	if b.layer.Padding == network.Same {
		padding = "SAME"
	}
	strides := []int64{1, int64(b.layer.Stride), int64(b.layer.Stride), 1}
	var y tf.Output
	if b.layer.Kind == network.Conv2D {
		y = op.Conv2D(b.scope, x, b.array("kernel"), strides, padding)
	} else {
		y = op.DepthwiseConv2dNative(b.scope, x, b.array("depthwise_kernel"), strides, padding)
	}
	if b.layer.Bias {
		y = op.BiasAdd(b.scope, y, b.array("bias"))
	}
	return y
}

// batchNorm is x·s + (beta − mean·s) with s = gamma / √(variance + ε), on the moving statistics.
func (b layerBuilder) batchNorm(x tf.Output) tf.Output {
	s := b.scope
	variance := op.AddV2(s.SubScope("variance"), b.array("moving_variance"), b.scalar("epsilon", b.layer.Epsilon))
	scale := op.Mul(s.SubScope("scale"), b.array("gamma"), op.Rsqrt(s, variance))
	shift := op.Sub(s, b.array("beta"), op.Mul(s.SubScope("shift"), b.array("moving_mean"), scale))
	return op.AddV2(s, op.Mul(s, x, scale), shift)
}
