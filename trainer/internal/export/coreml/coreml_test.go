package coreml_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/coreml"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/plain"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	photos        = 100
	halfPhotos    = 20
	tolerance     = 1e-4 // of probabilities
	halfTolerance = 0.05 // with weights of 11 binary digits, through fifty layers
)

func write(t *testing.T, m network.Model, o coreml.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.mlmodel")
	if err := coreml.Write(path, m, o); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) network.Model {
	t.Helper()
	m, err := coreml.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// answer is what coreml_run.py prints for one file.
type answer struct {
	Listing       string
	Layers        int
	Labels        []string
	Probabilities []float32
	Halved        []float32 // by coremltools' own tool
}

// compare holds probabilities for the first images against the trained model's: close, and, but for half floats, the same
// first class for each image.
func compare(t *testing.T, who string, classes int, got, want []float32, allowed float64) {
	t.Helper()
	want = want[:len(got)]
	worst := exporttest.MaxDifference(t, got, want)
	same, images := 0, len(want)/classes
	for i := 0; i < len(want); i += classes {
		if first(got[i:i+classes]) == first(want[i:i+classes]) {
			same++
		}
	}
	t.Logf("%s: differs by %.2g, same class for %d of %d images", who, worst, same, images)
	if worst > allowed || same != images && allowed == tolerance {
		t.Errorf("%s: differs by %g, same class for %d of %d images", who, worst, same, images)
	}
}

func first(row []float32) int { return slices.Index(row, slices.Max(row)) }

// The models that are written and computed, by name. One call of Python serves them all, as it takes long to start.
func TestAgrees(t *testing.T) {
	models := map[string]network.Model{"small": exporttest.Small(t)}
	for name, base := range map[string]func(*testing.T, string) network.Model{"efficientnet_lite0": exporttest.Clipped, "mobilenet_v2": exporttest.Base} {
		t.Run("base "+name, func(t *testing.T) { models[name] = base(t, name) })
	}
	t.Run("trained", func(t *testing.T) {
		path := os.Getenv("CULTIVAR_TEST_H5")
		if path == "" {
			t.Skip("SKIPPED, NOT CHECKED: set CULTIVAR_TEST_H5 to the model.h5 of a training")
		}
		m, err := keras.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		models["trained"] = m
	})
	var names, args []string
	images := map[string][]float32{}
	for name, m := range models {
		size := m.Network.Size
		images[name] = exporttest.Photos(t, photos, size)
		names = append(names, name)
		args = append(args, write(t, m, coreml.Options{}), exporttest.WriteFloats(t, images[name]), strconv.Itoa(size))
		few := exporttest.WriteFloats(t, images[name][:halfPhotos*size*size*3])
		args = append(args, write(t, m, coreml.Options{Half: true}), few, strconv.Itoa(size))
	}
	out := exporttest.Python(t, nil, "../coreml/testdata/coreml_run.py", args...)
	var got []answer
	if err := json.Unmarshal(out, &got); err != nil || len(got) != 2*len(models) {
		t.Fatalf("%d answers (%v)", len(got), err)
	}
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			agrees(t, models[name], images[name], got[2*i], args[6*i], tolerance)
			agrees(t, models[name], images[name], got[2*i+1], args[6*i+3], halfTolerance)
			if name == "small" {
				checkGolden(t, got[2*i].Listing)
			}
		})
	}
}

// agrees compares what was computed from the file, by Python and by our own reader, with the trained model's own graph.
func agrees(t *testing.T, m network.Model, images []float32, a answer, path string, allowed float64) {
	classes := len(m.Labels)
	images = images[:len(a.Probabilities)/classes*m.Network.Size*m.Network.Size*3]
	want := exporttest.Answers(t, m, images)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d bytes, %d layers", m.Network.Name, info.Size(), a.Layers)
	compare(t, "computed from the file in Python", classes, a.Probabilities, want, allowed)
	if len(a.Halved) > 0 {
		compare(t, "halved by coremltools", classes, a.Halved, want, halfTolerance)
	}
	compare(t, "read back", classes, exporttest.Answers(t, read(t, path), images), want, allowed)
	if !slices.Equal(a.Labels, m.Labels) {
		t.Errorf("labels %q, want %q", a.Labels, m.Labels)
	}
}

func checkGolden(t *testing.T, listing string) {
	t.Helper()
	golden := filepath.Join("testdata", "small.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(listing), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if listing != string(want) {
		t.Errorf("the file's structure changed; it is now\n%s", listing)
	}
}

func TestReadGivesBackWhatWasWritten(t *testing.T) {
	for name, m := range map[string]network.Model{
		"small":              exporttest.Small(t),
		"mobilenet_v2_035":   random(t, "mobilenet_v2_035"),
		"efficientnet_lite2": random(t, "efficientnet_lite2"),
	} {
		t.Run(name, func(t *testing.T) {
			want, err := plain.Of(m)
			if err != nil {
				t.Fatal(err)
			}
			net, err := plain.Of(read(t, write(t, m, coreml.Options{})))
			if err != nil || !reflect.DeepEqual(net, want) {
				t.Errorf("the plain form changed (%v)", err)
			}
			half := read(t, write(t, m, coreml.Options{Half: true}))
			again := read(t, write(t, half, coreml.Options{Half: true}))
			if !reflect.DeepEqual(half, again) {
				t.Error("weights that were halved change when they are halved again")
			}
			if norm := "pool_bn/moving_variance"; name == "small" && !reflect.DeepEqual(half.Weights[norm], m.Weights[norm]) {
				t.Error("a batch norm was halved")
			}
		})
	}
}

// random is a base with features of several depths and random weights.
func random(t *testing.T, base string) network.Model {
	t.Helper()
	n, err := network.ByName(base)
	if err == nil {
		n, err = n.Deep()
	}
	if err == nil {
		n, err = n.WithHead(len(exporttest.Labels()), 0.2)
	}
	if err != nil {
		t.Fatal(err)
	}
	return network.Model{Network: n, Weights: exporttest.Random(t, n), Labels: exporttest.Labels()}
}

func TestWriteIsDeterministic(t *testing.T) {
	var files [2][]byte
	for i := range files {
		var err error
		if files[i], err = os.ReadFile(write(t, exporttest.Small(t), coreml.Options{Half: true})); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(files[0], files[1]) {
		t.Error("the same model gave two different files")
	}
}

func TestWriteRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*network.Model)
		want  string
	}{
		"labels that do not fit":  {func(m *network.Model) { m.Labels = m.Labels[1:] }, "7 classes"},
		"two labels alike":        {func(m *network.Model) { m.Labels[2] = m.Labels[3] }, "two classes"},
		"a missing weight":        {func(m *network.Model) { delete(m.Weights, "stem/kernel") }, "stem/kernel"},
		"a weight above the half": {func(m *network.Model) { m.Weights["last/kernel"].Data[3] = 65520 }, "last/kernel"},
		"no rescaling":            {func(m *network.Model) { m.Network.Layers[1].Kind = network.ReLU6 }, "rescaling"},
		"an image used twice": {func(m *network.Model) {
			m.Network.Layers[11].Inputs = []string{"input"}
			m.Weights = exporttest.Random(t, m.Network)
		}, "rescaling"},
		"a layer named classLabel": {func(m *network.Model) {
			m.Network.Layers[13].Name, m.Network.Layers[14].Inputs[0] = "classLabel", "classLabel"
		}, "input or output"},
	} {
		t.Run(name, func(t *testing.T) {
			m := exporttest.Small(t)
			c.spoil(&m)
			path := filepath.Join(t.TempDir(), "model.mlmodel")
			if err := coreml.Write(path, m, coreml.Options{Half: true}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}
