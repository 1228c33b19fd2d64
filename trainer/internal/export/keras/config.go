package keras

import (
	"fmt"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// batchNormMomentum is how slowly moving statistics follow when someone trains the file on; Keras' default.
const batchNormMomentum = 0.99

// object is a JSON object; encoding sorts its keys, so equal networks give equal bytes.
type object map[string]any

// modelConfig is the model_config of the network: what Keras rebuilds its layers and connections from.
func modelConfig(n network.Network) (object, error) {
	shapes, err := n.Shapes()
	if err != nil {
		return nil, err
	}
	layers := make([]object, len(n.Layers))
	for i, l := range n.Layers {
		config, err := layerConfig(l, shapes)
		if err != nil {
			return nil, err
		}
		config["name"] = l.Name
		config["dtype"] = "float32"
		if l.Kind != network.Input {
			config["trainable"] = true
		}
		layers[i] = object{"class_name": string(l.Kind), "name": l.Name, "config": config, "inbound_nodes": inbound(l)}
	}
	first, last := n.Layers[0].Name, n.Layers[len(n.Layers)-1].Name
	return object{
		"class_name": "Functional",
		"config": object{
			"name":          n.Name,
			"trainable":     true,
			"layers":        layers,
			"input_layers":  [][]any{{first, 0, 0}},
			"output_layers": [][]any{{last, 0, 0}},
		},
	}, nil
}

// inbound lists the tensors that feed the layer's only call: [[[layer, call, output, arguments], …]].
func inbound(l network.Layer) []any {
	if len(l.Inputs) == 0 {
		return []any{}
	}
	tensors := make([]any, len(l.Inputs))
	for i, in := range l.Inputs {
		tensors[i] = []any{in, 0, 0, object{}}
	}
	return []any{tensors}
}

// layerConfig is what a layer of this kind writes about itself in Keras 2, without name, dtype and trainable. No key
// may be added: readers refuse keys that their layer does not know (as "groups" on DepthwiseConv2D).
func layerConfig(l network.Layer, shapes map[string][]int) (object, error) {
	switch l.Kind {
	case network.Input:
		shape := []any{nil}
		for _, side := range shapes[l.Name] {
			shape = append(shape, side)
		}
		return object{"batch_input_shape": shape, "sparse": false, "ragged": false}, nil
	case network.Rescaling:
		return object{"scale": l.Scale, "offset": l.Offset}, nil
	case network.ZeroPadding2D:
		return object{"padding": [][]int{{l.Pad[0], l.Pad[1]}, {l.Pad[2], l.Pad[3]}}, "data_format": "channels_last"}, nil
	case network.Conv2D:
		return conv2D(l), nil
	case network.DepthwiseConv2D:
		return depthwise(l), nil
	case network.BatchNormalization:
		return batchNorm(l, len(shapes[l.Name])), nil
	case network.ReLU6:
		return object{"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}, nil
	case network.Add:
		return object{}, nil
	case network.Concatenate:
		return object{"axis": -1}, nil
	case network.GlobalAveragePooling2D:
		return object{"data_format": "channels_last", "keepdims": false}, nil
	case network.Dropout:
		return object{"rate": l.Rate, "noise_shape": nil, "seed": nil}, nil
	case network.Dense:
		return dense(l), nil
	case network.Softmax:
		return object{"axis": -1}, nil
	}
	return nil, fmt.Errorf("layer %s: Keras files here have no layers of kind %q", l.Name, l.Kind)
}

func convolution(l network.Layer) object {
	return object{
		"kernel_size": []int{l.Kernel, l.Kernel}, "strides": []int{l.Stride, l.Stride}, "padding": string(l.Padding),
		"dilation_rate": []int{1, 1}, "data_format": "channels_last", "activation": "linear", "use_bias": l.Bias,
		"bias_initializer": zeros(), "bias_regularizer": nil, "bias_constraint": nil, "activity_regularizer": nil,
	}
}

func conv2D(l network.Layer) object {
	c := convolution(l)
	c["filters"] = l.Filters
	c["groups"] = 1
	c["kernel_initializer"], c["kernel_regularizer"], c["kernel_constraint"] = glorot(), nil, nil
	return c
}

func depthwise(l network.Layer) object {
	c := convolution(l)
	c["depth_multiplier"] = 1
	c["depthwise_initializer"], c["depthwise_regularizer"], c["depthwise_constraint"] = glorot(), nil, nil
	return c
}

// batchNorm normalises the last axis; rank is without the batch dimension, which has index 0.
func batchNorm(l network.Layer, rank int) object {
	return object{
		"axis": []int{rank}, "momentum": batchNormMomentum, "epsilon": l.Epsilon, "center": true, "scale": true,
		"beta_initializer": zeros(), "gamma_initializer": ones(),
		"moving_mean_initializer": zeros(), "moving_variance_initializer": ones(),
		"beta_regularizer": nil, "gamma_regularizer": nil, "beta_constraint": nil, "gamma_constraint": nil,
	}
}

func dense(l network.Layer) object {
	return object{
		"units": l.Units, "activation": "linear", "use_bias": l.Bias,
		"kernel_initializer": glorot(), "kernel_regularizer": nil, "kernel_constraint": nil,
		"bias_initializer": zeros(), "bias_regularizer": nil, "bias_constraint": nil, "activity_regularizer": nil,
	}
}

func glorot() object { return object{"class_name": "GlorotUniform", "config": object{"seed": nil}} }
func zeros() object  { return object{"class_name": "Zeros", "config": object{}} }
func ones() object   { return object{"class_name": "Ones", "config": object{}} }
