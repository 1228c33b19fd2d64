package keras_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

func writeNative(t *testing.T, m network.Model) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.keras")
	if err := keras.WriteNative(path, m); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Fatalf("beside it are %v, %v", entries, err)
	}
	return path
}

// crossed is a network whose layers do not stand in the order in which Keras counts them: the right branch is deeper and
// named first.
func crossed(t *testing.T) network.Model {
	t.Helper()
	n := network.Network{Name: "crossed", Size: 16, Features: "joined", FeatureDim: 20, Layers: []network.Layer{
		{Name: "input", Kind: network.Input},
		{Name: "rescaling", Kind: network.Rescaling, Inputs: []string{"input"}, Scale: 1 / 127.5, Offset: -1},
		{Name: "left", Kind: network.Conv2D, Inputs: []string{"rescaling"}, Filters: 12, Kernel: 3, Stride: 2, Padding: network.Same, Bias: true},
		{Name: "left_pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{"left"}},
		{Name: "right", Kind: network.Conv2D, Inputs: []string{"rescaling"}, Filters: 12, Kernel: 3, Stride: 2, Padding: network.Same, Bias: true},
		{Name: "right_two", Kind: network.Conv2D, Inputs: []string{"right"}, Filters: 8, Kernel: 1, Stride: 1, Padding: network.Same, Bias: true},
		{Name: "right_pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{"right_two"}},
		{Name: "joined", Kind: network.Concatenate, Inputs: []string{"right_pool", "left_pool"}},
		{Name: "predictions", Kind: network.Dense, Inputs: []string{"joined"}, Units: len(exporttest.Labels()), Bias: true},
		{Name: "probabilities", Kind: network.Softmax, Inputs: []string{"predictions"}},
	}}
	return network.Model{Network: n, Weights: exporttest.Random(t, n), Labels: exporttest.Labels()}
}

func TestReadNativeGivesBackWhatWasWritten(t *testing.T) {
	for name, m := range map[string]network.Model{"small": exporttest.Small(t), "crossed": crossed(t)} {
		t.Run(name, func(t *testing.T) {
			got, err := keras.ReadNative(writeNative(t, m))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, m) {
				t.Errorf("got\n%+v\nwant\n%+v", got.Network, m.Network)
			}
		})
	}
}

func TestWriteNativeIsDeterministic(t *testing.T) {
	var files [2][]byte
	for i := range files {
		var err error
		if files[i], err = os.ReadFile(writeNative(t, exporttest.Small(t))); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the same model gave two different files")
	}
}

func TestWriteNativeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*network.Model){
		"labels that do not fit": func(m *network.Model) { m.Labels = m.Labels[1:] },
		"a label not in UTF-8":   func(m *network.Model) { m.Labels[2] = "\xff" },
		"a missing weight":       func(m *network.Model) { delete(m.Weights, "stem/kernel") },
	} {
		t.Run(name, func(t *testing.T) {
			m := exporttest.Small(t)
			spoil(&m)
			dir := t.TempDir()
			if err := keras.WriteNative(filepath.Join(dir, "model.keras"), m); err == nil {
				t.Error("it was written")
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

// nativeAnswer is what keras_native.py prints for one file.
type nativeAnswer struct {
	Version       string
	Probabilities []float32
	Labels        []string
	Layers        []string
	Parameters    int
	Warnings      []string
	Listing       string
}

// nativeAgrees has Keras 3 load the written files and compares its answers for real photos.
func nativeAgrees(t *testing.T, models ...network.Model) []nativeAnswer {
	t.Helper()
	var args []string
	var want [][]float32
	for _, m := range models {
		photos := exporttest.Photos(t, 12, m.Network.Size)
		want = append(want, exporttest.Answers(t, m, photos))
		args = append(args, writeNative(t, m), exporttest.WriteFloats(t, photos), strconv.Itoa(m.Network.Size))
	}
	var got []nativeAnswer
	out := exporttest.Python(t, nil, filepath.Join("..", "keras", "testdata", "keras_native.py"), args...)
	if err := json.Unmarshal(out, &got); err != nil || len(got) != len(models) {
		t.Fatalf("%d answers (%v) in %s", len(got), err, out)
	}
	for i, m := range models {
		worst := exporttest.MaxDifference(t, got[i].Probabilities, want[i])
		t.Logf("%s: Keras %s differs by %.2g at most", m.Network.Name, got[i].Version, worst)
		if worst > 1e-4 {
			t.Errorf("%s: Keras %s differs by %g", m.Network.Name, got[i].Version, worst)
		}
		if len(got[i].Warnings) > 0 {
			t.Errorf("%s: Keras warns %q", m.Network.Name, got[i].Warnings)
		}
		if !slices.Equal(got[i].Labels, m.Labels) {
			t.Errorf("labels %q, want %q", got[i].Labels, m.Labels)
		}
		if params, err := m.Network.Params(); err != nil || params != got[i].Parameters {
			t.Errorf("%d parameters, want %d (%v)", got[i].Parameters, params, err)
		}
	}
	return got
}

func TestNativeSmallAgrees(t *testing.T) {
	got := nativeAgrees(t, exporttest.Small(t), crossed(t))
	golden := filepath.Join("testdata", "small_native.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got[0].Listing), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Listing != string(want) {
		t.Errorf("the file's structure changed; it is now\n%s", got[0].Listing)
	}
	if first, second := slices.Index(got[1].Layers, "right"), slices.Index(got[1].Layers, "left"); first > second {
		t.Errorf("Keras counts the layers in the order %q: this no longer tests another order than the network's", got[1].Layers)
	}
}

func TestNativeBasesAgree(t *testing.T) {
	nativeAgrees(t, exporttest.Clipped(t, "efficientnet_lite0"), exporttest.Base(t, "mobilenet_v2"), exporttest.Forked(t, "mobilenet_v2"))
}

// What Keras 3 itself saves after loading our file is read as the same network.
func TestReadsWhatKeras3Saves(t *testing.T) {
	for _, m := range []network.Model{exporttest.Small(t), crossed(t)} {
		saved := filepath.Join(t.TempDir(), "saved.keras")
		exporttest.Python(t, nil, filepath.Join("..", "keras", "testdata", "keras_native.py"), "resave", writeNative(t, m), saved)
		got, err := keras.ReadNative(saved)
		if err != nil {
			t.Fatal(err)
		}
		if got.Labels != nil {
			t.Errorf("labels %q from a file that has none", got.Labels)
		}
		// Keras lists the layers in its own order.
		byName := func(a, b network.Layer) int { return strings.Compare(a.Name, b.Name) }
		slices.SortFunc(got.Network.Layers, byName)
		want := slices.SortedFunc(slices.Values(m.Network.Layers), byName)
		if !reflect.DeepEqual(got.Network.Layers, want) || !reflect.DeepEqual(got.Weights, m.Weights) {
			t.Errorf("%s: got\n%+v\nwant\n%+v", m.Network.Name, got.Network.Layers, want)
		}
	}
}

// altered is a copy of an archive with its texts changed and members left out.
func altered(t *testing.T, from string, change func(name string, content []byte) []byte) string {
	t.Helper()
	archive, err := zip.OpenReader(from)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	to := filepath.Join(t.TempDir(), "altered.keras")
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := zip.NewWriter(f)
	for _, member := range archive.File {
		r, err := member.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if content = change(member.Name, content); content == nil {
			continue
		}
		out, err := w.Create(member.Name)
		if err == nil {
			_, err = out.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestReadNativeRefuses(t *testing.T) {
	whole := writeNative(t, exporttest.Small(t))
	without := func(member string) func(string, []byte) []byte {
		return func(name string, content []byte) []byte {
			if name == member {
				return nil
			}
			return content
		}
	}
	replace := func(old, with string) func(string, []byte) []byte {
		return func(name string, content []byte) []byte {
			if name == "config.json" && !bytes.Contains(content, []byte(old)) {
				panic(fmt.Sprintf("config.json has no %s", old))
			}
			if name == "model.weights.h5" {
				return content
			}
			return bytes.Replace(content, []byte(old), []byte(with), 1)
		}
	}
	for name, c := range map[string]struct {
		change func(string, []byte) []byte
		want   string
	}{
		"no configuration":   {without("config.json"), "no config.json"},
		"no metadata":        {without("metadata.json"), "no metadata.json"},
		"no weights":         {without("model.weights.h5"), "no model.weights.h5"},
		"broken JSON":        {replace("{", "["), "model configuration"},
		"sequential":         {replace(`"class_name":"Functional"`, `"class_name":"Sequential"`), "Sequential"},
		"dropout that stays": {replace(`"kwargs":{}`, `"kwargs":{"training":true}`), "training=true"},
		"two arguments":      {replace(`"args":[`, `"args":[1,`), "2 arguments"},
		"a number for input": {replace(`"args":[{`, `"args":[1],"was":[{`), "cannot be read"},
		"a constant input":   {replace(`"class_name":"__keras_tensor__"`, `"class_name":"__numpy__"`), "no layer's output"},
		"another shape":      {replace(`"filters":8`, `"filters":9`), "shape"},
		"a larger input":     {replace(`"batch_shape":[null,32,32,3]`, `"batch_shape":[null,99999,99999,3]`), "out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := keras.ReadNative(altered(t, whole, c.change)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
	if _, err := keras.ReadNative(filepath.Join(t.TempDir(), "absent.keras")); err == nil {
		t.Error("an absent file was read")
	}
}
