// Package tfjs writes a trained classifier as a TensorFlow.js layers model, and as a page for browsers that holds one, and
// reads both back.
//
// The folder of a layers model has model.json (the layers, as Keras names them, and the list of weights), shards of weights
// of at most 4 MiB, which browsers and servers cache well, and labels.txt. It takes float32 [N,size,size,3], RGB of 0…255,
// with the rescaling inside. The page is one HTML file that opens from disk: see page.go.
//
// Sources of the format: tfjs-core/src/io/types.ts (ModelJSON) and tfjs-layers/src/models.ts of TensorFlow.js 4.22.
package tfjs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/cultivar-ml/cultivar/shared/version"
	"github.com/cultivar-ml/cultivar/trainer/internal/durable"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/labels"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// File is the one that programs open; it names the others.
const File = "model.json"

const (
	format    = "layers-model"
	shardSize = 4 << 20 // bytes
)

// model is model.json.
type model struct {
	Format    string          `json:"format"`
	Generator string          `json:"generatedBy"`
	Converter *string         `json:"convertedBy"`
	Topology  json.RawMessage `json:"modelTopology"`
	Manifest  []group         `json:"weightsManifest"`
	Metadata  userData        `json:"userDefinedMetadata"`
}

// group is a run of weights and the files that hold it.
type group struct {
	Paths   []string `json:"paths"`
	Weights []weight `json:"weights"`
}

type weight struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
	Type  string `json:"dtype"`
}

// userData is what model.json holds beyond what TensorFlow.js reads.
type userData struct {
	Labels []string      `json:"labels"`
	Usage  network.Usage `json:"usage"`
	Size   int           `json:"size,omitempty"` // of a page only: the side of the square that photos become, pixels
}

// Write fills the empty folder dir with a layers model. Its files are synced; the folder is the caller's to sync.
func Write(dir string, m network.Model) error {
	if err := write(dir, m); err != nil {
		return fmt.Errorf("write TensorFlow.js model: %w", err)
	}
	return nil
}

func write(dir string, m network.Model) error {
	described, data, err := describe(m)
	if err != nil {
		return err
	}
	shards := (len(data) + shardSize - 1) / shardSize
	for i := range shards {
		name := fmt.Sprintf("group1-shard%dof%d.bin", i+1, shards)
		if err := durable.WriteBytes(filepath.Join(dir, name), data[i*shardSize:min(len(data), (i+1)*shardSize)]); err != nil {
			return err
		}
		described.Manifest[0].Paths = append(described.Manifest[0].Paths, name)
	}
	text, err := encode(described)
	if err != nil {
		return err
	}
	if err := durable.WriteBytes(filepath.Join(dir, labels.File), labels.Text(m.Labels)); err != nil {
		return err
	}
	return durable.WriteBytes(filepath.Join(dir, File), text)
}

// describe makes model.json, without the names of the files of weights, and the bytes that those files hold.
func describe(m network.Model) (model, []byte, error) {
	if err := keras.CheckClassifier(m); err != nil {
		return model{}, nil, err
	}
	topology, err := keras.Topology(m.Network)
	if err != nil {
		return model{}, nil, err
	}
	arrays, err := m.Network.Arrays()
	if err != nil {
		return model{}, nil, err
	}
	var weights []weight
	var data []byte
	for _, a := range arrays {
		weights = append(weights, weight{Name: a.Name, Shape: a.Shape, Type: "float32"})
		for _, v := range m.Weights[a.Name].Data {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
	}
	return model{Format: format, Generator: "Cultivar " + version.Version, Topology: topology,
		Manifest: []group{{Paths: []string{}, Weights: weights}}, Metadata: userData{Labels: m.Labels, Usage: m.Usage}}, data, nil
}

func encode(m model) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	if err := e.Encode(m); err != nil {
		return nil, fmt.Errorf("encode the model: %w", err)
	}
	return b.Bytes(), nil
}

// Read rebuilds a classifier from the folder of a layers model that Write made, or that holds the same layers. The error
// says what does not fit.
func Read(dir string) (network.Model, error) {
	m, err := read(dir)
	if err != nil {
		return network.Model{}, fmt.Errorf("read TensorFlow.js model %q: %w", dir, err)
	}
	return m, nil
}

func read(dir string) (network.Model, error) {
	text, err := readAtMost(filepath.Join(dir, File), maxText)
	if err != nil {
		return network.Model{}, err
	}
	return parse(text, func(paths []string, size int) ([]byte, error) {
		data := make([]byte, 0, min(size, maxAhead))
		for _, name := range paths {
			if name != filepath.Base(name) {
				return nil, fmt.Errorf("the file of weights %q lies elsewhere", name)
			}
			shard, err := readAtMost(filepath.Join(dir, name), size-len(data))
			if err != nil {
				return nil, err
			}
			data = append(data, shard...)
		}
		return data, nil
	})
}

// Limits of what is read, bytes: far above any network here.
const (
	maxText    = 1 << 24
	maxWeights = 1 << 30
	maxAhead   = 1 << 26 // that is asked of memory before it is seen that the files are as large
)

// readAtMost reads a file that must not be larger than limit.
func readAtMost(path string, limit int) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > int64(limit) {
		return nil, fmt.Errorf("%s has %d bytes; at most %d are expected", filepath.Base(path), info.Size(), limit)
	}
	return os.ReadFile(path)
}

// parse rebuilds a classifier from model.json; load gives the bytes of its files of weights, of which there should be size.
func parse(text []byte, load func(paths []string, size int) ([]byte, error)) (m network.Model, err error) {
	var described model
	if err := json.Unmarshal(text, &described); err != nil {
		return m, fmt.Errorf("%s: %w", File, err)
	}
	if described.Format != format || len(described.Manifest) != 1 {
		return m, fmt.Errorf("it is of format %q with %d groups of weights; only a %s with one is read", described.Format, len(described.Manifest), format)
	}
	if m.Network, err = keras.ParseTopology(described.Topology); err != nil {
		return m, err
	}
	m.Labels, m.Usage = described.Metadata.Labels, described.Metadata.Usage
	arrays, err := m.Network.Arrays()
	if err != nil {
		return m, err
	}
	size, err := checkWeights(arrays, described.Manifest[0].Weights)
	if err != nil {
		return m, err
	}
	data, err := load(described.Manifest[0].Paths, size)
	if err != nil {
		return m, err
	}
	if len(data) != size {
		return m, fmt.Errorf("its weights have %d bytes instead of %d", len(data), size)
	}
	m.Weights = make(network.Weights, len(arrays))
	for _, a := range arrays {
		values := make([]float32, a.Size())
		for i := range values {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		data = data[4*len(values):]
		m.Weights[a.Name] = network.Tensor{Shape: a.Shape, Data: values}
	}
	return m, keras.CheckClassifier(m)
}

// checkWeights tells whether the listed weights are those that the layers have, in order, and how many bytes they take.
func checkWeights(arrays []network.Array, listed []weight) (size int, err error) {
	if len(arrays) != len(listed) {
		return 0, fmt.Errorf("it lists %d weights; its layers have %d", len(listed), len(arrays))
	}
	for i, a := range arrays {
		want, err := json.Marshal(weight{Name: a.Name, Shape: a.Shape, Type: "float32"})
		if err != nil {
			return 0, err
		}
		got, err := json.Marshal(listed[i])
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(got, want) {
			return 0, fmt.Errorf("weight %d is %s in the list; its layers ask for %s", i, got, want)
		}
		taken := 4
		for _, side := range a.Shape {
			if side < 1 || side > maxWeights/taken {
				return 0, fmt.Errorf("weight %s has %v values, more than any network's", a.Name, a.Shape)
			}
			taken *= side
		}
		if size > maxWeights-taken {
			return 0, fmt.Errorf("its weights are larger than any network's")
		}
		size += taken
	}
	return size, nil
}
