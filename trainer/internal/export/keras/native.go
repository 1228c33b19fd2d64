package keras

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// This file is the dialect of Keras 3, in which a .keras file tells its layers.

// tensorClass marks a tensor that is the output of another layer.
const tensorClass = "__keras_tensor__"

// nativeConfig is the config.json of the network.
func nativeConfig(n network.Network) (object, error) {
	shapes, err := n.Shapes()
	if err != nil {
		return nil, err
	}
	layers := make([]object, len(n.Layers))
	for i, l := range n.Layers {
		if layers[i], err = nativeLayer(l, shapes); err != nil {
			return nil, err
		}
	}
	first, last := n.Layers[0].Name, n.Layers[len(n.Layers)-1].Name
	return object{
		"module": "keras.src.models.functional", "class_name": "Functional", "registered_name": "Functional",
		"config": object{
			"name":          n.Name,
			"trainable":     true,
			"layers":        layers,
			"input_layers":  [][]any{{first, 0, 0}},
			"output_layers": [][]any{{last, 0, 0}},
		},
	}, nil
}

// nativeLayer is the layer's entry: what layerConfig says, in the words of Keras 3.
func nativeLayer(l network.Layer, shapes map[string][]int) (object, error) {
	config, err := layerConfig(l, shapes)
	if err != nil {
		return nil, err
	}
	config["name"], config["dtype"] = l.Name, "float32"
	layer := object{"module": "keras.layers", "class_name": string(l.Kind), "registered_name": nil, "name": l.Name, "config": config}
	switch l.Kind {
	case network.Input:
		config["batch_shape"] = config["batch_input_shape"]
		delete(config, "batch_input_shape")
		delete(config, "ragged") // which not every version knows
		layer["inbound_nodes"] = []any{}
		return layer, nil
	case network.BatchNormalization:
		config["axis"] = -1
	}
	config["trainable"] = true
	for key, value := range config {
		if initializer, ok := value.(object); ok && strings.HasSuffix(key, "_initializer") {
			initializer["module"], initializer["registered_name"] = "keras.initializers", nil
		}
	}
	var arguments any
	tensors, inputs := make([]any, len(l.Inputs)), make([]any, len(l.Inputs))
	for i, in := range l.Inputs {
		inputs[i] = batchShape(shapes[in])
		tensors[i] = object{"class_name": tensorClass, "config": object{
			"shape": inputs[i], "dtype": "float32", "keras_history": []any{in, 0, 0}}}
	}
	// Layers that join several tensors take them as a list.
	arguments, layer["build_config"] = tensors, object{"input_shape": inputs}
	if len(tensors) == 1 && l.Kind != network.Add && l.Kind != network.Concatenate {
		arguments, layer["build_config"] = tensors[0], object{"input_shape": inputs[0]}
	}
	layer["inbound_nodes"] = []any{object{"args": []any{arguments}, "kwargs": object{}}}
	return layer, nil
}

// batchShape is a shape with a batch of any size in front.
func batchShape(shape []int) []any {
	all := []any{nil}
	for _, side := range shape {
		all = append(all, side)
	}
	return all
}

// places are the groups of a weights file that hold the layers' arrays: not the layers' names but those of their kinds,
// counted in Keras' own order of the layers.
func places(n network.Network) map[string]string {
	used, place := map[network.Kind]int{}, map[string]string{}
	for _, l := range inKerasOrder(n) {
		place[l.Name] = snakeCase(string(l.Kind))
		if used[l.Kind] > 0 {
			place[l.Name] += "_" + strconv.Itoa(used[l.Kind])
		}
		used[l.Kind]++
	}
	return place
}

// inKerasOrder sorts layers as map_graph of keras/src/ops/function.py does: by their distance from the output, farthest
// first, and then as they are met on the way from the output down.
func inKerasOrder(n network.Network) []network.Layer {
	index := make(map[string]int, len(n.Layers))
	for i, l := range n.Layers {
		index[l.Name] = i
	}
	depth := make([]int, len(n.Layers)) // layers stand before those that use them
	for i, l := range slices.Backward(n.Layers) {
		for _, in := range l.Inputs {
			depth[index[in]] = max(depth[index[in]], depth[i]+1)
		}
	}
	met := make(map[int]int, len(n.Layers))
	// A stack and not recursion, since networks that are read may be deep.
	for stack := []int{len(n.Layers) - 1}; len(stack) > 0; {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if _, again := met[at]; again {
			continue
		}
		met[at] = len(met)
		for _, in := range slices.Backward(n.Layers[at].Inputs) {
			stack = append(stack, index[in])
		}
	}
	order := make([]int, len(n.Layers))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if depth[a] != depth[b] {
			return depth[b] - depth[a]
		}
		return met[a] - met[b]
	})
	sorted := make([]network.Layer, len(order))
	for i, at := range order {
		sorted[i] = n.Layers[at]
	}
	return sorted
}

// snakeCase is to_snake_case of keras/src/utils/naming.py for the classes of layers that there are here: Conv2D is conv2d, ReLU re_lu.
func snakeCase(class string) string {
	var b strings.Builder
	before := ' '
	for _, r := range class {
		if unicode.IsUpper(r) && unicode.IsLower(before) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
		before = r
	}
	return b.String()
}

// nativeModel is what is read of a config.json.
type nativeModel struct {
	Class  string `json:"class_name"`
	Config struct {
		Name   string `json:"name"`
		Layers []struct {
			Class   string       `json:"class_name"`
			Name    string       `json:"name"`
			Config  fileConfig   `json:"config"`
			Inbound []nativeNode `json:"inbound_nodes"`
		} `json:"layers"`
		Inputs  [][]any `json:"input_layers"`
		Outputs [][]any `json:"output_layers"`
	} `json:"config"`
}

// nativeNode is one call of a layer.
type nativeNode struct {
	Args   []json.RawMessage          `json:"args"`
	Kwargs map[string]json.RawMessage `json:"kwargs"`
}

type nativeTensor struct {
	Class  string `json:"class_name"`
	Config struct {
		History []json.RawMessage `json:"keras_history"`
	} `json:"config"`
}

// parseNative rebuilds the network from a config.json, with the rules of parseConfig.
func parseNative(text []byte) (network.Network, error) {
	var m nativeModel
	if err := json.Unmarshal(text, &m); err != nil {
		return network.Network{}, fmt.Errorf("model configuration: %w", err)
	}
	var f fileModel
	f.Class, f.Config.Name, f.Config.Inputs, f.Config.Outputs = m.Class, m.Config.Name, m.Config.Inputs, m.Config.Outputs
	for _, l := range m.Config.Layers {
		layer := fileLayer{Class: l.Class, Name: l.Name, Config: l.Config}
		layer.Config.BatchShape = l.Config.NativeShape
		for _, node := range l.Inbound {
			tensors, err := node.tensors()
			if err != nil {
				return network.Network{}, fmt.Errorf("layer %q: %w", l.Name, err)
			}
			layer.Inbound = append(layer.Inbound, tensors)
		}
		f.Config.Layers = append(f.Config.Layers, layer)
	}
	return f.network()
}

// tensors are what the call takes, each as [layer, call, output].
func (n nativeNode) tensors() ([][]json.RawMessage, error) {
	for name, value := range n.Kwargs {
		if text := string(value); text != "null" && text != "false" {
			return nil, fmt.Errorf("it is called with %s=%s, which is not read", name, value)
		}
	}
	if len(n.Args) != 1 {
		return nil, fmt.Errorf("it is called with %d arguments; only one is read", len(n.Args))
	}
	var list []nativeTensor
	if json.Unmarshal(n.Args[0], &list) != nil {
		list = make([]nativeTensor, 1)
		if err := json.Unmarshal(n.Args[0], &list[0]); err != nil {
			return nil, fmt.Errorf("its inputs cannot be read")
		}
	}
	var all [][]json.RawMessage
	for _, t := range list {
		if t.Class != tensorClass {
			return nil, fmt.Errorf("one of its inputs is no layer's output")
		}
		all = append(all, t.Config.History)
	}
	return all, nil
}
