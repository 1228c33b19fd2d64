// Package exporttest holds what the tests of all export formats need: models to export, real photos, the trained
// model's own answers, and the ecosystem's readers in Python. Only tests import it.
package exporttest

import (
	"encoding/binary"
	"errors"
	"image"
	_ "image/jpeg" // the photos
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/image/draw"

	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// Labels are class names that have hurt other programs: quotes, escapes, other scripts, markup, an escape sequence,
// a comma, a line break and a surrogate pair.
func Labels() []string {
	return []string{`quote " and \ back`, "Grüße", "花", "<b>&amp;</b>", "red\x1b[31m", "a, b", "two\nlines", "🌷"}
}

// Small is a network of every layer kind for 32-pixel images, with random weights and Labels.
func Small(t *testing.T) network.Model {
	t.Helper()
	n := network.Network{Name: "small", Size: 32, Features: "pool_bn", FeatureDim: 20, Layers: []network.Layer{
		{Name: "input", Kind: network.Input},
		{Name: "rescaling", Kind: network.Rescaling, Inputs: []string{"input"}, Scale: 1 / 127.5, Offset: -1},
		{Name: "stem_pad", Kind: network.ZeroPadding2D, Inputs: []string{"rescaling"}, Pad: [4]int{0, 1, 2, 1}},
		{Name: "stem", Kind: network.Conv2D, Inputs: []string{"stem_pad"}, Filters: 8, Kernel: 3, Stride: 2, Padding: network.Valid, Bias: true},
		{Name: "stem_bn", Kind: network.BatchNormalization, Inputs: []string{"stem"}, Epsilon: 1e-3},
		{Name: "stem_relu", Kind: network.ReLU6, Inputs: []string{"stem_bn"}},
		{Name: "depth", Kind: network.DepthwiseConv2D, Inputs: []string{"stem_relu"}, Kernel: 5, Stride: 1, Padding: network.Same},
		{Name: "depth_bn", Kind: network.BatchNormalization, Inputs: []string{"depth"}, Epsilon: 1e-3},
		{Name: "depth_relu", Kind: network.ReLU6, Inputs: []string{"depth_bn"}},
		{Name: "sum", Kind: network.Add, Inputs: []string{"stem_relu", "depth_relu"}},
		{Name: "last", Kind: network.Conv2D, Inputs: []string{"sum"}, Filters: 12, Kernel: 1, Stride: 1, Padding: network.Same},
		{Name: "stem_pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{"stem_relu"}},
		{Name: "pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{"last"}},
		{Name: "joined", Kind: network.Concatenate, Inputs: []string{"stem_pool", "pool"}},
		{Name: "pool_bn", Kind: network.BatchNormalization, Inputs: []string{"joined"}, Epsilon: 1e-3},
		{Name: "dropout", Kind: network.Dropout, Inputs: []string{"pool_bn"}, Rate: 0.2},
		{Name: "predictions", Kind: network.Dense, Inputs: []string{"dropout"}, Units: len(Labels()), Bias: true},
		{Name: "probabilities", Kind: network.Softmax, Inputs: []string{"predictions"}},
	}}
	return network.Model{Network: n, Weights: Random(t, n), Labels: Labels(), Usage: network.Usage{Threshold: 0.5}}
}

// clip makes weights for features that are clipped as a few photos have them.
func clip(t *testing.T, m network.Model) network.Weights {
	t.Helper()
	const photos = 24
	features, dim := Run(t, m, m.Network.Features, Photos(t, photos, m.Network.Size)), m.Network.FeatureDim
	mean, deviation := make([]float32, dim), make([]float32, dim)
	for i, x := range features {
		mean[i%dim] += x / photos
	}
	for i, x := range features {
		deviation[i%dim] += (x - mean[i%dim]) * (x - mean[i%dim]) / photos
	}
	for j, v := range deviation {
		deviation[j] = float32(math.Sqrt(float64(v))) + 1e-3
	}
	return network.ClipWeights(mean, deviation, 2)
}

// balance moves and scales the random head so that over a few photos each class' logit has mean 0 and deviation 1: as
// drawn, one class would win for every photo by what all photos have in common.
func balance(t *testing.T, m network.Model) {
	const photos = 12
	features := Run(t, m, m.Network.Features, Photos(t, photos, m.Network.Size))
	kernel, bias := m.Weights[network.PredictionsName+"/kernel"], m.Weights[network.PredictionsName+"/bias"]
	classes, dim := len(m.Labels), m.Network.FeatureDim
	for class := range classes {
		var logits [photos]float64
		mean, variance := 0.0, 0.0
		for i := range logits {
			for j, x := range features[i*dim : (i+1)*dim] {
				logits[i] += float64(x * kernel.Data[j*classes+class])
			}
			mean += logits[i] / photos
		}
		for _, logit := range logits {
			variance += (logit - mean) * (logit - mean) / photos
		}
		scale := float32(1 / math.Sqrt(variance))
		for j := range dim {
			kernel.Data[j*classes+class] *= scale
		}
		bias.Data[class] = -float32(mean) * scale
	}
}

// Random draws weights for every array of n, always the same ones. They keep activations within range through many
// layers, and the head is made strong, so that answers differ between images and errors show.
func Random(t *testing.T, n network.Network) network.Weights {
	t.Helper()
	arrays, err := n.Arrays()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 14))
	w := network.Weights{}
	for _, a := range arrays {
		data := make([]float32, a.Size())
		_, weight := filepath.Split(a.Name)
		for i := range data {
			v := r.NormFloat64()
			switch weight {
			case "kernel":
				data[i] = float32(v * math.Sqrt(2*float64(a.Shape[len(a.Shape)-1])/float64(len(data))))
			case "depthwise_kernel":
				data[i] = float32(v * math.Sqrt(2/float64(a.Shape[0]*a.Shape[1])))
			case "moving_variance", "gamma":
				data[i] = float32(0.75 + 0.5*r.Float64())
			default:
				data[i] = float32(0.1 * v)
			}
			if a.Name == network.PredictionsName+"/kernel" {
				data[i] *= 4
			}
		}
		w[a.Name] = network.Tensor{Shape: a.Shape, Data: data}
	}
	return w
}

// Answers are the probabilities that the trainer's own graph of m gives for images [n,size,size,3].
func Answers(t *testing.T, m network.Model, images []float32) []float32 {
	t.Helper()
	answers := Run(t, m, m.Network.Layers[len(m.Network.Layers)-1].Name, images)
	// Were all answers alike, a reader that ignores its input would agree.
	classes, spread := len(m.Labels), 0.0
	for i := classes; i < len(answers); i += classes {
		spread = max(spread, MaxDifference(t, answers[:classes], answers[i:i+classes]))
	}
	if len(answers) > classes && spread < 0.05 {
		t.Fatalf("the test's model answers alike for all photos, within %g", spread)
	}
	return answers
}

// Run returns the named layer's outputs for images, one after the other.
func Run(t *testing.T, m network.Model, layer string, images []float32) []float32 {
	t.Helper()
	frozen, err := graph.NewFrozen(m.Network, m.Weights, []string{layer}, graph.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := frozen.Close(); err != nil {
			t.Error(err)
		}
	})
	size := m.Network.Size
	batch, err := tf.FromFloats([]int{len(images) / (size * size * 3), size, size, 3}, images)
	if err != nil {
		t.Fatal(err)
	}
	out, err := frozen.Run(batch)
	if err != nil {
		t.Fatal(err)
	}
	values, err := tf.Floats(out[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// root is the repository's folder.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for ; filepath.Dir(dir) != dir; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "trainer", "setup", "venv.sh")); err == nil {
			return dir
		}
	}
	t.Fatal("the repository's root was not found above the test's folder")
	return ""
}

// PhotoFiles names n real JPEG photos, spread over the classes, or skips the test when the test data are absent.
func PhotoFiles(t *testing.T, n int) []string {
	t.Helper()
	files := Files(t, n, "trashnet", "*", "*.jpg")
	picked := make([]string, n)
	for i := range picked {
		picked[i] = files[i*len(files)/n]
	}
	return picked
}

// Files are the test images that match a pattern below the folder of test data, or the test is skipped when fewer than n
// are there.
func Files(t *testing.T, n int, pattern ...string) []string {
	t.Helper()
	data := os.Getenv("CULTIVAR_TEST_DATA")
	if data == "" {
		data = filepath.Join(root(t), "..", "shared", "data")
	}
	files, err := filepath.Glob(filepath.Join(data, filepath.Join(pattern...)))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < n {
		t.Skipf("SKIPPED, NOT CHECKED: no real photos in %s; set CULTIVAR_TEST_DATA to the folder with the test images", data)
	}
	return files
}

// Photos are n real photos as pixels [n,size,size,3] of 0…255.
func Photos(t *testing.T, n, size int) []float32 {
	t.Helper()
	var pixels []float32
	for _, name := range PhotoFiles(t, n) {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		photo, _, err := image.Decode(f)
		f.Close()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		small := image.NewRGBA(image.Rect(0, 0, size, size))
		draw.BiLinear.Scale(small, small.Bounds(), photo, photo.Bounds(), draw.Src, nil)
		for i := 0; i < len(small.Pix); i += 4 {
			for c := range 3 {
				pixels = append(pixels, float32(small.Pix[i+c]))
			}
		}
	}
	return pixels
}

// Python runs a script of export/testdata with the pinned environment and returns what it printed. Without the
// environment the test is skipped, or fails when CULTIVAR_REQUIRE_PYTHON is 1.
func Python(t *testing.T, env []string, script string, args ...string) []byte {
	t.Helper()
	dir := root(t)
	python := filepath.Join(dir, ".deps", "venv", "bin", "python")
	if _, err := os.Stat(filepath.Join(dir, ".deps", "venv", ".stamp")); err != nil {
		const hint = "the Python environment of the export tests is missing; make it with trainer/setup/venv.sh"
		if os.Getenv("CULTIVAR_REQUIRE_PYTHON") == "1" {
			t.Fatal(hint)
		}
		t.Skip("SKIPPED, NOT CHECKED: " + hint)
	}
	script = filepath.Join(dir, "trainer", "internal", "export", "testdata", script)
	cmd := exec.CommandContext(t.Context(), python, append([]string{script}, args...)...)
	// The trainer's own TensorFlow must not be found before the wheel's, and messages are kept out of the output.
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH=", "TF_CPP_MIN_LOG_LEVEL=3", "CUDA_VISIBLE_DEVICES=", "PYTHONDONTWRITEBYTECODE=1")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.Output()
	if err != nil {
		stderr := ""
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			stderr = string(exit.Stderr)
		}
		t.Fatalf("%s: %v\n%s", filepath.Base(script), err, stderr)
	}
	return out
}

// Tool finds a program of one of these names that a test needs beside the Python environment, or a file at a path below the
// repository. Without it the test is skipped, or fails when CULTIVAR_REQUIRE_BROWSER is 1; hint says how to get it.
func Tool(t *testing.T, hint string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if strings.Contains(name, "/") {
			name = filepath.Join(root(t), name)
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			return name
		}
	}
	if os.Getenv("CULTIVAR_REQUIRE_BROWSER") == "1" {
		t.Fatalf("%s is missing: %s", names[0], hint)
	}
	t.Skipf("SKIPPED, NOT CHECKED: %s is missing: %s", names[0], hint)
	return ""
}

// WriteFloats stores values as little-endian float32, for a script to read.
func WriteFloats(t *testing.T, values []float32) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "floats.bin")
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// MaxDifference is the largest absolute difference of two lists of equal length.
func MaxDifference(t *testing.T, a, b []float32) float64 {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%d values against %d", len(a), len(b))
	}
	worst := 0.0
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst
}
