package savedmodel_test

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/savedmodel"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

func write(t *testing.T, m network.Model) string {
	t.Helper()
	dir := t.TempDir()
	if err := savedmodel.Write(dir, m); err != nil {
		t.Fatal(err)
	}
	return dir
}

func load(t *testing.T, dir string) *savedmodel.Model {
	t.Helper()
	m, err := savedmodel.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestLoadedAgrees(t *testing.T) {
	for _, name := range []string{"small", "efficientnet_lite0"} {
		t.Run(name, func(t *testing.T) {
			m := exporttest.Small(t)
			if name != "small" {
				m = exporttest.Base(t, name)
			}
			photos := exporttest.Photos(t, 12, m.Network.Size)
			loaded := load(t, write(t, m))
			if loaded.Size() != m.Network.Size {
				t.Errorf("size %d, want %d", loaded.Size(), m.Network.Size)
			}
			got, err := loaded.Predict(photos)
			if err != nil {
				t.Fatal(err)
			}
			if worst := exporttest.MaxDifference(t, got, exporttest.Answers(t, m, photos)); worst > 1e-4 {
				t.Errorf("it differs by %g", worst)
			}
			if _, err := loaded.Predict(photos[1:]); err == nil {
				t.Error("part of an image was accepted")
			}
		})
	}
}

// golden is what callers of the model rely on.
var golden = map[string][]string{
	"serving_default": {"in image: float32[None, 32, 32, 3]", "out probabilities: float32[None, 8]"},
	"serve_bytes":     {"in image_bytes: string[None]", "out probabilities: float32[None, 8]"},
}

func TestPythonAgrees(t *testing.T) {
	t.Run("small", func(t *testing.T) { checkPython(t, exporttest.Small(t), golden) })
	t.Run("mobilenet_v2", func(t *testing.T) { checkPython(t, exporttest.Clipped(t, "mobilenet_v2"), nil) })
}

func checkPython(t *testing.T, m network.Model, signatures map[string][]string) {
	photos := exporttest.Photos(t, 12, m.Network.Size)
	files := append(exporttest.PhotoFiles(t, 6), drawn(t)...)
	for _, kind := range []string{"jpeg_gray", "jpeg_cmyk", "jpeg_progressive*", "png_*"} {
		files = append(files, exporttest.Files(t, 1, "odd-formats", "*", "*_"+kind+".*")[:1]...)
	}
	dir := write(t, m)
	out := exporttest.Python(t, nil, "savedmodel_predict.py",
		append([]string{dir, exporttest.WriteFloats(t, photos), strconv.Itoa(m.Network.Size)}, files...)...)
	var got struct {
		Signatures    map[string][]string
		Probabilities []float32
		Bytes         []float32 `json:"bytes_probabilities"`
		Resized       []float32 `json:"resized_probabilities"`
		Assets        []string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if signatures != nil && !maps.EqualFunc(got.Signatures, signatures, slices.Equal) {
		t.Errorf("signatures %v, want %v", got.Signatures, signatures)
	}
	if !slices.Equal(got.Assets, []string{"labels.txt"}) {
		t.Errorf("assets %q", got.Assets)
	}
	for _, c := range []struct {
		what      string
		got, want []float32
	}{
		{"serving_default from Python", got.Probabilities, exporttest.Answers(t, m, photos)},
		{"serve_bytes against decoding in Python", got.Bytes, got.Resized},
		{"serve_bytes from Go", predictFiles(t, dir, files), got.Bytes},
	} {
		worst := exporttest.MaxDifference(t, c.got, c.want)
		t.Logf("%s differs by %.2g", c.what, worst)
		if worst > 1e-4 {
			t.Errorf("%s differs by %g", c.what, worst)
		}
	}
}

func predictFiles(t *testing.T, dir string, files []string) []float32 {
	t.Helper()
	var encoded [][]byte
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		encoded = append(encoded, data)
	}
	got, err := load(t, dir).PredictBytes(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// drawn are PNG files of every channel count: grey, RGB with transparency, palette, and 16 bits.
func drawn(t *testing.T) []string {
	t.Helper()
	box := image.Rect(0, 0, 50, 31)
	clear, grey, deep := image.NewNRGBA(box), image.NewGray(box), image.NewNRGBA64(box)
	palette := image.NewPaletted(box, color.Palette{color.White, color.RGBA{R: 200, A: 255}, color.NRGBA{B: 255, A: 90}})
	for y := range box.Dy() {
		for x := range box.Dx() {
			c := color.NRGBA{R: uint8(5 * x), G: uint8(8 * y), B: 120, A: uint8(5 * (x + y/2))}
			clear.Set(x, y, c)
			grey.Set(x, y, c)
			deep.Set(x, y, c)
			palette.SetColorIndex(x, y, uint8((x/5+y/5)%3))
		}
	}
	var files []string
	for i, img := range []image.Image{clear, grey, deep, palette} {
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), strconv.Itoa(i)+".png")
		if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	return files
}

// A photo whose sides are cut away must answer as its middle does.
func TestCrop(t *testing.T) {
	m := exporttest.Small(t)
	encode := func(box image.Rectangle) []byte {
		img := image.NewRGBA(box)
		for y := box.Min.Y; y < box.Max.Y; y++ {
			for x := box.Min.X; x < box.Max.X; x++ {
				img.Set(x, y, color.RGBA{R: uint8(4 * x), G: uint8(3 * y), B: uint8(x * y), A: 255})
			}
		}
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	// 32 pixels high, so that nothing is resized and the comparison is exact.
	wide, middle := encode(image.Rect(0, 0, 64, 32)), encode(image.Rect(16, 0, 48, 32))
	for _, crop := range []bool{true, false} {
		m.Usage.Crop = crop
		got, err := load(t, write(t, m)).PredictBytes([][]byte{wide, middle})
		if err != nil {
			t.Fatal(err)
		}
		half := len(got) / 2
		if same := exporttest.MaxDifference(t, got[:half], got[half:]) < 1e-5; same != crop {
			t.Errorf("crop %v: whole %v, middle %v", crop, got[:half], got[half:])
		}
	}
}

func TestBadImageIsAnError(t *testing.T) {
	loaded := load(t, write(t, exporttest.Small(t)))
	if _, err := loaded.PredictBytes([][]byte{[]byte("no image")}); err == nil {
		t.Error("text was taken for an image")
	}
	if _, err := loaded.PredictBytes(nil); err == nil {
		t.Error("no image at all was accepted")
	}
}

func TestWriteIsDeterministic(t *testing.T) {
	m := exporttest.Small(t)
	var files [2][]byte
	for i := range files {
		var err error
		if files[i], err = os.ReadFile(filepath.Join(write(t, m), "saved_model.pb")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the same model gave two different files")
	}
}

// Both signatures share one set of weights.
func TestWeightsStandOnce(t *testing.T) {
	m := exporttest.Base(t, "efficientnet_lite0")
	params, err := m.Network.Params()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(write(t, m), "saved_model.pb"))
	if err != nil {
		t.Fatal(err)
	}
	if limit := int64(4*params + 200_000); info.Size() > limit {
		t.Errorf("%d bytes for %d parameters, more than %d", info.Size(), params, limit)
	}
}

func TestWriteRefuses(t *testing.T) {
	m := exporttest.Small(t)
	m.Labels = m.Labels[1:]
	if err := savedmodel.Write(t.TempDir(), m); err == nil {
		t.Error("labels that do not fit were accepted")
	}
	if _, err := savedmodel.Load(t.TempDir()); err == nil {
		t.Error("an empty folder was loaded")
	}
}
