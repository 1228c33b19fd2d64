// Package start keeps what a finished training leaves for a later one to go on from: its head as it was before the photos it
// is measured on had a part in it, and the blocks of the base that it fine-tuned. It trains nothing.
package start

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/trainer/internal/durable"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/weights"
)

// version is the number of the file's format.
const version = 1

// About says what a Start fits to.
type About struct {
	Version   int      `json:"version"`
	Base      string   `json:"base"`        // its name
	SHA256    string   `json:"base_sha256"` // of the base's weights
	ImageSize int      `json:"image_size"`  // pixels
	Fit       string   `json:"fit"`         // how photos become squares
	Features  string   `json:"features"`    // the layer that Head sees
	Labels    []string `json:"labels"`      // of both heads
}

// Start is what is gone on from.
type Start struct {
	About
	Head fit.Head // on the base as it is
	// Tuned are the arrays of the base that were fine-tuned, and TunedHead is the head on its last layer that was trained with
	// them; nil where that was not done, or did not make the model better.
	Tuned     network.Weights
	TunedHead fit.Head
}

// Names in the file. Those of tuned arrays follow their prefix.
const (
	aboutKey    = "cultivar_start"
	tunedPrefix = "tuned/"
)

func headNames(name string) (kernel, bias string) { return name + "/kernel", name + "/bias" }

// Save writes a start durably.
func (s Start) Save(path string) error {
	s.Version = version
	about, err := json.Marshal(s.About)
	if err != nil {
		return fmt.Errorf("keep what later trainings start from: %w", err)
	}
	w := network.Weights{}
	put := func(name string, h fit.Head) {
		kernel, bias := headNames(name)
		classes := len(h.Bias)
		w[kernel] = network.Tensor{Shape: []int{len(h.Kernel) / classes, classes}, Data: h.Kernel}
		w[bias] = network.Tensor{Shape: []int{classes}, Data: h.Bias}
	}
	put("head", s.Head)
	if s.Tuned != nil {
		put("tuned_head", s.TunedHead)
	}
	for name, array := range s.Tuned {
		w[tunedPrefix+name] = array
	}
	content, err := weights.Encode(w, map[string]string{aboutKey: string(about)})
	if err == nil {
		err = durable.WriteBytes(path, content)
	}
	if err != nil {
		return fmt.Errorf("keep what later trainings start from: %w", err)
	}
	return nil
}

// Load reads what Save wrote.
func Load(path string) (Start, error) {
	arrays, metadata, err := weights.ReadSafetensors(path)
	if err != nil {
		return Start{}, err
	}
	var s Start
	if err := json.Unmarshal([]byte(metadata[aboutKey]), &s.About); err != nil {
		return Start{}, fmt.Errorf("%q does not say what it fits to: %w", path, err)
	}
	if s.Version != version {
		return Start{}, fmt.Errorf("%q is of format %d, and this release reads %d", path, s.Version, version)
	}
	w, err := weights.Decode(arrays)
	if err != nil {
		return Start{}, fmt.Errorf("%q: %w", path, err)
	}
	if s.Head, err = s.head(w, "head"); err != nil {
		return Start{}, fmt.Errorf("%q: %w", path, err)
	}
	for name, array := range w {
		if plain, ok := strings.CutPrefix(name, tunedPrefix); ok {
			if s.Tuned == nil {
				s.Tuned = network.Weights{}
			}
			s.Tuned[plain] = array
		}
	}
	if s.Tuned != nil {
		if s.TunedHead, err = s.head(w, "tuned_head"); err != nil {
			return Start{}, fmt.Errorf("%q: %w", path, err)
		}
	}
	return s, nil
}

// head picks a head out of the arrays; it must be finite and have the labels' classes.
func (s Start) head(w network.Weights, name string) (fit.Head, error) {
	kernelName, biasName := headNames(name)
	kernel, bias := w[kernelName], w[biasName]
	classes := len(s.Labels)
	if classes == 0 || len(bias.Data) != classes || len(kernel.Shape) != 2 || kernel.Shape[1] != classes || kernel.Shape[0] < 1 ||
		len(kernel.Data) != kernel.Shape[0]*classes {
		return fit.Head{}, fmt.Errorf("its %s is not one for its %d classes", name, classes)
	}
	for _, v := range slices.Concat(kernel.Data, bias.Data) {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fit.Head{}, errors.New("its numbers are not finite")
		}
	}
	return fit.Head{Kernel: kernel.Data, Bias: bias.Data}, nil
}

// For is a head for other labels: classes of the same name keep their weights, new ones start at zero. kept counts the former.
func For(h fit.Head, from, to []string) (out fit.Head, kept int) {
	dim := len(h.Kernel) / len(from)
	out = fit.Head{Kernel: make([]float32, dim*len(to)), Bias: make([]float32, len(to))}
	for c, label := range to {
		old := slices.Index(from, label)
		if old < 0 {
			continue
		}
		kept++
		out.Bias[c] = h.Bias[old]
		for j := range dim {
			out.Kernel[j*len(to)+c] = h.Kernel[j*len(from)+old]
		}
	}
	return out, kept
}
