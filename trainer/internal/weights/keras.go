package weights

import (
	"fmt"
	"strings"

	"github.com/cultivar-ml/cultivar/trainer/internal/hdf"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Bounds on what a Keras file of a base may hold; MobileNetV2 has 262 arrays of 3.5 million values together, in groups
// at most 5 deep.
const (
	maxDepth  = 8
	maxArrays = 4096
	maxValues = 1 << 28
)

// ReadKeras reads the float arrays of a Keras .h5 file (weights only, or a whole model, whose optimizer is left out)
// as "layer/weight", without Keras' ":0". Groups are walked, not looked up by the attributes layer_names and
// weight_names, because writers disagree on how to store these.
func ReadKeras(file string) (network.Weights, error) {
	reader := kerasReader{arrays: network.Weights{}}
	err := hdf.Open(file, func(root hdf.Group) error {
		if root.Has("model_weights") {
			var err error
			if root, err = root.Group("model_weights"); err != nil {
				return err
			}
		}
		return reader.group(root, "", 0)
	})
	if err != nil {
		return nil, fmt.Errorf("read %q as a Keras file: %w", file, err)
	}
	if len(reader.arrays) == 0 {
		return nil, fmt.Errorf("read %q as a Keras file: it holds no weights", file)
	}
	return reader.arrays, nil
}

type kerasReader struct {
	arrays network.Weights
	values int // read so far
}

// group reads all datasets below g, whose own name is layer and which lies depth groups deep.
func (r *kerasReader) group(g hdf.Group, layer string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("its groups are nested deeper than %d", maxDepth)
	}
	names, err := g.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.Contains(name, ":") { // Keras 2 marks weights as kernel:0, and no layer name holds a colon
			err = r.dataset(g, layer, name)
		} else if child, missing := g.Group(name); missing == nil {
			err = r.group(child, name, depth+1)
		} else { // Keras 3 leaves the mark out
			err = r.dataset(g, layer, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dataset reads …/layer/weight:0; what lies above any layer, such as a counter, is no weight.
func (r *kerasReader) dataset(g hdf.Group, layer, name string) error {
	if layer == "" {
		return nil
	}
	key := layer + "/" + strings.TrimSuffix(name, ":0")
	if _, twice := r.arrays[key]; twice {
		return fmt.Errorf("it has weight %q twice", key)
	}
	shape, data, err := g.Floats(name)
	if err != nil {
		return err
	}
	if r.values += len(data); r.values > maxValues || len(r.arrays) >= maxArrays {
		return fmt.Errorf("it has more than %d arrays or %d values, which no base has", maxArrays, maxValues)
	}
	r.arrays[key] = network.Tensor{Shape: shape, Data: data}
	return nil
}
