package tfjs_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tfjs"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

var update = flag.Bool("update", false, "write the golden files anew")

func write(t *testing.T, m network.Model) string {
	t.Helper()
	dir := t.TempDir()
	if err := tfjs.Write(dir, m); err != nil {
		t.Fatal(err)
	}
	return dir
}

func bundle(t *testing.T) string {
	t.Helper()
	return exporttest.Tool(t, "fetch TensorFlow.js with trainer/setup/tfjs.sh", ".deps/tfjs/tf.min.js")
}

func writePage(t *testing.T, m network.Model) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "try.html")
	if err := tfjs.WritePage(path, m, bundle(t)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadGivesBackWhatWasWritten(t *testing.T) {
	want := exporttest.Small(t)
	for name, read := range map[string]func(t *testing.T) (network.Model, error){
		"folder": func(t *testing.T) (network.Model, error) { return tfjs.Read(write(t, want)) },
		"page":   func(t *testing.T) (network.Model, error) { return tfjs.ReadPage(writePage(t, want)) },
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(t)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%+v\nwant\n%+v", got.Network, want.Network)
			}
		})
	}
}

// contents are the files of a folder, or the one file.
func contents(t *testing.T, path string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(path, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		files = []string{path}
	}
	all := map[string]string{}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = string(content)
	}
	return all
}

func TestWriteIsDeterministic(t *testing.T) {
	m := exporttest.Small(t)
	if first, second := contents(t, write(t, m)), contents(t, write(t, m)); !reflect.DeepEqual(first, second) {
		t.Error("the same model gave two different folders")
	}
	if first, second := contents(t, writePage(t, m)), contents(t, writePage(t, m)); !reflect.DeepEqual(first, second) {
		t.Error("the same model gave two different pages")
	}
}

func TestStructure(t *testing.T) {
	files := contents(t, write(t, exporttest.Small(t)))
	var b strings.Builder
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range files {
			if !yield(name) {
				return
			}
		}
	}) {
		fmt.Fprintf(&b, "%s: %d bytes\n", name, len(files[name]))
	}
	var text bytes.Buffer
	if err := json.Indent(&text, []byte(files["model.json"]), "", " "); err != nil {
		t.Fatal(err)
	}
	b.WriteString(text.String())
	golden := filepath.Join("testdata", "small.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the folder's structure changed; it is now\n%s", b.String())
	}
}

// answer is what node_predict.js prints for one model.
type answer struct {
	Version, Backend string
	Probabilities    []float32
	Layers           []string
	Parameters       int
	Shards           []int
}

// nodeAgrees has TensorFlow.js load the written folders in Node, and compares its answers for real photos.
func nodeAgrees(t *testing.T, photos int, models ...network.Model) []answer {
	t.Helper()
	node := exporttest.Tool(t, "install Node.js", "node")
	args := []string{filepath.Join("testdata", "node_predict.js"), bundle(t)}
	var want [][]float32
	for _, m := range models {
		images := exporttest.Photos(t, photos, m.Network.Size)
		want = append(want, exporttest.Answers(t, m, images))
		args = append(args, write(t, m), exporttest.WriteFloats(t, images), strconv.Itoa(m.Network.Size))
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), node, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var got []answer
	if err != nil || json.Unmarshal(out, &got) != nil || len(got) != len(models) {
		t.Fatalf("node: %v, %s\n%s", err, out, stderr.String())
	}
	for i, m := range models {
		worst := exporttest.MaxDifference(t, got[i].Probabilities, want[i])
		t.Logf("%s: TensorFlow.js %s (%s) differs by %.2g at most; %d shards", m.Network.Name, got[i].Version, got[i].Backend, worst, len(got[i].Shards))
		if worst > 1e-4 {
			t.Errorf("%s: it differs by %g", m.Network.Name, worst)
		}
		if params, err := m.Network.Params(); err != nil || params != got[i].Parameters {
			t.Errorf("%s: %d parameters, want %d (%v)", m.Network.Name, got[i].Parameters, params, err)
		}
		if len(got[i].Layers) != len(m.Network.Layers) || slices.Max(got[i].Shards) > 4<<20 {
			t.Errorf("%s: %d layers and shards of %v bytes", m.Network.Name, len(got[i].Layers), got[i].Shards)
		}
	}
	return got
}

func TestSmallAgrees(t *testing.T) { nodeAgrees(t, 12, exporttest.Small(t)) }

func TestBasesAgree(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: runs whole networks in plain JavaScript")
	}
	got := nodeAgrees(t, 4, exporttest.Clipped(t, "efficientnet_lite0"), exporttest.Base(t, "mobilenet_v2"), exporttest.Forked(t, "mobilenet_v2"))
	if len(got[0].Shards) < 3 {
		t.Errorf("%d shards: this no longer tests several", len(got[0].Shards))
	}
}

func TestWriteRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*network.Model)
		want  string
	}{
		"labels that do not fit": {func(m *network.Model) { m.Labels = m.Labels[1:] }, "7 class names"},
		"a label not in UTF-8":   {func(m *network.Model) { m.Labels[2] = "\xff" }, "UTF-8"},
		"a missing weight":       {func(m *network.Model) { delete(m.Weights, "stem/kernel") }, "stem/kernel"},
	} {
		t.Run(name, func(t *testing.T) {
			m := exporttest.Small(t)
			c.spoil(&m)
			if err := tfjs.Write(t.TempDir(), m); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
			path := filepath.Join(t.TempDir(), "try.html")
			if err := tfjs.WritePage(path, m, ""); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("page: error %v, want %q in it", err, c.want)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("a page was left behind")
			}
		})
	}
}

// Whoever opens a page runs its script, so only the pinned one is put in.
func TestPageRefusesAnotherBundle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tf.min.js")
	if err := os.WriteFile(path, []byte("alert(1)"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := tfjs.WritePage(filepath.Join(t.TempDir(), "try.html"), exporttest.Small(t), path)
	if err == nil || !strings.Contains(err.Error(), "not the pinned version") {
		t.Errorf("error %v", err)
	}
	err = tfjs.WritePage(filepath.Join(t.TempDir(), "try.html"), exporttest.Small(t), "") // none is beside a test's program
	if err == nil || !strings.Contains(err.Error(), "trainer/setup/tfjs.sh") {
		t.Errorf("error %v", err)
	}
}

func TestReadRefuses(t *testing.T) {
	const shard = "group1-shard1of1.bin"
	replace := func(old, with string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			text, err := os.ReadFile(filepath.Join(dir, tfjs.File))
			if err != nil || !bytes.Contains(text, []byte(old)) {
				t.Fatalf("no %s in it (%v)", old, err)
			}
			if err := os.WriteFile(filepath.Join(dir, tfjs.File), bytes.Replace(text, []byte(old), []byte(with), 1), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		want   string
	}{
		"no model.json":     {func(_ *testing.T, dir string) { os.Remove(filepath.Join(dir, tfjs.File)) }, "no such file"},
		"no shard":          {func(_ *testing.T, dir string) { os.Remove(filepath.Join(dir, shard)) }, "no such file"},
		"a short shard":     {func(_ *testing.T, dir string) { os.Truncate(filepath.Join(dir, shard), 100) }, "100 bytes instead of"},
		"a long shard":      {func(_ *testing.T, dir string) { os.Truncate(filepath.Join(dir, shard), 1<<20) }, "at most"},
		"broken JSON":       {replace("{", "["), "model.json"},
		"a graph model":     {replace(`"layers-model"`, `"graph-model"`), "graph-model"},
		"a file elsewhere":  {replace(`"`+shard, `"../`+shard), "lies elsewhere"},
		"other weights":     {replace(`"name":"stem/kernel"`, `"name":"stem/core"`), "stem/core"},
		"quantised weights": {replace(`"dtype":"float32"}`, `"dtype":"uint8"}`), "uint8"},
		"another shape":     {replace(`"filters":8`, `"filters":9`), "weight 0"},
		"too few labels":    {replace(`"花",`, ""), "7 class names"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, exporttest.Small(t))
			c.change(t, dir)
			if _, err := tfjs.Read(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}
