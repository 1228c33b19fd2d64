package keras

import (
	"encoding/json"
	"fmt"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Topology is the modelTopology of a TensorFlow.js layers model: the model_config of an .h5, with the axis of a batch norm
// as the number that TensorFlow.js declares and not as Keras 2's list.
func Topology(n network.Network) (json.RawMessage, error) {
	config, err := modelConfig(n)
	if err != nil {
		return nil, err
	}
	for _, layer := range config["config"].(object)["layers"].([]object) {
		if inner := layer["config"].(object); layer["class_name"] == string(network.BatchNormalization) {
			inner["axis"] = inner["axis"].([]int)[0]
		}
	}
	text, err := asciiJSON(object{"keras_version": kerasVersion, "backend": "tensorflow", "model_config": config})
	return json.RawMessage(text), err
}

// ParseTopology rebuilds the network from what Topology gave, by the rules of Read.
func ParseTopology(text []byte) (network.Network, error) {
	var t struct {
		Config json.RawMessage `json:"model_config"`
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return network.Network{}, fmt.Errorf("model topology: %w", err)
	}
	return parseConfig(t.Config)
}

// CheckClassifier tells whether m can be a Keras model: one image in, one probability out for each class name.
func CheckClassifier(m network.Model) error {
	if err := checkGraph(m.Network, m.Labels); err != nil {
		return err
	}
	if _, err := labelsJSON(m.Labels); err != nil {
		return err
	}
	return m.Network.Validate(m.Weights)
}
