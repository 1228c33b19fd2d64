package keras_test

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

	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/hdf"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

var update = flag.Bool("update", false, "write the golden files anew")

func write(t *testing.T, m network.Model) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.h5")
	if err := keras.Write(path, m); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadGivesBackWhatWasWritten(t *testing.T) {
	thin, err := network.MobileNetV2(0.35)
	if err == nil {
		thin, err = thin.Deep()
	}
	if err == nil {
		thin, err = thin.WithHead(len(exporttest.Labels()), 0.2)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]network.Model{
		"small":            exporttest.Small(t),
		"mobilenet_v2_035": {Network: thin, Weights: exporttest.Random(t, thin), Labels: exporttest.Labels()},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := keras.Read(write(t, m))
			if err != nil {
				t.Fatal(err)
			}
			want := m
			want.Network.Cuts = nil // not in the file
			if !reflect.DeepEqual(got.Network, want.Network) {
				t.Errorf("network\n%+v\nwant\n%+v", got.Network, want.Network)
			}
			if !reflect.DeepEqual(got.Weights, want.Weights) {
				t.Error("the weights changed")
			}
			if !slices.Equal(got.Labels, want.Labels) {
				t.Errorf("labels %q, want %q", got.Labels, want.Labels)
			}
		})
	}
}

func TestWriteIsDeterministic(t *testing.T) {
	m := exporttest.Small(t)
	first, err := os.ReadFile(write(t, m))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(write(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(first, second) {
		t.Error("the same model gave two different files")
	}
}

func TestWriteRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*network.Model){
		"labels that do not fit": func(m *network.Model) { m.Labels = m.Labels[1:] },
		"a label not in UTF-8":   func(m *network.Model) { m.Labels[2] = "\xff" },
		"a missing weight":       func(m *network.Model) { delete(m.Weights, "stem/kernel") },
		"a slash in a name":      func(m *network.Model) { m.Network.Layers[len(m.Network.Layers)-1].Name = "a/b" },
		"a second output":        func(m *network.Model) { m.Network.Layers[9].Inputs = []string{"stem_relu", "stem_relu"} },
	} {
		t.Run(name, func(t *testing.T) {
			m := exporttest.Small(t)
			spoil(&m)
			if err := keras.Write(filepath.Join(t.TempDir(), "model.h5"), m); err == nil {
				t.Error("it was written")
			}
		})
	}
}

func TestStructure(t *testing.T) {
	listing := exporttest.Python(t, nil, "h5_list.py", write(t, exporttest.Small(t)))
	golden := filepath.Join("testdata", "small.txt")
	if *update {
		if err := os.WriteFile(golden, listing, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(listing) != string(want) {
		t.Errorf("the file's structure changed; it is now\n%s", listing)
	}
}

// answer is what keras_predict.py prints for one file.
type answer struct {
	Version       string
	Probabilities []float32
	Labels        []string
	Layers        []string
	Parameters    int
	ConfigBytes   int `json:"config_bytes"`
}

func TestSmallAgrees(t *testing.T) { kerasAgrees(t, exporttest.Small(t)) }

func TestBasesAgree(t *testing.T) {
	kerasAgrees(t, exporttest.Clipped(t, "efficientnet_lite0"), exporttest.Base(t, "mobilenet_v2"), exporttest.Forked(t, "mobilenet_v2"))
}

// kerasAgrees loads the written files with both implementations of Keras and compares their answers for real photos.
func kerasAgrees(t *testing.T, models ...network.Model) {
	var args []string
	var want [][]float32
	for _, m := range models {
		photos := exporttest.Photos(t, 12, m.Network.Size)
		want = append(want, exporttest.Answers(t, m, photos))
		args = append(args, write(t, m), exporttest.WriteFloats(t, photos), strconv.Itoa(m.Network.Size))
	}
	for which, env := range map[string][]string{"keras3": nil, "tf_keras": {"TF_USE_LEGACY_KERAS=1"}} {
		t.Run(which, func(t *testing.T) {
			out := exporttest.Python(t, env, "keras_predict.py", append([]string{which}, args...)...)
			var got []answer
			if err := json.Unmarshal(out, &got); err != nil || len(got) != len(models) {
				t.Fatalf("%d answers (%v) in %s", len(got), err, out)
			}
			for i, m := range models {
				got[i].compare(t, m, want[i])
			}
		})
	}
}

func (a answer) compare(t *testing.T, m network.Model, want []float32) {
	t.Helper()
	worst := exporttest.MaxDifference(t, a.Probabilities, want)
	t.Logf("%s: Keras %s differs by %.2g at most; model_config has %d bytes", m.Network.Name, a.Version, worst, a.ConfigBytes)
	if worst > 1e-4 {
		t.Errorf("%s: Keras %s differs by %g", m.Network.Name, a.Version, worst)
	}
	if m.Network.Size > 200 && a.ConfigBytes <= 64<<10 {
		t.Errorf("model_config has %d bytes: this no longer tests one above 64 KiB", a.ConfigBytes)
	}
	if !slices.Equal(a.Labels, m.Labels) {
		t.Errorf("labels %q, want %q", a.Labels, m.Labels)
	}
	if params, err := m.Network.Params(); err != nil || params != a.Parameters {
		t.Errorf("%d parameters, want %d (%v)", a.Parameters, params, err)
	}
	var layers []string
	for _, l := range m.Network.Layers {
		layers = append(layers, l.Name)
	}
	if !slices.Equal(a.Layers, layers) {
		t.Errorf("layers %q, want %q", a.Layers, layers)
	}
}

// What Keras 2 writes after loading our file, for example when someone trained it on, is read as the same network: the
// reader understands Keras' own dialect and not only what was written here.
func TestReadsWhatKerasSaves(t *testing.T) {
	m := exporttest.Small(t)
	saved := filepath.Join(t.TempDir(), "saved.h5")
	exporttest.Python(t, []string{"TF_USE_LEGACY_KERAS=1"}, "keras_resave.py", write(t, m), saved)
	got, err := keras.Read(saved)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Network, m.Network) {
		t.Errorf("network\n%+v\nwant\n%+v", got.Network, m.Network)
	}
	if !reflect.DeepEqual(got.Weights, m.Weights) {
		t.Error("the weights changed")
	}
	if got.Labels != nil {
		t.Errorf("labels %q from a file that has none", got.Labels)
	}
}

// Files that are no Keras models, or that someone damaged, are refused with a sentence rather than misread.
func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	text := func(name, config string) string {
		path := filepath.Join(dir, name)
		if err := hdf.Create(path, func(g hdf.Group) error { return g.SetText("model_config", config) }); err != nil {
			t.Fatal(err)
		}
		return path
	}
	empty := filepath.Join(dir, "empty.h5")
	if err := hdf.Create(empty, func(hdf.Group) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, want string }{
		"absent":     {filepath.Join(dir, "absent.h5"), "no such file"},
		"no config":  {empty, "weights only"},
		"not JSON":   {text("json.h5", "{"), "model configuration"},
		"sequential": {text("sequential.h5", `{"class_name":"Sequential","config":{"layers":[]}}`), "Sequential"},
		"no layers":  {text("layers.h5", `{"class_name":"Functional","config":{"name":"x","layers":[]}}`), "begin with an input"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := keras.Read(c.path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}
