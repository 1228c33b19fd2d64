// Package peers gives the Python scripts beside it what they learn from: the project's base model as a Keras file, and the
// project's split of a folder of photos.
package peers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Line is one photo of the split that a script reads: a line of split.jsonl, with what the scripts cannot tell from it.
type Line struct {
	manifest.SplitLine
	Class string `json:"class"`
	File  string `json:"file"` // relative to the folder that was scanned
}

// Split divides the photos of a scanned folder as the project does with that seed and the default shares.
func Split(m *manifest.Manifest, opts manifest.SplitOptions) []Line {
	sides, _ := manifest.Split(m.Images, opts)
	lines := make([]Line, len(sides))
	for i, im := range m.Images {
		lines[i] = Line{manifest.SplitLine{SHA256: im.SHA256, Path: im.Path, Split: sides[i]}, im.Class, im.Local()}
	}
	return lines
}

// WriteSplit writes the lines as JSON.
func WriteSplit(w io.Writer, lines []Line) error {
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("write the split: %w", err)
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write the split: %w", err)
	}
	return nil
}

// WriteBase writes a base model as a Keras file. The head of two classes is all zeros: nobody uses it, the format has one.
func WriteBase(path string, net network.Network, weights network.Weights) error {
	whole, err := net.WithHead(2, 0)
	if err != nil {
		return err
	}
	w := network.Weights{
		network.PredictionsName + "/kernel": {Shape: []int{net.FeatureDim, 2}, Data: make([]float32, 2*net.FeatureDim)},
		network.PredictionsName + "/bias":   {Shape: []int{2}, Data: make([]float32, 2)},
	}
	for name, array := range weights {
		w[name] = array
	}
	return keras.Write(path, network.Model{Network: whole, Weights: w, Labels: []string{"a", "b"}})
}
