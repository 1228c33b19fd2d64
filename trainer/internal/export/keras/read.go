package keras

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cultivar-ml/cultivar/trainer/internal/hdf"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Read rebuilds a classifier from a Keras legacy full model, from nothing but the file: its model_config, its weights
// in the order in which Keras itself assigns them, its class names and its usage. Labels is nil and the usage zero when
// the file has none (it was not written here). Models that the network package cannot express are refused with a sentence.
func Read(path string) (network.Model, error) {
	var m network.Model
	err := hdf.Open(path, func(root hdf.Group) error {
		config, err := root.Text(configAttribute)
		if err != nil {
			return fmt.Errorf("this file has weights only, or is no Keras model: %w", err)
		}
		if m.Network, err = parseConfig([]byte(config)); err != nil {
			return err
		}
		if labels, err := root.Text(labelsAttribute); err == nil {
			if err := json.Unmarshal([]byte(labels), &m.Labels); err != nil {
				return fmt.Errorf("class names: %w", err)
			}
		}
		if usage, err := root.Text(network.UsageName); err == nil {
			if err := json.Unmarshal([]byte(usage), &m.Usage); err != nil {
				return err
			}
		}
		m.Weights, err = readWeights(root, m.Network)
		return err
	})
	if err != nil {
		return network.Model{}, fmt.Errorf("read Keras model %q: %w", path, err)
	}
	if err := check(m); err != nil {
		return network.Model{}, fmt.Errorf("read Keras model %q: %w", path, err)
	}
	return m, nil
}

func check(m network.Model) error {
	if m.Labels != nil {
		if err := checkGraph(m.Network, m.Labels); err != nil {
			return err
		}
	}
	return m.Network.Validate(m.Weights)
}

// readWeights assigns each layer's arrays by order, as Keras does: names differ between its versions, the order
// does not.
func readWeights(root hdf.Group, n network.Network) (network.Weights, error) {
	byLayer, err := arraysByLayer(n)
	if err != nil {
		return nil, err
	}
	group, err := root.Group(weightsGroup)
	if err != nil {
		return nil, err
	}
	layers, err := group.Strings(layersAttribute)
	if err != nil {
		return nil, err
	}
	weights := network.Weights{}
	for _, layer := range layers {
		g, err := group.Group(layer)
		if err != nil {
			return nil, err
		}
		names, err := g.Strings(namesAttribute)
		if err != nil {
			return nil, err
		}
		arrays := byLayer[layer]
		if len(names) != len(arrays) {
			return nil, fmt.Errorf("layer %q has %d weights in the file; its configuration asks for %d", layer, len(names), len(arrays))
		}
		for i, name := range names {
			shape, data, err := g.Floats(name)
			if err != nil {
				return nil, err
			}
			if !slices.Equal(shape, arrays[i].Shape) {
				return nil, fmt.Errorf("weight %q has shape %v in the file; its configuration asks for %v", name, shape, arrays[i].Shape)
			}
			weights[arrays[i].Name] = network.Tensor{Shape: shape, Data: data}
		}
	}
	return weights, nil
}
