package tflite_test

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite"
	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// What is promised of a model that has learned something: float kinds name every photo as the trained model does, int8
// at least 97 % of them, with at most a point of accuracy lost, in at most 0.31 of the size.
func TestTrainedModels(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: runs whole networks on hundreds of photos")
	}
	t.Run("efficientnet_lite0", func(t *testing.T) { checkTrained(t, exporttest.Clipped(t, "efficientnet_lite0")) })
	t.Run("mobilenet_v2", func(t *testing.T) { checkTrained(t, exporttest.Base(t, "mobilenet_v2")) })
}

func checkTrained(t *testing.T, m network.Model) {
	// Smaller images than the base was trained on: half the time and memory, and the answers are no surer for it.
	const taught, held, size = 720, 240, 160
	m.Network.Size = size
	each := size * size * 3
	photos, classes, names := split(t, taught, held, size)
	m = learn(t, m, photos[:taught*each], classes[:taught], names)
	calibrate := make([]float32, 0, tflite.CalibrationImages*each)
	for i := range tflite.CalibrationImages { // of all classes
		at := i * taught / tflite.CalibrationImages * each
		calibrate = append(calibrate, photos[at:at+each]...)
	}
	photos, classes = photos[taught*each:], classes[taught:]
	want := make([]float32, 0, held*len(names))
	for batch := range slices.Chunk(photos, 20*each) {
		want = append(want, exporttest.Answers(t, m, batch)...)
	}
	var paths []string
	for _, kind := range kinds {
		paths = append(paths, write(t, m, kind, calibrate))
	}
	trained := accuracy(want, classes, len(names))
	var floats int64
	for i, r := range run(t, photos, size, paths...) {
		kind := kinds[i]
		r.check(t, kind, m)
		agreement, difference := compare(t, r.Probabilities, want, len(names))
		simulated := answers(t, paths[i], m, photos)
		alike, off := compare(t, simulated, r.Probabilities, len(names))
		right := accuracy(r.Probabilities, classes, len(names))
		info, err := os.Stat(paths[i])
		if err != nil {
			t.Fatal(err)
		}
		if kind == tflite.Float32 {
			floats = info.Size()
		}
		share := float64(info.Size()) / float64(floats)
		t.Logf("%s: agrees on %.3f, differs by %.2g; accuracy %.3f of %.3f; %d bytes, %.3f of float32; %.1f ms; simulated: %.3f, %.2g",
			kind, agreement, difference, right, trained, info.Size(), share, r.MS, alike, off)
		least, size := 1.0, 0.55
		if kind == tflite.Int8 {
			least, size = 0.97, 0.31
		}
		if kind == tflite.Float32 {
			size = 1
		}
		if agreement < least || trained-right > 0.01+1e-9 || share > size {
			t.Errorf("%s agrees on %.3f, is right on %.3f (trained: %.3f) and has %.3f of the size", kind, agreement, right, trained, share)
		}
		if alike < 0.97 || off > 0.01 {
			t.Errorf("%s: LiteRT and the simulation agree on %.3f and differ by %.2g", kind, alike, off)
		}
	}
}

// split gives photos to learn from, three of four, and others to be judged by, of all classes.
func split(t *testing.T, taught, held, size int) (photos []float32, classes []int, names []string) {
	t.Helper()
	files := exporttest.PhotoFiles(t, taught+held)
	pixels := exporttest.Photos(t, taught+held, size)
	each := size * size * 3
	var order []int // every fourth is held out
	for i := range files {
		if i%4 != 3 {
			order = append(order, i)
		}
	}
	for i := 3; i < len(files); i += 4 {
		order = append(order, i)
	}
	for _, i := range order {
		name := filepath.Base(filepath.Dir(files[i]))
		class := slices.Index(names, name)
		if class < 0 {
			class, names = len(names), append(names, name)
		}
		photos, classes = append(photos, pixels[i*each:(i+1)*each]...), append(classes, class)
	}
	return photos, classes, names
}

// learn gives the model a head that it learns from the photos: a softmax on features that each have deviation 1, which is
// the head that the trainer makes.
func learn(t *testing.T, m network.Model, photos []float32, classes []int, names []string) network.Model {
	t.Helper()
	n, err := m.Network.Only(m.Network.Features)
	if err == nil {
		n, err = n.WithHead(len(names), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	features := featuresOf(t, n, m.Weights, photos)
	dim := n.FeatureDim
	mean, deviation := make([]float64, dim), make([]float64, dim)
	for i, f := range features {
		mean[i%dim] += float64(f) / float64(len(classes))
	}
	for i, f := range features {
		deviation[i%dim] += (float64(f) - mean[i%dim]) * (float64(f) - mean[i%dim]) / float64(len(classes))
	}
	for c, v := range deviation {
		deviation[c] = math.Sqrt(v) + 1e-3
	}
	kernel, bias := make([]float64, dim*len(names)), make([]float64, len(names))
	for range 150 {
		step(features, classes, mean, deviation, kernel, bias)
	}
	learned := network.Model{Network: n, Weights: maps.Clone(m.Weights), Labels: names}
	k, b := make([]float32, len(kernel)), make([]float32, len(bias))
	for i, w := range kernel { // on features as they are
		c, class := i/len(bias), i%len(bias)
		k[i] = float32(w / deviation[c])
		bias[class] -= w / deviation[c] * mean[c]
	}
	for i, v := range bias {
		b[i] = float32(v)
	}
	learned.Weights[network.PredictionsName+"/kernel"] = network.Tensor{Shape: []int{dim, len(names)}, Data: k}
	learned.Weights[network.PredictionsName+"/bias"] = network.Tensor{Shape: []int{len(names)}, Data: b}
	return learned
}

// step is one of gradient descent with a little decay.
func step(features []float32, classes []int, mean, deviation, kernel, bias []float64) {
	const rate, decay = 0.002, 0.01
	dim, width := len(mean), len(bias)
	gradient := make([]float64, len(kernel))
	scaled, scores := make([]float64, dim), make([]float64, width)
	for i, class := range classes {
		copy(scores, bias)
		for c := range scaled {
			scaled[c] = (float64(features[i*dim+c]) - mean[c]) / deviation[c]
			for k := range scores {
				scores[k] += scaled[c] * kernel[c*width+k]
			}
		}
		top, sum := slices.Max(scores), 0.0
		for k := range scores {
			scores[k] = math.Exp(scores[k] - top)
			sum += scores[k]
		}
		for k := range scores {
			scores[k] /= sum
		}
		scores[class]--
		for c, x := range scaled {
			for k, e := range scores {
				gradient[c*width+k] += x * e / float64(len(classes))
			}
		}
		for k, e := range scores {
			bias[k] -= rate * e / float64(len(classes))
		}
	}
	for i, g := range gradient {
		kernel[i] -= rate * (g + decay*kernel[i])
	}
}

func featuresOf(t *testing.T, n network.Network, w network.Weights, photos []float32) []float32 {
	t.Helper()
	frozen, err := graph.NewFrozen(n, w, []string{n.Features}, graph.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	var all []float32
	for batch := range slices.Chunk(photos, 20*n.Size*n.Size*3) {
		images, err := tf.FromFloats([]int{len(batch) / (n.Size * n.Size * 3), n.Size, n.Size, 3}, batch)
		if err != nil {
			t.Fatal(err)
		}
		out, err := frozen.Run(images)
		if err != nil {
			t.Fatal(err)
		}
		some, err := tf.Floats(out[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, some...)
	}
	return all
}

func accuracy(answers []float32, classes []int, width int) float64 {
	right := 0
	for i, class := range classes {
		if first(answers[i*width:(i+1)*width]) == class {
			right++
		}
	}
	return float64(right) / float64(len(classes))
}
