package keras

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// maxSide and maxLayers bound what a configuration may ask for, so that a damaged one fails here and not in the
// arithmetic of shapes. The networks in use stay below a tenth of each.
const (
	maxSide   = 1 << 14
	maxLayers = 10_000
)

type fileModel struct {
	Class  string `json:"class_name"`
	Config struct {
		Name    string      `json:"name"`
		Layers  []fileLayer `json:"layers"`
		Inputs  [][]any     `json:"input_layers"`
		Outputs [][]any     `json:"output_layers"`
	} `json:"config"`
}

type fileLayer struct {
	Class   string                `json:"class_name"`
	Name    string                `json:"name"`
	Config  fileConfig            `json:"config"`
	Inbound [][][]json.RawMessage `json:"inbound_nodes"`
}

// fileConfig holds the keys of all kinds that change what a layer computes. Keys that only matter to training
// (initializers, regularizers, constraints) are passed over.
type fileConfig struct {
	BatchShape []*int `json:"batch_input_shape"`
	// NativeShape is the same in Keras 3.
	NativeShape []*int          `json:"batch_shape"`
	Scale       json.RawMessage `json:"scale"` // a number for Rescaling, a flag for BatchNormalization
	Offset      float32         `json:"offset"`
	Padding     json.RawMessage `json:"padding"` // a word for convolutions, four numbers for ZeroPadding2D
	DataFormat  string          `json:"data_format"`
	Filters     int             `json:"filters"`
	Kernel      []int           `json:"kernel_size"`
	Strides     []int           `json:"strides"`
	Dilation    []int           `json:"dilation_rate"`
	Groups      *int            `json:"groups"`
	Multiplier  *int            `json:"depth_multiplier"`
	Activation  string          `json:"activation"`
	UseBias     bool            `json:"use_bias"`
	Epsilon     float32         `json:"epsilon"`
	Center      *bool           `json:"center"`
	MaxValue    *float64        `json:"max_value"`
	NegSlope    float64         `json:"negative_slope"`
	Threshold   float64         `json:"threshold"`
	KeepDims    bool            `json:"keepdims"`
	Rate        float32         `json:"rate"`
	Units       int             `json:"units"`
	Axis        json.RawMessage `json:"axis"` // a number; a list for BatchNormalization, whose axis is the last
}

// parseConfig rebuilds the network from a model_config. What it cannot express is refused by the layer's name, never
// approximated. Features is what feeds the last Dense layer (behind any Dropout); Cuts are not in the file.
func parseConfig(text []byte) (network.Network, error) {
	var m fileModel
	if err := json.Unmarshal(text, &m); err != nil {
		return network.Network{}, fmt.Errorf("model configuration: %w", err)
	}
	return m.network()
}

func (m fileModel) network() (network.Network, error) {
	if m.Class != "Functional" && m.Class != "Model" {
		return network.Network{}, fmt.Errorf("the model is of class %q; only flat Functional models are read", m.Class)
	}
	if len(m.Config.Layers) > maxLayers {
		return network.Network{}, fmt.Errorf("the model has %d layers; at most %d are read", len(m.Config.Layers), maxLayers)
	}
	n := network.Network{Name: m.Config.Name}
	for _, fl := range m.Config.Layers {
		l, err := fl.layer()
		if err != nil {
			return network.Network{}, fmt.Errorf("layer %q: %w", fl.Name, err)
		}
		if l.Kind == network.Input {
			side, err := inputSide(fl.Config.BatchShape, &l)
			if err != nil {
				return network.Network{}, fmt.Errorf("layer %q: %w", fl.Name, err)
			}
			n.Size = side
		}
		n.Layers = append(n.Layers, l)
	}
	if err := checkGraph(n, nil); err != nil {
		return network.Network{}, err
	}
	first, last := n.Layers[0].Name, n.Layers[len(n.Layers)-1].Name
	if !isTensor(m.Config.Inputs, first) || !isTensor(m.Config.Outputs, last) {
		return network.Network{}, fmt.Errorf("the model does not lead from its first layer to its last")
	}
	err := findFeatures(&n)
	return n, err
}

// isTensor tells whether list is the one tensor [[layer, 0, 0]].
func isTensor(list [][]any, layer string) bool {
	return len(list) == 1 && slices.Equal(list[0], []any{layer, 0.0, 0.0})
}

// findFeatures sets what the head stands on.
func findFeatures(n *network.Network) error {
	shapes, err := n.Shapes()
	if err != nil {
		return err
	}
	for _, l := range slices.Backward(n.Layers) {
		if l.Kind != network.Dense {
			continue
		}
		n.Features = l.Inputs[0]
		if below, ok := n.Layer(n.Features); ok && below.Kind == network.Dropout {
			n.Features = below.Inputs[0]
		}
		n.FeatureDim = shapes[n.Features][0]
		return nil
	}
	return nil
}

func inputSide(shape []*int, l *network.Layer) (int, error) {
	if len(shape) != 4 || shape[0] != nil || slices.Contains(shape[1:], nil) || *shape[1] != *shape[2] {
		return 0, fmt.Errorf("the input is not a batch of square images of fixed size")
	}
	if *shape[1] < 1 || *shape[1] > maxSide || *shape[3] < 1 || *shape[3] > maxSide {
		return 0, fmt.Errorf("an input of %d×%d×%d values is out of range", *shape[1], *shape[2], *shape[3])
	}
	if *shape[3] != 3 {
		l.Filters = *shape[3]
	}
	return *shape[1], nil
}

// inputs reads the names of the layers that feed the only call of this one.
func (f fileLayer) inputs() ([]string, error) {
	if len(f.Inbound) == 0 {
		return nil, nil
	}
	if len(f.Inbound) > 1 {
		return nil, fmt.Errorf("it is used %d times; shared layers are not read", len(f.Inbound))
	}
	var names []string
	for _, tensor := range f.Inbound[0] {
		var name string
		var call, output int
		if len(tensor) < 3 || json.Unmarshal(tensor[0], &name) != nil || json.Unmarshal(tensor[1], &call) != nil ||
			json.Unmarshal(tensor[2], &output) != nil || call != 0 || output != 0 {
			return nil, fmt.Errorf("its inputs cannot be read")
		}
		names = append(names, name)
	}
	return names, nil
}

func (f fileLayer) layer() (network.Layer, error) {
	inputs, err := f.inputs()
	if err != nil {
		return network.Layer{}, err
	}
	l := network.Layer{Name: f.Name, Kind: network.Kind(f.Class), Inputs: inputs}
	if format := f.Config.DataFormat; format != "" && format != "channels_last" {
		return l, fmt.Errorf("data format %q is not read", format)
	}
	err = f.Config.fill(&l)
	return l, err
}

// fill sets the fields of l, whose kind is known.
func (c fileConfig) fill(l *network.Layer) error {
	switch l.Kind {
	case network.Conv2D, network.DepthwiseConv2D:
		return c.convolution(l)
	case network.Dense:
		l.Units, l.Bias = c.Units, c.UseBias
		return positive("units", c.Units, c.linear())
	case network.BatchNormalization:
		l.Epsilon = c.Epsilon
		return c.batchNorm()
	case network.Rescaling:
		l.Offset = c.Offset
		if json.Unmarshal(c.Scale, &l.Scale) != nil || l.Scale == 0 {
			return fmt.Errorf("its scale is not one number other than 0")
		}
	case network.ZeroPadding2D:
		return c.zeroPadding(l)
	case network.ReLU6:
		return c.relu6()
	case network.GlobalAveragePooling2D:
		if c.KeepDims {
			return fmt.Errorf("pooling that keeps its dimensions is not read")
		}
	case network.Dropout:
		l.Rate = c.Rate
	case network.Softmax, network.Concatenate:
		var axis int
		if json.Unmarshal(c.Axis, &axis) != nil || axis != -1 {
			return fmt.Errorf("only the last axis is read, as -1")
		}
	case network.Input, network.Add:
	default:
		return fmt.Errorf("layers of class %q are not read", l.Kind)
	}
	return nil
}

func (c fileConfig) linear() error {
	if c.Activation != "linear" {
		return fmt.Errorf("activation %q is not read; it must be a layer of its own", c.Activation)
	}
	return nil
}

// positive passes err on, or tells that value is out of range.
func positive(what string, value int, err error) error {
	if err == nil && (value < 1 || value > maxSide) {
		return fmt.Errorf("%s of %d are out of range", what, value)
	}
	return err
}

func (c fileConfig) convolution(l *network.Layer) error {
	if err := c.linear(); err != nil {
		return err
	}
	if len(c.Kernel) != 2 || c.Kernel[0] != c.Kernel[1] || len(c.Strides) != 2 || c.Strides[0] != c.Strides[1] {
		return fmt.Errorf("kernel %v and strides %v must be square", c.Kernel, c.Strides)
	}
	if c.Dilation != nil && !slices.Equal(c.Dilation, []int{1, 1}) || c.Groups != nil && *c.Groups != 1 ||
		c.Multiplier != nil && *c.Multiplier != 1 {
		return fmt.Errorf("dilation, groups and depth multipliers are not read")
	}
	var padding network.Padding
	if json.Unmarshal(c.Padding, &padding) != nil || padding != network.Same && padding != network.Valid {
		return fmt.Errorf("padding %s is not read", c.Padding)
	}
	l.Kernel, l.Stride, l.Padding, l.Bias = c.Kernel[0], c.Strides[0], padding, c.UseBias
	err := positive("kernel and strides", l.Kernel, positive("kernel and strides", l.Stride, nil))
	if l.Kind == network.Conv2D {
		l.Filters = c.Filters
		err = positive("filters", l.Filters, err)
	}
	return err
}

func (c fileConfig) batchNorm() error {
	var scale bool
	if c.Center == nil || !*c.Center || json.Unmarshal(c.Scale, &scale) != nil || !scale {
		return fmt.Errorf("batch normalization without center or scale is not read")
	}
	if !(c.Epsilon > 0) {
		return fmt.Errorf("epsilon must be above 0")
	}
	return nil
}

func (c fileConfig) relu6() error {
	if c.MaxValue == nil || *c.MaxValue != 6 || c.NegSlope != 0 || c.Threshold != 0 {
		return fmt.Errorf("only ReLU with the maximum 6 is read")
	}
	return nil
}

func (c fileConfig) zeroPadding(l *network.Layer) error {
	var pad [][]int
	if json.Unmarshal(c.Padding, &pad) != nil || len(pad) != 2 || len(pad[0]) != 2 || len(pad[1]) != 2 {
		return fmt.Errorf("padding %s is not read", c.Padding)
	}
	l.Pad = [4]int{pad[0][0], pad[0][1], pad[1][0], pad[1][1]}
	for _, p := range l.Pad {
		if p < 0 || p > maxSide {
			return fmt.Errorf("padding %v is out of range", l.Pad)
		}
	}
	return nil
}
