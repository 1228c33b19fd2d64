package tflite_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/labels"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

var kinds = []tflite.Kind{tflite.Float32, tflite.Float16, tflite.Int8}

// each yields images one by one, so that Write sees that many pieces.
func each(images []float32, size int) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		for image := range slices.Chunk(images, size*size*3) {
			if !yield(image, nil) {
				return
			}
		}
	}
}

func write(t *testing.T, m network.Model, kind tflite.Kind, calibrate []float32) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), string(kind)+".tflite")
	if err := tflite.Write(path, m, tflite.Options{Kind: kind, Calibrate: each(calibrate, m.Network.Size)}); err != nil {
		t.Fatal(err)
	}
	return path
}

// answers are what a written file answers when the trainer runs it.
func answers(t *testing.T, path string, m network.Model, images []float32) []float32 {
	t.Helper()
	model, err := tflite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	if want := strings.Split(strings.TrimSuffix(string(labels.Text(m.Labels)), "\n"), "\n"); !slices.Equal(model.Labels, want) {
		t.Errorf("labels %q, want %q", model.Labels, want)
	}
	if model.Usage != m.Usage {
		t.Errorf("usage %+v, want %+v", model.Usage, m.Usage)
	}
	if model.Size != m.Network.Size {
		t.Errorf("size %d, want %d", model.Size, m.Network.Size)
	}
	var all []float32
	for batch := range slices.Chunk(images, 16*model.Size*model.Size*3) {
		some, err := model.Predict(batch)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, some...)
	}
	return all
}

// compare returns the share of images with the same first class, and the mean difference of probabilities.
func compare(t *testing.T, got, want []float32, classes int) (agreement, difference float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d answers against %d", len(got), len(want))
	}
	same := 0
	for i := 0; i < len(got); i += classes {
		if first(got[i:i+classes]) == first(want[i:i+classes]) {
			same++
		}
	}
	for i := range got {
		difference += math.Abs(float64(got[i]-want[i])) / float64(len(got))
	}
	return float64(same) * float64(classes) / float64(len(got)), difference
}

func first(row []float32) int { return slices.Index(row, slices.Max(row)) }

// ran is what predict.py prints for one file.
type ran struct {
	Ends          []string
	Probabilities []float32
	Batch         []float32
	Named         []float32
	MS            float64
	MediaPipe     struct {
		Head   string
		Labels []string
		Scores []float32
		Sure   []float32 // 0 where MediaPipe leaves the class out
	}
}

// run has LiteRT and MediaPipe answer for the images with each file.
func run(t *testing.T, images []float32, size int, paths ...string) []ran {
	t.Helper()
	args := append([]string{exporttest.WriteFloats(t, images), strconv.Itoa(size)}, paths...)
	out := exporttest.Python(t, nil, filepath.Join("..", "tflite", "testdata", "predict.py"), args...)
	var all []ran
	if err := json.Unmarshal(out, &all); err != nil || len(all) != len(paths) {
		t.Fatalf("%d answers (%v) in %s", len(all), err, out)
	}
	return all
}

// check holds what is the same for every model: names, types, batches, and MediaPipe's class names and answers.
func (r ran) check(t *testing.T, kind tflite.Kind, m network.Model) {
	t.Helper()
	in, out := fmt.Sprintf("image: float32[-1, %d, %d, 3] 0 0", m.Network.Size, m.Network.Size), fmt.Sprintf("probabilities: float32[-1, %d] 0 0", len(m.Labels))
	if kind == tflite.Int8 {
		in, out = strings.Replace(in, "float32", "uint8", 1), strings.Replace(out, "float32", "uint8", 1)
		in, out = strings.Replace(in, " 0 0", " 1 0", 1), strings.Replace(out, " 0 0", " 0.00390625 0", 1)
	}
	if !slices.Equal(r.Ends, []string{in, out}) {
		t.Errorf("%s: it goes from and to %q, want %q", kind, r.Ends, []string{in, out})
	}
	if worst := exporttest.MaxDifference(t, r.Batch, r.Probabilities[:len(r.Batch)]); worst > 1e-5 {
		t.Errorf("%s: three images at once differ by %g from one at a time", kind, worst)
	}
	if worst := exporttest.MaxDifference(t, r.Named, r.Probabilities[:len(m.Labels)]); worst > 1e-5 {
		t.Errorf("%s: by its signature it differs by %g", kind, worst)
	}
	names := strings.Split(strings.TrimSuffix(string(labels.Text(m.Labels)), "\n"), "\n")
	for i, score := range r.MediaPipe.Scores { // of what has none at all MediaPipe tells no name
		if score == 0 && kind == tflite.Int8 {
			names[i] = ""
		}
	}
	if !slices.Equal(r.MediaPipe.Labels, names) || r.MediaPipe.Head != "probabilities" {
		t.Errorf("%s: MediaPipe names %q of %q, want %q", kind, r.MediaPipe.Labels, r.MediaPipe.Head, names)
	}
	// MediaPipe has kernels of another version.
	if worst := exporttest.MaxDifference(t, r.MediaPipe.Scores, r.Probabilities[:len(m.Labels)]); worst > 0.02 {
		t.Errorf("%s: MediaPipe's answer differs by %g", kind, worst)
	}
	for i, score := range r.MediaPipe.Scores {
		if sure := score > 0 && float64(score) >= m.Usage.Threshold; sure != (r.MediaPipe.Sure[i] > 0) { // an answer of 0 is none
			t.Errorf("%s: with the threshold %g MediaPipe answers %v of %v", kind, m.Usage.Threshold, r.MediaPipe.Sure, r.MediaPipe.Scores)
		}
	}
}

func TestRuntimesAgree(t *testing.T) {
	m := exporttest.Small(t)
	size, classes := m.Network.Size, len(m.Labels)
	photos := exporttest.Photos(t, 220, size)
	calibrate, photos := photos[:110*size*size*3], photos[110*size*size*3:]
	want := exporttest.Answers(t, m, photos)
	var paths []string
	for _, kind := range kinds {
		paths = append(paths, write(t, m, kind, calibrate))
	}
	for i, r := range run(t, photos, size, paths...) {
		kind := kinds[i]
		r.check(t, kind, m)
		simulated := answers(t, paths[i], m, photos)
		agreement, difference := compare(t, r.Probabilities, want, classes)
		alike, off := compare(t, simulated, r.Probabilities, classes)
		t.Logf("%s: agrees on %.3f, differs by %.2g; simulated on %.3f, by %.2g", kind, agreement, difference, alike, off)
		bars := map[tflite.Kind][4]float64{ // agreement, mean difference; the same of the simulation with the runtime
			tflite.Float32: {1, 1e-5, 1, 1e-5}, tflite.Float16: {1, 1e-3, 1, 1e-5}, tflite.Int8: {0.9, 0.02, 0.95, 0.005}}[kind]
		if agreement < bars[0] || difference > bars[1] {
			t.Errorf("%s agrees with the trainer on %.3f and differs by %.2g", kind, agreement, difference)
		}
		if alike < bars[2] || off > bars[3] {
			t.Errorf("%s: LiteRT and the simulation agree on %.3f and differ by %.2g", kind, alike, off)
		}
	}
}

func TestWriteIsDeterministic(t *testing.T) {
	m := exporttest.Small(t)
	images := exporttest.Photos(t, 20, m.Network.Size)
	for _, kind := range kinds {
		first, err := os.ReadFile(write(t, m, kind, images))
		if err != nil {
			t.Fatal(err)
		}
		second, err := os.ReadFile(write(t, m, kind, images))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(first, second) {
			t.Errorf("%s: the same model gave two different files", kind)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	broken := errors.New("broken photo")
	for name, c := range map[string]struct {
		spoil func(*network.Model)
		o     tflite.Options
		want  string
	}{
		"labels that do not fit":  {func(m *network.Model) { m.Labels = m.Labels[1:] }, tflite.Options{Kind: tflite.Float32}, "its 7 classes"},
		"a label not in UTF-8":    {func(m *network.Model) { m.Labels[2] = "\xff" }, tflite.Options{Kind: tflite.Float32}, "UTF-8"},
		"a missing weight":        {func(m *network.Model) { delete(m.Weights, "stem/kernel") }, tflite.Options{Kind: tflite.Float32}, "stem/kernel"},
		"no probabilities":        {func(m *network.Model) { m.Network.Layers = m.Network.Layers[:len(m.Network.Layers)-1] }, tflite.Options{Kind: tflite.Float32}, "instead of probabilities"},
		"an unknown kind":         {func(*network.Model) {}, tflite.Options{Kind: "int4"}, "int4"},
		"no calibration":          {func(*network.Model) {}, tflite.Options{Kind: tflite.Int8}, "needs images"},
		"no calibration images":   {func(*network.Model) {}, tflite.Options{Kind: tflite.Int8, Calibrate: each(nil, 32)}, "no calibration images"},
		"half an image":           {func(*network.Model) {}, tflite.Options{Kind: tflite.Int8, Calibrate: each(make([]float32, 100), 32)}, "no whole images"},
		"a photo that is damaged": {func(*network.Model) {}, tflite.Options{Kind: tflite.Int8, Calibrate: func(yield func([]float32, error) bool) { yield(nil, broken) }}, "broken photo"},
	} {
		t.Run(name, func(t *testing.T) {
			m := exporttest.Small(t)
			c.spoil(&m)
			path := filepath.Join(t.TempDir(), "model.tflite")
			if err := tflite.Write(path, m, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("a file was left behind")
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	whole, err := os.ReadFile(write(t, exporttest.Small(t), tflite.Float32, nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"absent":            {nil, "no such file"},
		"empty":             {[]byte{}, "does not begin"},
		"text":              {[]byte("this is no model at all"), "does not begin"},
		"half of it":        {whole[:len(whole)/2], "damaged"},
		"without its names": {whole[:len(whole)-200], "class names"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			if c.file != nil {
				if err := os.WriteFile(path, c.file, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := tflite.Open(path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}
