package report_test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/report"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// made is a folder as a run of a few photos leaves it, and the model in it. A head that was not trained would not do: it turns
// the rounding of pixels into other answers.
func made(t *testing.T, fit data.Fit, formats ...export.Format) (string, network.Model) {
	t.Helper()
	const base = "efficientnet_lite0"
	installed := tasktest.Bases(t, base)
	spec := tasktest.Train(t, t.TempDir(), tasktest.Data(t, "trashnet"), 12)
	spec.Paths.Bases, spec.Recipe.Base, spec.Recipe.Preprocessing = installed, base, string(fit)
	spec.Recipe.Exports = []string{string(export.H5)}
	for _, f := range formats {
		if f != export.H5 {
			spec.Recipe.Exports = append(spec.Recipe.Exports, string(f))
		}
	}
	if _, err := attempt.Run(t.Context(), spec, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob(filepath.Join(spec.Paths.Attempt, "*", runspec.ArtifactsDir))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("folders %v, %v", dirs, err)
	}
	unpack(t, dirs[0])
	m, err := keras.Read(filepath.Join(dirs[0], "model.h5"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs[0], m
}

// unpack unpacks the archives of a folder in it.
func unpack(t *testing.T, dir string) {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join(dir, "*.zip"))
	if err != nil {
		t.Fatal(err)
	}
	for _, archive := range archives {
		r, err := zip.OpenReader(archive)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(dir, r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
}

// told is a run of one model file, as far as its use goes.
func told(m network.Model, fit data.Fit, threshold float64, file string, format export.Format) report.Run {
	r := report.Run{Used: runspec.Recipe{ImageSize: m.Network.Size, Preprocessing: string(fit)},
		Models: []runspec.Artifact{{Name: file, Format: string(format)}}}
	if threshold > 0 {
		r.Report.Threshold = &runspec.Threshold{Probability: runspec.Float(threshold)}
	}
	return r
}

// blocks are the samples of a language in usage.md.
func blocks(t *testing.T, r report.Run, language string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(text(t, report.Usage, r), -1) {
		all = append(all, m[1])
	}
	return all
}

// ours are the pixels of a photo as training prepares them, and the trained model's own answer.
func ours(t *testing.T, m network.Model, file []byte, fit data.Fit) (pixels, probabilities []float32) {
	t.Helper()
	var huge sync.Mutex
	decoder, err := data.NewDecoder(&huge)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	photo, err := decoder.Decode(file, data.Need(0, m.Network.Size))
	if err != nil {
		t.Fatal(err)
	}
	renderer := data.Renderer{Size: m.Network.Size, Fit: fit}
	pixels = make([]float32, renderer.Values())
	renderer.Render(pixels, photo, data.Plain())
	return pixels, answer(t, m, pixels)
}

// answer is the model's for one image.
func answer(t *testing.T, m network.Model, pixels []float32) []float32 {
	t.Helper()
	// Beside another one, as answers of a model that ignores what it sees would be alike.
	return exporttest.Answers(t, m, slices.Concat(pixels, make([]float32, len(pixels))))[:len(m.Labels)]
}

// sameAnswer holds what a sample printed, lines of "0.932  tulip", against our own answer.
func sameAnswer(t *testing.T, printed string, labels []string, want []float32, tolerance float64) {
	t.Helper()
	order := make([]int, len(want))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(want[b], want[a]) })
	lines := bufio.NewScanner(strings.NewReader(printed))
	for _, class := range order[:3] {
		if !lines.Scan() {
			t.Fatalf("it printed %q", printed)
		}
		share, label, _ := strings.Cut(lines.Text(), "  ")
		p, err := strconv.ParseFloat(share, 64)
		if err != nil || label != labels[class] || math.Abs(p-float64(want[class])) > tolerance {
			t.Errorf("it printed %q, we say %.3f  %s", lines.Text(), want[class], labels[class])
		}
	}
}

// python runs a sample as a person does who has it in a file beside the model and the photo.
func python(t *testing.T, dir, sample string) string {
	t.Helper()
	script := filepath.Join(dir, "sample.py")
	if err := os.WriteFile(script, []byte(sample), 0o644); err != nil {
		t.Fatal(err)
	}
	return string(tasktest.PythonIn(t, dir, script))
}

// lossless is a real photo as PNG: readers of JPEG differ by a level or two in each pixel, which is not what is looked at here.
func lossless(t *testing.T) []byte {
	t.Helper()
	f, err := os.Open(exporttest.PhotoFiles(t, 3)[1])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	photo, err := jpeg.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, photo); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A person copies a sample beside the files of a run and a photo; what it says must be what we say.
func TestSamplesRun(t *testing.T) {
	// The part of a photo of 640×480 that a web site draws, and where.
	parts := map[data.Fit]string{data.Stretch: "0,0,640,480,0,0,224,224", data.Crop: "80,0,480,480,0,0,224,224"}
	for fit, samples := range map[data.Fit][]pythonSample{
		data.Stretch: {
			{"Keras", "model.h5", export.H5, 0, 0.03},
			{"TensorFlow Lite", "model.tflite", export.TFLite, 0.01, 0.03},
			{"TensorFlow Lite in integers", "model-int8.tflite", export.TFLiteInt8, 0, 0.15},
			{"ONNX", "model.onnx", export.ONNX, 0.9999, 0.03},
		},
		data.Crop: {
			{"Keras 3", "model.keras", export.Keras, 0.01, 0.03},
			{"SavedModel", "savedmodel.zip", export.SavedModel, 0.9999, 0.03},
		},
	} {
		t.Run(string(fit), func(t *testing.T) {
			if fit == data.Crop && testing.Short() {
				t.Skip("takes long")
			}
			formats := []export.Format{export.TFJS}
			for _, s := range samples {
				formats = append(formats, s.format)
			}
			dir, m := made(t, fit, formats...)
			photo := lossless(t)
			if err := os.WriteFile(filepath.Join(dir, "photo.jpg"), photo, 0o644); err != nil {
				t.Fatal(err)
			}
			_, want := ours(t, m, photo, fit)
			for _, s := range samples {
				t.Run(s.name, func(t *testing.T) { s.check(t, dir, told(m, fit, s.threshold, s.file, s.format), m.Labels, want) })
			}
			t.Run("JavaScript", func(t *testing.T) { javaScript(t, dir, m, fit, parts[fit]) })
		})
	}
}

// pythonSample is a sample to be run.
type pythonSample struct {
	name, file string
	format     export.Format
	threshold  float64
	tolerance  float64 // Pillow rounds to whole numbers on the way
}

func (s pythonSample) check(t *testing.T, dir string, r report.Run, labels []string, want []float32) {
	all := blocks(t, r, "python")
	if len(all) != 1 {
		t.Fatalf("%d samples", len(all))
	}
	printed := python(t, dir, all[0])
	sameAnswer(t, printed, labels, want, s.tolerance)
	if unsure := float64(slices.Max(want)) < s.threshold; strings.Contains(printed, "unsure") != unsure {
		t.Errorf("with the threshold %v it printed %q", s.threshold, printed)
	}
	if lines := strings.Count(all[0], "\n"); lines > 18 {
		t.Errorf("the sample has %d lines", lines)
	}
}

// javaScript runs the sample for web sites in Node with what browsers have: a canvas, which takes the photo as it is given,
// and fetch. drawn is what it is to draw.
func javaScript(t *testing.T, dir string, m network.Model, fit data.Fit, drawn string) {
	node := exporttest.Tool(t, "install Node.js with trainer/setup/browser.sh", "node")
	bundle := exporttest.Tool(t, "fetch TensorFlow.js with trainer/setup/tfjs.sh", ".deps/tfjs/tf.min.js")
	pixels, _ := ours(t, m, lossless(t), fit)
	want := answer(t, m, whole(pixels))
	picture := pictureOf(t, pixels, m.Network.Size)
	for name, threshold := range map[string]float64{"without a threshold": 0, "sure": 0.01, "unsure": 0.9999} {
		t.Run(name, func(t *testing.T) {
			sample := filepath.Join(t.TempDir(), "sample.js")
			samples := blocks(t, told(m, fit, threshold, "tfjs.zip", export.TFJS), "js")
			if err := os.WriteFile(sample, []byte(samples[0]), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), node, absolute(t, "testdata/browser.js"), bundle, sample, picture)
			cmd.Dir = dir
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr(err))
			}
			first, printed, _ := strings.Cut(string(out), "\n")
			if first != drawn {
				t.Errorf("it draws %s, want %s", first, drawn)
			}
			if float64(slices.Max(want)) >= threshold {
				sameAnswer(t, printed, m.Labels, want, 1e-3)
			} else if printed != "" {
				t.Errorf("it is unsure, but says %q", printed)
			}
		})
	}
}

// whole is pixels as a canvas has them.
func whole(pixels []float32) []float32 {
	out := make([]float32, len(pixels))
	for i, v := range pixels {
		out[i] = float32(math.Round(float64(min(255, max(0, v)))))
	}
	return out
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}

func stderr(err error) []byte {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.Stderr
	}
	return nil
}

// pictureOf stores pixels as the bytes of a canvas: red, green, blue and opacity.
func pictureOf(t *testing.T, pixels []float32, size int) string {
	t.Helper()
	var all []byte
	for i := 0; i < size*size*3; i += 3 {
		for _, v := range whole(pixels[i : i+3]) {
			all = append(all, byte(v))
		}
		all = append(all, 255)
	}
	path := filepath.Join(t.TempDir(), "pixels.rgba")
	if err := os.WriteFile(path, all, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Each format has its part, and only those that were made.
func TestUsageHasWhatWasMade(t *testing.T) {
	for format, heading := range map[export.Format]string{
		export.H5: "## Keras", export.Keras: "## Keras", export.SavedModel: "## TensorFlow SavedModel", export.TFLite: "## Android",
		export.TFLiteInt8: "## TensorFlow Lite (LiteRT)", export.ONNX: "## ONNX Runtime", export.TFJS: "## A web site",
		export.Page: "## A browser", export.CoreML: "## iPhone",
	} {
		r := report.Run{Used: runspec.Recipe{ImageSize: 224}, Models: []runspec.Artifact{{Name: "the-file", Format: string(format)}}}
		usage := text(t, report.Usage, r)
		if !strings.Contains(usage, heading) || !strings.Contains(usage, "the-file") {
			t.Errorf("%s: there is no %q, or its file is not named", format, heading)
		}
		most := 1
		if strings.HasPrefix(string(format), "tflite") {
			most = 2 // and Android
		}
		if n := strings.Count(usage, "\n## "); n != most {
			t.Errorf("%s: %d parts", format, n)
		}
		if strings.Contains(usage, "unsure") {
			t.Errorf("%s: a model without threshold is unsure", format)
		}
	}
	r := report.Run{Models: []runspec.Artifact{{Name: "a.tflite", Format: "tflite"}, {Name: "b.tflite", Format: "tflite_int8"}, {Name: "c.h5", Format: "h5"},
		{Name: "d.keras", Format: "keras"}}}
	for _, want := range []string{"The same code runs `b.tflite`.", "`d.keras` is loaded the same way", `load_model("c.h5"`} {
		if !strings.Contains(text(t, report.Usage, r), want) {
			t.Errorf("%q is not said", want)
		}
	}
}
