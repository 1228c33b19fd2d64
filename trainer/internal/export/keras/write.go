package keras

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/cultivar-ml/cultivar/trainer/internal/hdf"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Write makes the .h5 file at path, replacing one that exists. It is complete on return but neither synced nor
// published under its final name: that is the caller's. The error names a weight or layer that does not fit.
func Write(path string, m network.Model) error {
	if err := checkGraph(m.Network, m.Labels); err != nil {
		return fmt.Errorf("write Keras model: %w", err)
	}
	if err := m.Network.Validate(m.Weights); err != nil {
		return fmt.Errorf("write Keras model: %w", err)
	}
	config, err := modelConfig(m.Network)
	if err != nil {
		return fmt.Errorf("write Keras model: %w", err)
	}
	text, err := asciiJSON(config)
	if err != nil {
		return fmt.Errorf("write Keras model: encode its configuration: %w", err)
	}
	labels, err := labelsJSON(m.Labels)
	if err != nil {
		return fmt.Errorf("write Keras model: %w", err)
	}
	usage, err := asciiJSON(m.Usage)
	if err != nil {
		return fmt.Errorf("write Keras model: encode its usage: %w", err)
	}
	err = hdf.Create(path, func(root hdf.Group) error {
		for _, a := range [][2]string{{configAttribute, text}, {versionAttribute, kerasVersion},
			{backendAttribute, "tensorflow"}, {labelsAttribute, labels}, {network.UsageName, usage}} {
			if err := root.SetText(a[0], a[1]); err != nil {
				return err
			}
		}
		return writeWeights(root, m)
	})
	if err != nil {
		return fmt.Errorf("write Keras model: %w", err)
	}
	return nil
}

// writeWeights makes one group for each layer, also for those without weights: readers look for all of them.
func writeWeights(root hdf.Group, m network.Model) error {
	byLayer, err := arraysByLayer(m.Network)
	if err != nil {
		return err
	}
	group, err := root.CreateGroup(weightsGroup)
	if err != nil {
		return err
	}
	if err := group.SetText(versionAttribute, kerasVersion); err != nil {
		return err
	}
	if err := group.SetText(backendAttribute, "tensorflow"); err != nil {
		return err
	}
	var layers []string
	for _, l := range m.Network.Layers {
		layers = append(layers, l.Name)
		g, err := group.CreateGroup(l.Name)
		if err != nil {
			return err
		}
		if err := writeLayer(g, l.Name, byLayer[l.Name], m.Weights); err != nil {
			return err
		}
	}
	return group.SetStrings(layersAttribute, layers)
}

// writeLayer stores a layer's arrays under Keras' path: layer/layer/weight:0.
func writeLayer(g hdf.Group, layer string, arrays []network.Array, w network.Weights) error {
	var names []string
	for _, a := range arrays {
		names = append(names, a.Name+":0")
	}
	if err := g.SetStrings(namesAttribute, names); err != nil {
		return err
	}
	if len(arrays) == 0 {
		return nil
	}
	inner, err := g.CreateGroup(layer)
	if err != nil {
		return err
	}
	for _, a := range arrays {
		if err := inner.SetFloats(strings.TrimPrefix(a.Name, layer+"/")+":0", a.Shape, w[a.Name].Data); err != nil {
			return err
		}
	}
	return nil
}

// labelsJSON encodes the class names as a JSON list, in output order.
func labelsJSON(labels []string) (string, error) {
	for i, l := range labels {
		if !utf8.ValidString(l) {
			return "", fmt.Errorf("class %d has a name that is not UTF-8 (%q): rename its folder", i, l)
		}
	}
	return asciiJSON(labels)
}

// asciiJSON encodes v with every character outside ASCII escaped: HDF5 readers differ in how they decode text.
func asciiJSON(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.Grow(len(data))
	for _, r := range string(data) {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String(), nil
}
