package bases

import (
	"fmt"
	"math"
	"path/filepath"

	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
	"github.com/cultivar-ml/cultivar/trainer/internal/weights"
)

// Tolerance is the largest relative error that Verify's callers accept.
const Tolerance = 1e-3

// Agreement is how an installed base compares with reference activations. An error is, per image, the Euclidean length
// of the difference divided by that of the reference; the largest over all images counts.
type Agreement struct {
	Name     string
	Images   int
	Features float64 // relative error of the pooled features
	Logits   float64 // relative error of the ImageNet logits, before softmax
	SameTop1 int     // images whose highest logit is the same class
}

// OK tells whether both errors are within Tolerance.
func (a Agreement) OK() bool { return a.Features <= Tolerance && a.Logits <= Tolerance }

// Verify runs the installed base, as the trainer runs it, on the images in reference/<name>.safetensors, which holds
// input (uint8 [n,size,size,3]), features (float32 [n,FeatureDim]) and logits (float32 [n,1000]) of an independent
// implementation.
func Verify(dir, reference, name string) (Agreement, error) {
	net, w, _, err := LoadImageNet(dir, name)
	if err != nil {
		return Agreement{}, err
	}
	path := filepath.Join(reference, name+".safetensors")
	want, err := readReference(path, net)
	if err != nil {
		return Agreement{}, fmt.Errorf("verify base model %s: reference %q: %w", name, path, err)
	}
	frozen, err := graph.NewFrozen(net, w, []string{net.Features, network.PredictionsName}, graph.Options{Uint8: true})
	if err != nil {
		return Agreement{}, fmt.Errorf("verify base model %s: %w", name, err)
	}
	defer frozen.Close()
	batch, err := tf.FromBytes(want.shape, want.input)
	if err != nil {
		return Agreement{}, fmt.Errorf("verify base model %s: %w", name, err)
	}
	outputs, err := frozen.Run(batch)
	if err != nil {
		return Agreement{}, fmt.Errorf("verify base model %s: %w", name, err)
	}
	features, err := tf.Floats(outputs[0], nil)
	if err != nil {
		return Agreement{}, fmt.Errorf("verify base model %s: %w", name, err)
	}
	logits, err := tf.Floats(outputs[1], nil)
	if err != nil {
		return Agreement{}, fmt.Errorf("verify base model %s: %w", name, err)
	}
	return Agreement{
		Name: name, Images: want.shape[0], Features: relativeError(features, want.features, net.FeatureDim),
		Logits: relativeError(logits, want.logits, imageNetClasses), SameTop1: sameTop(logits, want.logits),
	}, nil
}

type referenceData struct {
	shape            []int
	input            []byte
	features, logits []float32
}

func readReference(path string, net network.Network) (referenceData, error) {
	arrays, _, err := weights.ReadSafetensors(path)
	if err != nil {
		return referenceData{}, err
	}
	input := arrays["input"]
	if input.Type != "U8" || len(input.Shape) != 4 || input.Shape[0] < 1 ||
		input.Shape[1] != net.Size || input.Shape[2] != net.Size || input.Shape[3] != 3 {
		return referenceData{}, fmt.Errorf("input is %s %v instead of U8 [n %d %d 3]", input.Type, input.Shape, net.Size, net.Size)
	}
	data := referenceData{shape: input.Shape, input: input.Data}
	for _, part := range []struct {
		name string
		dim  int
		into *[]float32
	}{{"features", net.FeatureDim, &data.features}, {"logits", imageNetClasses, &data.logits}} {
		a := arrays[part.name]
		if len(a.Shape) != 2 || a.Shape[0] != input.Shape[0] || a.Shape[1] != part.dim {
			return referenceData{}, fmt.Errorf("%s has shape %v instead of [%d %d]", part.name, a.Shape, input.Shape[0], part.dim)
		}
		if *part.into, err = a.Floats(); err != nil {
			return referenceData{}, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return data, nil
}

// relativeError is the largest over rows of dim values of |got − want| / |want|; NaN anywhere gives +Inf.
func relativeError(got, want []float32, dim int) float64 {
	worst := 0.0
	for at := 0; at < len(want); at += dim {
		var difference, length float64
		for i := at; i < at+dim; i++ {
			d := float64(got[i]) - float64(want[i])
			difference += d * d
			length += float64(want[i]) * float64(want[i])
		}
		e := math.Sqrt(difference / length)
		if math.IsNaN(e) {
			return math.Inf(1)
		}
		worst = max(worst, e)
	}
	return worst
}

// sameTop counts the images for which both have the same highest logit.
func sameTop(got, want []float32) int {
	same := 0
	for at := 0; at < len(want); at += imageNetClasses {
		if evaluate.Best(got[at:at+imageNetClasses]) == evaluate.Best(want[at:at+imageNetClasses]) {
			same++
		}
	}
	return same
}
