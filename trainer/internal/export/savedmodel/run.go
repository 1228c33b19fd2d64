package savedmodel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	graft "github.com/wamuir/graft/tensorflow"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// Model is a SavedModel loaded from its folder, with both signatures found by name. It takes any SavedModel that has
// them, not only what Write has made.
type Model struct {
	Usage network.Usage // zero when the folder has none

	loaded       *graft.SavedModel
	image, bytes tf.Output
	fromImage    tf.Output
	fromBytes    tf.Output
	side         int
}

// Load opens the SavedModel in dir with TensorFlow's own loader. The caller closes it.
func Load(dir string) (*Model, error) {
	loaded, err := graft.LoadSavedModel(dir, []string{Tag}, nil)
	if err != nil {
		return nil, fmt.Errorf("load SavedModel %q: %w", dir, err)
	}
	m := &Model{loaded: loaded}
	if err := errors.Join(m.find(), m.readUsage(dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("load SavedModel %q: %w", dir, err), m.Close())
	}
	return m, nil
}

func (m *Model) find() error {
	for _, s := range []struct {
		signature, input string
		in, out          *tf.Output
	}{{DefaultSignature, ImageInput, &m.image, &m.fromImage}, {BytesSignature, BytesInput, &m.bytes, &m.fromBytes}} {
		signature, ok := m.loaded.Signatures[s.signature]
		if !ok {
			return fmt.Errorf("it has no signature %q", s.signature)
		}
		var err error
		if *s.in, err = m.tensor(signature.Inputs[s.input].Name); err != nil {
			return fmt.Errorf("input %q of signature %q: %w", s.input, s.signature, err)
		}
		if *s.out, err = m.tensor(signature.Outputs[Output].Name); err != nil {
			return fmt.Errorf("output %q of signature %q: %w", Output, s.signature, err)
		}
	}
	shape := m.loaded.Signatures[DefaultSignature].Inputs[ImageInput].Shape
	if shape.NumDimensions() != 4 || shape.Size(1) < 1 || shape.Size(1) != shape.Size(2) || shape.Size(3) != 3 {
		return fmt.Errorf("input %q has shape %v instead of a batch of square RGB images", ImageInput, shape)
	}
	m.side = int(shape.Size(1))
	return nil
}

// maxUsage bounds the file of the usage that is read, bytes.
const maxUsage = 1 << 16

func (m *Model) readUsage(dir string) error {
	f, err := os.Open(filepath.Join(dir, extraDir, network.UsageFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxUsage))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, &m.Usage)
}

// tensor resolves "operation:0".
func (m *Model) tensor(name string) (tf.Output, error) {
	const first = ":0"
	if len(name) <= len(first) || name[len(name)-len(first):] != first {
		return tf.Output{}, fmt.Errorf("tensor %q is not the first output of an operation", name)
	}
	operation := m.loaded.Graph.Operation(name[:len(name)-len(first)])
	if operation == nil {
		return tf.Output{}, fmt.Errorf("the graph has no tensor %q", name)
	}
	return operation.Output(0), nil
}

// Size is the side of the images that Predict takes, pixels.
func (m *Model) Size() int { return m.side }

// Predict answers for images [n,size,size,3] of 0…255 with probabilities [n,classes], through serving_default.
func (m *Model) Predict(images []float32) ([]float32, error) {
	each := m.side * m.side * 3
	if len(images) == 0 || len(images)%each != 0 {
		return nil, fmt.Errorf("%d values are no whole images of %d×%d pixels", len(images), m.side, m.side)
	}
	batch, err := tf.FromFloats([]int{len(images) / each, m.side, m.side, 3}, images)
	if err != nil {
		return nil, err
	}
	return m.run(m.image, m.fromImage, batch)
}

// PredictBytes answers for encoded JPEG or PNG images, through serve_bytes.
func (m *Model) PredictBytes(encoded [][]byte) ([]float32, error) {
	if len(encoded) == 0 {
		return nil, fmt.Errorf("no images were given")
	}
	list := make([]string, len(encoded))
	for i, e := range encoded {
		list[i] = string(e)
	}
	batch, err := graft.NewTensor(list)
	if err != nil {
		return nil, fmt.Errorf("make a tensor of encoded images: %w", err)
	}
	return m.run(m.bytes, m.fromBytes, batch)
}

func (m *Model) run(in, out tf.Output, batch *tf.Tensor) ([]float32, error) {
	values, err := tf.Run(m.loaded.Session, in, batch, out)
	if err != nil {
		return nil, fmt.Errorf("run the SavedModel: %w", err)
	}
	return tf.Floats(values[0], nil)
}

// Close frees the session.
func (m *Model) Close() error {
	if err := m.loaded.Session.Close(); err != nil {
		return fmt.Errorf("close the SavedModel: %w", err)
	}
	return nil
}
