package export

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/coreml"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/labels"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/savedmodel"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tfjs"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite"
	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// batchSize is how many images Predict runs at once: enough to fill the cores, few enough for a small machine.
const batchSize = 16

// Runner answers for images with an exported model, from nothing but its file. It is used by one goroutine.
type Runner struct {
	Labels  []string      // class names in output order; nil when the file has none
	Usage   network.Usage // zero when the file has none
	Size    int           // side of the square images it takes, pixels
	predict func(images []float32) ([]float32, error)
	bytes   func(encoded [][]byte) ([]float32, error) // nil when the format takes pixels only
	close   func() error
	// simulated says that it computes what the file's own runtimes compute, but not as they do: its speed is not theirs.
	simulated bool
}

// readers rebuild a network from a file, by the ending of its name.
var readers = map[string]func(path string) (network.Model, error){
	".h5": keras.Read, ".keras": keras.ReadNative, ".onnx": onnx.Read, ".mlmodel": coreml.Read, ".html": tfjs.ReadPage,
}

// Read rebuilds the network of the exported model at path, an .h5, .keras, .onnx, .mlmodel or .html file.
func Read(path string) (network.Model, error) {
	read, ok := readers[strings.ToLower(filepath.Ext(path))]
	if !ok {
		return network.Model{}, fmt.Errorf("%q is no .h5, .keras, .onnx, .mlmodel or .html file", path)
	}
	return read(path)
}

// Open loads the exported model at path: an .h5, .keras, .tflite, .onnx, .mlmodel or .html file or the folder of a SavedModel
// or of a TensorFlow.js model. The caller closes it.
func Open(path string) (*Runner, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		if _, err := os.Stat(filepath.Join(path, tfjs.File)); err == nil {
			return openNetwork(path, tfjs.Read)
		}
		return openSavedModel(path)
	}
	ending := strings.ToLower(filepath.Ext(path))
	if ending == ".tflite" {
		return openTFLite(path)
	}
	if read, ok := readers[ending]; ok {
		return openNetwork(path, read)
	}
	return nil, fmt.Errorf("%q is neither an .h5, .keras, .tflite, .onnx, .mlmodel or .html file nor the folder of a SavedModel or TensorFlow.js model", path)
}

func openNetwork(path string, read func(path string) (network.Model, error)) (*Runner, error) {
	m, err := read(path)
	if err != nil {
		return nil, err
	}
	r, err := runnerOf(m)
	if err != nil {
		return nil, fmt.Errorf("run %q: %w", path, err)
	}
	return r, nil
}

// runnerOf answers with a model in memory.
func runnerOf(m network.Model) (*Runner, error) {
	last := m.Network.Layers[len(m.Network.Layers)-1].Name
	frozen, err := graph.NewFrozen(m.Network, m.Weights, []string{last}, graph.Options{Threads: runtime.GOMAXPROCS(0)})
	if err != nil {
		return nil, err
	}
	size := m.Network.Size
	predict := func(images []float32) ([]float32, error) {
		batch, err := tf.FromFloats([]int{len(images) / (size * size * 3), size, size, 3}, images)
		if err != nil {
			return nil, err
		}
		out, err := frozen.Run(batch)
		if err != nil {
			return nil, err
		}
		return tf.Floats(out[0], nil)
	}
	return &Runner{Labels: m.Labels, Usage: m.Usage, Size: size, predict: predict, close: frozen.Close}, nil
}

func openTFLite(path string) (*Runner, error) {
	m, err := tflite.Open(path)
	if err != nil {
		return nil, err
	}
	return &Runner{Labels: m.Labels, Usage: m.Usage, Size: m.Size, predict: m.Predict, close: m.Close, simulated: m.Kind == tflite.Int8}, nil
}

func openSavedModel(dir string) (*Runner, error) {
	text, err := os.ReadFile(filepath.Join(dir, "assets", labels.File))
	if err != nil {
		return nil, fmt.Errorf("class names of SavedModel: %w", err)
	}
	m, err := savedmodel.Load(dir)
	if err != nil {
		return nil, err
	}
	names := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	return &Runner{Labels: names, Usage: m.Usage, Size: m.Size(), predict: m.Predict, bytes: m.PredictBytes, close: m.Close}, nil
}

// Predict answers for images [n,size,size,3] of 0…255 with probabilities [n,classes].
func (r *Runner) Predict(images []float32) ([]float32, error) {
	each := r.Size * r.Size * 3
	if len(images) == 0 || len(images)%each != 0 {
		return nil, fmt.Errorf("%d values are no whole images of %d×%d pixels", len(images), r.Size, r.Size)
	}
	var all []float32
	for len(images) > 0 {
		n := min(len(images), batchSize*each)
		answers, err := r.predict(images[:n])
		if err != nil {
			return nil, err
		}
		all = append(all, answers...)
		images = images[n:]
	}
	return all, nil
}

// Close frees what Open took.
func (r *Runner) Close() error { return r.close() }
