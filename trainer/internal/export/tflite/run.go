package tflite

import (
	"fmt"
	"os"
	"runtime"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// Model is a written file that runs with TensorFlow. Int8 is simulated: real numbers are rounded to those that the
// integers stand for wherever the 8-bit kernels round, so its answers are those of a TensorFlow Lite runtime but for
// the last bit.
type Model struct {
	Labels  []string // class names in output order
	Usage   network.Usage
	Size    int // side of the square images it takes, pixels
	Kind    Kind
	output  tf.Output
	session *session
}

// Open loads a file that Write made. The caller closes it.
func Open(path string) (*Model, error) {
	m, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("read TensorFlow Lite model %q: %w", path, err)
	}
	return m, nil
}

func open(path string) (*Model, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := decode(file)
	if err != nil {
		return nil, err
	}
	m := &Model{Size: p.tensors[p.input].shape[1], Kind: p.kind()}
	if m.Labels, m.Usage, err = filesOf(file); err != nil {
		return nil, err
	}
	if classes := p.tensors[p.output].shape[1]; len(m.Labels) != classes {
		return nil, fmt.Errorf("it has %d class names for %d classes", len(m.Labels), classes)
	}
	if m.session, err = newSession(p, runtime.GOMAXPROCS(0), nil); err != nil {
		return nil, err
	}
	m.output = m.session.values[p.output]
	return m, nil
}

func (p *program) kind() Kind {
	if p.tensors[p.input].kind == schema.TensorTypeUint8 {
		return Int8
	}
	for _, t := range p.tensors {
		if t.kind == schema.TensorTypeFloat16 {
			return Float16
		}
	}
	return Float32
}

// Predict answers for images [n,size,size,3] of 0…255 with probabilities [n,classes].
func (m *Model) Predict(images []float32) ([]float32, error) {
	out, err := m.session.run(images, m.output)
	if err != nil {
		return nil, fmt.Errorf("run the TensorFlow Lite model: %w", err)
	}
	return tf.Floats(out[0], nil)
}

// Close frees the session.
func (m *Model) Close() error { return m.session.close() }
