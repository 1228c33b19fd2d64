// Package tasktest lays out what a task needs on a volume (packs, manifest, spec) from a folder of class folders, as
// the server does. Only tests and benchmarks import it.
package tasktest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	_ "image/gif" // formats of the test images
	_ "image/jpeg"
	_ "image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/webp"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/pack"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
)

// Root is the repository's folder.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for ; filepath.Dir(dir) != dir; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "trainer", "setup", "env.sh")); err == nil {
			return dir
		}
	}
	t.Fatal("the repository's root was not found above the test's folder")
	return ""
}

// BasesDirs are the folders that may have base models: CULTIVAR_BASES, and those that the Makefile fills.
func BasesDirs(t testing.TB) []string {
	t.Helper()
	var dirs []string
	if dir := os.Getenv("CULTIVAR_BASES"); dir != "" {
		dirs = append(dirs, dir)
	}
	return append(dirs, filepath.Join(Root(t), ".deps", "bases"), filepath.Join(Root(t), ".deps", "bases-all"))
}

// Bases is a folder of installed base models that has the named one; without it the test is skipped.
func Bases(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range BasesDirs(t) {
		list, err := os.ReadFile(filepath.Join(dir, runspec.BasesFile))
		if err == nil && strings.Contains(string(list), `"`+name+`"`) {
			return dir
		}
	}
	t.Skipf("SKIPPED, NOT CHECKED: base model %s is in none of %v; install it with: make bases bases-all", name, BasesDirs(t))
	return ""
}

// Data is the folder of a set of real images; without it the test is skipped.
func Data(t testing.TB, set string) string {
	t.Helper()
	data := os.Getenv("CULTIVAR_TEST_DATA")
	if data == "" {
		data = filepath.Join(Root(t), "..", "shared", "data")
	}
	dir := filepath.Join(data, set)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("SKIPPED, NOT CHECKED: no real photos in %s; set CULTIVAR_TEST_DATA to the folder with the test images", dir)
	}
	return dir
}

// Train lays out a training of the images in folder's class folders in a new volume at dir: at most perClass of each
// class (0: all), spread over it. The recipe is preset quick, to be changed before it is used.
func Train(t testing.TB, dir, folder string, perClass int) runspec.Spec {
	t.Helper()
	m := &manifest.Manifest{Name: filepath.Base(folder)}
	var sources []pack.Source
	classes, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range classes {
		if !class.IsDir() {
			continue
		}
		files, err := os.ReadDir(filepath.Join(folder, class.Name()))
		if err != nil {
			t.Fatal(err)
		}
		n := len(files)
		if perClass > 0 {
			n = min(n, perClass)
		}
		before := len(m.Images)
		for i := range n {
			Add(t, m, &sources, class.Name(), filepath.Join(folder, class.Name(), files[i*len(files)/n].Name()))
		}
		if len(m.Images) > before {
			m.Classes = append(m.Classes, class.Name())
		}
	}
	return Layout(t, dir, m, sources)
}

// Add appends a file to a manifest and to what goes into its packs. A file whose header is not understood is added as
// a JPEG of one pixel, as a client could that lies.
func Add(t testing.TB, m *manifest.Manifest, sources *[]pack.Source, class, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) == 0 {
		return
	}
	hash := sha256.Sum256(content)
	im := manifest.Image{Class: class, Path: class + "/" + filepath.Base(file), SHA256: hex.EncodeToString(hash[:]),
		Size: int64(len(content)), Width: 1, Height: 1, Format: manifest.JPEG}
	if config, format, err := image.DecodeConfig(bytes.NewReader(content)); err == nil {
		im.Width, im.Height, im.Format = config.Width, config.Height, manifest.Format(format)
	}
	m.Images = append(m.Images, im)
	*sources = append(*sources, pack.Source{Path: file, SHA256: im.SHA256, Size: im.Size,
		Open: func() (io.ReadCloser, error) { return os.Open(file) }})
}

// Layout writes packs, manifest and folders, and returns a spec of the first attempt.
func Layout(t testing.TB, dir string, m *manifest.Manifest, sources []pack.Source) runspec.Spec {
	t.Helper()
	spec := runspec.Spec{Version: runspec.Version, Kind: runspec.Train, Task: "task", Attempt: 1, Recipe: runspec.Default(runspec.Quick)}
	spec.Paths = runspec.Paths{Packs: filepath.Join(dir, "packs"), Features: filepath.Join(dir, "features"),
		Attempt: filepath.Join(dir, "attempts", "1"), Stop: filepath.Join(dir, "stop")}
	for _, folder := range []string{spec.Paths.Packs, spec.Paths.Features, spec.Paths.Attempt} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	store(t, spec.Paths.Packs, m, sources)
	slices.SortFunc(m.Images, func(a, b manifest.Image) int {
		return strings.Compare(a.Class+"\x00"+a.Path, b.Class+"\x00"+b.Path)
	})
	slices.Sort(m.Classes)
	spec.Dataset = runspec.Dataset{Digest: manifest.Digest(m.Images), Classes: m.Classes, Manifest: filepath.Join(dir, runspec.ManifestFile)}
	f, err := os.Create(spec.Dataset.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := manifest.Encode(f, m); err != nil {
		t.Fatal(err)
	}
	return spec
}

// store writes packs and notes in the manifest where each image lies.
func store(t testing.TB, dir string, m *manifest.Manifest, sources []pack.Source) {
	t.Helper()
	seen := map[string]bool{}
	sources = slices.DeleteFunc(slices.Clone(sources), func(s pack.Source) bool {
		known := seen[s.SHA256]
		seen[s.SHA256] = true
		return known
	})
	sizes := make([]int64, len(sources))
	for i, s := range sources {
		sizes[i] = s.Size
	}
	for _, span := range pack.Plan(sizes) {
		p, err := pack.New(sources[span.First:span.End])
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(runspec.PackName(p.Name())))
		if err := writePack(p, path); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		index, err := pack.ReadIndex(f, p.Size())
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		at := map[string]pack.Entry{}
		for _, e := range index.Entries {
			at[e.SHA256] = e
		}
		for i := range m.Images {
			if e, ok := at[m.Images[i].SHA256]; ok {
				m.Images[i].Pack, m.Images[i].Offset, m.Images[i].Length = p.Name(), e.Offset, e.Length
			}
		}
	}
}

func writePack(p *pack.Pack, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	r, err := p.Open(0)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// WriteSpec stores a spec as the server does and returns its path.
func WriteSpec(t testing.TB, dir string, spec runspec.Spec) string {
	t.Helper()
	content, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fmt.Sprintf("spec-%s-%d.json", spec.Kind, spec.Attempt))
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Records reads a spool.
func Records(t testing.TB, executorDir string) []runspec.Record {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(executorDir, runspec.RecordsFile))
	if err != nil {
		t.Fatal(err)
	}
	var records []runspec.Record
	for i, line := range strings.Split(strings.TrimSuffix(string(content), "\n"), "\n") {
		var r runspec.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("record %d: %v", i+1, err)
		}
		if r.Seq != int64(i+1) {
			t.Fatalf("record %d has number %d", i+1, r.Seq)
		}
		records = append(records, r)
	}
	return records
}

// Manifest is that of a spec's dataset.
func Manifest(t testing.TB, spec runspec.Spec) *manifest.Manifest {
	t.Helper()
	f, err := os.Open(spec.Dataset.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := manifest.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Items lays out the images of folder as Train does and lists them, with the folder of packs.
func Items(t testing.TB, dir, folder string, perClass int) (items []data.Item, packs string) {
	t.Helper()
	spec := Train(t, dir, folder, perClass)
	m := Manifest(t, spec)
	for _, im := range m.Images {
		item, err := data.FromManifest(im, slices.Index(m.Classes, im.Class))
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, item)
	}
	return items, spec.Paths.Packs
}

// Python runs a script with the pinned environment and returns the last line that it printed. Without the environment
// the test is skipped, or fails when CULTIVAR_REQUIRE_PYTHON is 1.
func Python(t testing.TB, script string, args ...string) []byte {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(PythonIn(t, "", script, args...)), []byte("\n"))
	return lines[len(lines)-1]
}

// PythonIn is Python in the folder dir, with all that the script printed.
func PythonIn(t testing.TB, dir, script string, args ...string) []byte {
	t.Helper()
	venv := filepath.Join(Root(t), ".deps", "venv")
	if _, err := os.Stat(filepath.Join(venv, ".stamp")); err != nil {
		const hint = "the Python environment of the tests is missing; make it with trainer/setup/venv.sh"
		if os.Getenv("CULTIVAR_REQUIRE_PYTHON") == "1" {
			t.Fatal(hint)
		}
		t.Skip("SKIPPED, NOT CHECKED: " + hint)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(venv, "bin", "python"), append([]string{script}, args...)...)
	cmd.Dir = dir
	// The trainer's own TensorFlow must not be found before the wheel's.
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH=", "TF_CPP_MIN_LOG_LEVEL=3", "CUDA_VISIBLE_DEVICES=", "PYTHONDONTWRITEBYTECODE=1")
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
