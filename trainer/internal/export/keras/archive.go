package keras

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/cultivar-ml/cultivar/trainer/internal/hdf"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Names in a .keras archive (keras/src/saving/saving_lib.py). A fourth member would make Keras unpack all of them to
// disk, so class names and usage are in metadata.json.
const (
	metadataName = "metadata.json"
	configName   = "config.json"
	weightsName  = "model.weights.h5"
	layersGroup  = "layers"
	varsGroup    = "vars"
)

// nativeVersion is the version of Keras whose dialect a .keras file is in.
const nativeVersion = "3.8.0"

// Limits of what is read of an archive, bytes: no network here is near them, and a small archive cannot fill the disk.
const (
	maxText    = 1 << 24
	maxWeights = 1 << 30
)

// metadata of an archive. Keras reads none of it.
type metadata struct {
	Version string        `json:"keras_version"`
	Saved   string        `json:"date_saved"`
	Labels  []string      `json:"cultivar_labels,omitempty"`
	Usage   network.Usage `json:"cultivar_usage"`
}

// WriteNative makes the .keras file at path, the format of Keras 3 alone; the rules of Write hold. While it is written the
// weights stand in a file of their own beside it.
func WriteNative(path string, m network.Model) error {
	if err := writeNative(path, m); err != nil {
		return fmt.Errorf("write Keras archive: %w", err)
	}
	return nil
}

func writeNative(path string, m network.Model) (err error) {
	if err := checkGraph(m.Network, m.Labels); err != nil {
		return err
	}
	if err := m.Network.Validate(m.Weights); err != nil {
		return err
	}
	config, err := nativeConfig(m.Network)
	if err != nil {
		return err
	}
	structure, err := asciiJSON(config)
	if err != nil {
		return fmt.Errorf("encode its configuration: %w", err)
	}
	if _, err := labelsJSON(m.Labels); err != nil {
		return err
	}
	// One fixed date, so that equal models give equal bytes.
	about, err := asciiJSON(metadata{Version: nativeVersion, Saved: "1980-01-01@00:00:00", Labels: m.Labels, Usage: m.Usage})
	if err != nil {
		return fmt.Errorf("encode its metadata: %w", err)
	}
	weights := path + "." + weightsName
	defer func() {
		if gone := os.Remove(weights); !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	if err := hdf.Create(weights, func(root hdf.Group) error { return writeVars(root, m) }); err != nil {
		return err
	}
	return pack(path, structure, about, weights)
}

// pack writes the archive. Keras does not compress its members either.
func pack(path, structure, about, weights string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	archive := zip.NewWriter(f)
	add := func(name string) (io.Writer, error) {
		return archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)})
	}
	for _, text := range [][2]string{{metadataName, about}, {configName, structure}} {
		w, err := add(text[0])
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, text[1]); err != nil {
			return err
		}
	}
	in, err := os.Open(weights)
	if err != nil {
		return err
	}
	defer in.Close()
	w, err := add(weightsName)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, in); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return f.Close()
}

// writeVars stores each layer's arrays, numbered, where Keras looks for them.
func writeVars(root hdf.Group, m network.Model) error {
	byLayer, err := arraysByLayer(m.Network)
	if err != nil {
		return err
	}
	if _, err := root.CreateGroup(varsGroup); err != nil {
		return err
	}
	layers, err := root.CreateGroup(layersGroup)
	if err != nil {
		return err
	}
	place := places(m.Network)
	for _, l := range m.Network.Layers {
		group, err := layers.CreateGroup(place[l.Name])
		if err != nil {
			return err
		}
		vars, err := group.CreateGroup(varsGroup)
		if err != nil {
			return err
		}
		if err := vars.SetText("name", l.Name); err != nil {
			return err
		}
		for i, a := range byLayer[l.Name] {
			if err := vars.SetFloats(strconv.Itoa(i), a.Shape, m.Weights[a.Name].Data); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReadNative rebuilds a classifier from a .keras file, from nothing but the file, by the rules of Read.
func ReadNative(path string) (network.Model, error) {
	m, err := readNative(path)
	if err != nil {
		return network.Model{}, fmt.Errorf("read Keras archive %q: %w", path, err)
	}
	return m, nil
}

func readNative(path string) (m network.Model, err error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return m, err
	}
	defer archive.Close()
	config, err := readText(&archive.Reader, configName)
	if err != nil {
		return m, err
	}
	if m.Network, err = parseNative(config); err != nil {
		return m, err
	}
	about, err := readText(&archive.Reader, metadataName)
	if err != nil {
		return m, err
	}
	var meta metadata
	if err := json.Unmarshal(about, &meta); err != nil {
		return m, fmt.Errorf("metadata: %w", err)
	}
	m.Labels, m.Usage = meta.Labels, meta.Usage
	// The HDF5 library reads files only.
	dir, err := os.MkdirTemp("", "cultivar-keras-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	weights := filepath.Join(dir, weightsName)
	if err := unpack(&archive.Reader, weights); err != nil {
		return m, err
	}
	err = hdf.Open(weights, func(root hdf.Group) error {
		m.Weights, err = readVars(root, m.Network)
		return err
	})
	if err != nil {
		return m, err
	}
	return m, check(m)
}

func member(archive *zip.Reader, name string, limit uint64) (io.ReadCloser, error) {
	i := slices.IndexFunc(archive.File, func(f *zip.File) bool { return f.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("it has no %s", name)
	}
	if size := archive.File[i].UncompressedSize64; size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than any network's", name, size)
	}
	return archive.File[i].Open()
}

func readText(archive *zip.Reader, name string) ([]byte, error) {
	r, err := member(archive, name, maxText)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

// unpack copies the weights out of the archive.
func unpack(archive *zip.Reader, target string) error {
	r, err := member(archive, weightsName, maxWeights)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.Create(target)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		return fmt.Errorf("%s: %w", weightsName, err)
	}
	return f.Close()
}

// readVars finds each layer's arrays by the order of the layers, as Keras does.
func readVars(root hdf.Group, n network.Network) (network.Weights, error) {
	byLayer, err := arraysByLayer(n)
	if err != nil {
		return nil, err
	}
	weights, place := network.Weights{}, places(n)
	for _, l := range n.Layers {
		for i, a := range byLayer[l.Name] {
			shape, data, err := root.Floats(layersGroup + "/" + place[l.Name] + "/" + varsGroup + "/" + strconv.Itoa(i))
			if err != nil {
				return nil, fmt.Errorf("layer %q: %w", l.Name, err)
			}
			if !slices.Equal(shape, a.Shape) {
				return nil, fmt.Errorf("weight %q has shape %v in the file; its configuration asks for %v", a.Name, shape, a.Shape)
			}
			weights[a.Name] = network.Tensor{Shape: shape, Data: data}
		}
	}
	return weights, nil
}
