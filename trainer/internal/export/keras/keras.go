// Package keras writes a trained classifier as a Keras legacy full model (.h5) or as an archive of Keras 3 (.keras) and reads
// such files back.
//
// The .h5 is in the Keras-2 dialect: one flat Functional graph whose configuration names no modules, so that Keras 3,
// tf-keras 2 and the TensorFlow.js converter all take it. It holds the original structure with its batch norms, the
// rescaling of 0…255 images, the weights, and, as JSON, the class names as the attribute "cultivar_labels" and the usage as
// "cultivar_usage". Optimiser state is not written: the file is for using a model, and for training it on with a fresh optimiser.
//
// The .keras holds the same in Keras 3's own words: a zip of metadata.json, which has the class names as
// "cultivar_labels" and the usage as "cultivar_usage", config.json and model.weights.h5.
//
// Sources of the formats: keras/src/saving/saving_lib.py, keras/src/legacy/saving/legacy_h5_format.py (Keras 3) and
// tf_keras/saving/legacy/hdf5_format.py (Keras 2).
package keras

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Names of attributes and groups in the file.
const (
	configAttribute  = "model_config"
	versionAttribute = "keras_version"
	backendAttribute = "backend"
	labelsAttribute  = "cultivar_labels"
	weightsGroup     = "model_weights"
	layersAttribute  = "layer_names"
	namesAttribute   = "weight_names"
)

// kerasVersion is the dialect that the file declares. Without a version readers take a file for Keras 1 and convert its
// weights; with 3 or above they expect another configuration.
const kerasVersion = "2.15.0"

// arraysByLayer groups the network's weight arrays by layer. Within a layer they stand in the order in which Keras
// loads them: trainable ones, then moving statistics.
func arraysByLayer(n network.Network) (map[string][]network.Array, error) {
	arrays, err := n.Arrays()
	if err != nil {
		return nil, err
	}
	byLayer := make(map[string][]network.Array, len(n.Layers))
	for _, a := range arrays {
		layer := a.Name[:strings.LastIndexByte(a.Name, '/')]
		byLayer[layer] = append(byLayer[layer], a)
	}
	return byLayer, nil
}

// checkGraph tells whether the network can be a Functional model with one image input and one classifier output.
func checkGraph(n network.Network, labels []string) error {
	shapes, err := n.Shapes()
	if err != nil {
		return err
	}
	if len(n.Layers) < 2 || n.Layers[0].Kind != network.Input {
		return fmt.Errorf("%s does not begin with an input", n.Name)
	}
	used := map[string]bool{}
	for i, l := range n.Layers {
		if i > 0 && l.Kind == network.Input {
			return fmt.Errorf("%s has a second input, %q", n.Name, l.Name)
		}
		if l.Name == "" || l.Name == "." || l.Name == ".." || strings.ContainsAny(l.Name, "/\x00") {
			return fmt.Errorf("%s has a layer named %q, which cannot be a group of an HDF5 file", n.Name, l.Name)
		}
		for _, in := range l.Inputs {
			used[in] = true
		}
	}
	last := n.Layers[len(n.Layers)-1]
	for _, l := range n.Layers[:len(n.Layers)-1] {
		if !used[l.Name] {
			return fmt.Errorf("layer %s of %s leads nowhere", l.Name, n.Name)
		}
	}
	if labels != nil && !slices.Equal(shapes[last.Name], []int{len(labels)}) {
		return fmt.Errorf("%s ends with shape %v, but there are %d class names", n.Name, shapes[last.Name], len(labels))
	}
	return nil
}
