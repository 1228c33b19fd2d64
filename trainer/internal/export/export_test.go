package export_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

func TestParseFormat(t *testing.T) {
	for _, f := range export.Formats() {
		if got, err := export.ParseFormat(string(f)); err != nil || got != f {
			t.Errorf("%s: %q, %v", f, got, err)
		}
	}
	_, err := export.ParseFormat("onxn")
	if err == nil || !strings.Contains(err.Error(), `"onxn"`) || !strings.Contains(err.Error(), "h5, keras, savedmodel") {
		t.Errorf("an unknown format gives %v", err)
	}
	if _, err := export.Write(t.TempDir(), "onxn", exporttest.Small(t), export.Options{}); err == nil {
		t.Error("an unknown format was written")
	}
}

func write(t *testing.T, dir string, f export.Format, m network.Model) export.Artifact {
	t.Helper()
	a, err := export.Write(dir, f, m, export.Options{Calibrate: calibration(t, 40, m.Network.Size), Bundle: bundle(t, f)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// bundle is TensorFlow.js, for the format that needs it.
func bundle(t *testing.T, f export.Format) string {
	t.Helper()
	if f != export.Page {
		return ""
	}
	return exporttest.Tool(t, "fetch TensorFlow.js with trainer/setup/tfjs.sh", ".deps/tfjs/tf.min.js")
}

// calibration yields that many photos, one by one, when it is asked.
func calibration(t *testing.T, n, size int) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		for photo := range slices.Chunk(exporttest.Photos(t, n, size), size*size*3) {
			if !yield(photo, nil) {
				return
			}
		}
	}
}

// How many photos integers were fitted to is said, and that they are few; other formats ask for none.
func TestFittedPhotosAreTold(t *testing.T) {
	m := exporttest.Small(t)
	for n, want := range map[int]string{37: "fitted to 37 training photos only, of the 200", 200: "fitted to 200 training photos."} {
		a, err := export.Write(t.TempDir(), export.TFLiteInt8, m, export.Options{Calibrate: calibration(t, n, m.Network.Size)})
		if err != nil || !strings.Contains(a.Note, want) {
			t.Errorf("%d photos: %q, %v", n, a.Note, err)
		}
	}
	for _, f := range export.Formats() {
		if f == export.TFLiteInt8 || f == export.Page { // the page holds what TFJS does
			continue
		}
		unasked := func(func([]float32, error) bool) { t.Errorf("%s asks for photos", f) }
		if _, err := export.Write(t.TempDir(), f, m, export.Options{Calibrate: unasked}); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	if _, err := export.Write(t.TempDir(), export.TFLiteInt8, m, export.Options{}); err == nil || !strings.Contains(err.Error(), "needs images") {
		t.Errorf("without photos: %v", err)
	}
}

func TestArtifactDescribesItsFile(t *testing.T) {
	for _, f := range export.Formats() {
		t.Run(string(f), func(t *testing.T) {
			dir := t.TempDir()
			a := write(t, dir, f, exporttest.Small(t))
			data, err := os.ReadFile(filepath.Join(dir, a.Name))
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(data)
			if a.Bytes != int64(len(data)) || a.SHA256 != hex.EncodeToString(sum[:]) || a.Format != f {
				t.Errorf("%+v does not describe a file of %d bytes", a, len(data))
			}
			// Written again over itself: the same bytes, and nothing left lying about.
			if again := write(t, dir, f, exporttest.Small(t)); again != a {
				t.Errorf("%+v, then %+v", a, again)
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Name() != a.Name && e.Name() != a.Path {
					t.Errorf("%s was left behind", e.Name())
				}
			}
		})
	}
}

func TestFailureLeavesTheOldFile(t *testing.T) {
	for _, f := range export.Formats() {
		t.Run(string(f), func(t *testing.T) {
			dir, m := t.TempDir(), exporttest.Small(t)
			a := write(t, dir, f, m)
			before, err := os.ReadFile(filepath.Join(dir, a.Name))
			if err != nil {
				t.Fatal(err)
			}
			delete(m.Weights, "stem/kernel")
			if _, err := export.Write(dir, f, m, export.Options{}); err == nil || !strings.Contains(err.Error(), "stem/kernel") {
				t.Errorf("a missing weight gives %v", err)
			}
			after, err := os.ReadFile(filepath.Join(dir, a.Name))
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("the old file changed (%v)", err)
			}
		})
	}
}

func TestZipHoldsTheFolder(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, export.SavedModel, exporttest.Small(t))
	archive, err := zip.OpenReader(filepath.Join(dir, a.Name))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	var names []string
	for _, f := range archive.File {
		names = append(names, f.Name)
		packed, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(packed)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Name)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from the folder's (%v)", f.Name, err)
		}
		if f.Mode() != fs.FileMode(0o644) {
			t.Errorf("%s has mode %v", f.Name, f.Mode())
		}
	}
	if want := []string{"savedmodel/assets/labels.txt", "savedmodel/assets.extra/usage.json", "savedmodel/saved_model.pb"}; !slices.Equal(names, want) {
		t.Errorf("the .zip holds %q, want %q", names, want)
	}
}

func TestLabels(t *testing.T) {
	dir := t.TempDir()
	a, err := export.WriteLabels(dir, exporttest.Labels())
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, a.Name))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	want := append(exporttest.Labels(), "")
	want[6] = "two lines" // one name, one line
	if !slices.Equal(lines, want) {
		t.Errorf("lines %q, want %q", lines, want)
	}
	if _, err := export.Check(dir, a, export.Sample{}); err == nil {
		t.Error("a text file was checked as a model")
	}
}

func sample(t *testing.T, m network.Model, n int) export.Sample {
	t.Helper()
	photos := exporttest.Photos(t, n, m.Network.Size)
	s := export.Sample{Labels: m.Labels, Usage: m.Usage, Images: photos, Probabilities: exporttest.Answers(t, m, photos)}
	for _, name := range exporttest.PhotoFiles(t, n) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s.Encoded = append(s.Encoded, data)
	}
	s.Encoded[1] = []byte("RIFF....WEBP, which no artifact claims to decode")
	s.Encoded[2] = s.Encoded[2][:20]
	return s
}

func TestCheckAgrees(t *testing.T) {
	m := exporttest.Base(t, "efficientnet_lite0")
	s := sample(t, m, 20)
	for _, f := range export.Formats() {
		t.Run(string(f), func(t *testing.T) {
			dir := t.TempDir()
			r, err := export.Check(dir, write(t, dir, f, m), s)
			if err != nil {
				t.Fatal(err)
			}
			if r.Images != 20 || r.MaxDifference > allowed(f) || r.Top1 < 0.9 || f != export.TFLiteInt8 && r.Top1 != 1 || len(r.Probabilities) != len(s.Probabilities) {
				t.Errorf("%d images, difference %g, same class %g, %g ms", r.Images, r.MaxDifference, r.Top1, r.MsPerImage)
			}
			if timed := r.MsPerImage > 0; timed != (f != export.TFLiteInt8) {
				t.Errorf("%g ms an image", r.MsPerImage) // integers are simulated
			}
			t.Logf("difference %.2g, %.1f ms an image", r.MaxDifference, r.MsPerImage)
			if (r.Encoded != nil) != (f == export.SavedModel) {
				t.Errorf("agreement on encoded images: %+v", r.Encoded)
			} else if r.Encoded != nil {
				t.Logf("encoded: difference %.2g, same class %g", r.Encoded.MaxDifference, r.Encoded.Top1)
				if r.Encoded.Top1 < 0.7 || r.Encoded.Images != 18 || r.Encoded.Failed != 1 {
					t.Errorf("the photos as files: %+v", *r.Encoded)
				}
			}
		})
	}
}

// allowed is how far a format's probabilities may lie from the trained model's.
func allowed(f export.Format) float64 {
	switch {
	case f.Exact():
		return 1e-4
	case f == export.TFLiteFloat16:
		return 0.01
	}
	return 0.2
}

// The check must see a file that does not hold the trained model.
func TestCheckFindsAnotherModel(t *testing.T) {
	m := exporttest.Small(t)
	s := sample(t, m, 20)
	for _, f := range export.Formats() {
		t.Run(string(f), func(t *testing.T) {
			other := exporttest.Small(t)
			bias := other.Weights["predictions/bias"].Data
			bias[0] += 5
			dir := t.TempDir()
			r, err := export.Check(dir, write(t, dir, f, other), s)
			if err != nil {
				t.Fatal(err)
			}
			if r.MaxDifference < 0.1 || r.Top1 == 1 {
				t.Errorf("difference %g, same class %g", r.MaxDifference, r.Top1)
			}
			swapped := s
			swapped.Labels = slices.Clone(s.Labels)
			slices.Reverse(swapped.Labels)
			if _, err := export.Check(dir, write(t, dir, f, m), swapped); err == nil || !strings.Contains(err.Error(), "class names") {
				t.Errorf("another label order gives %v", err)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "model.txt")
	if err := os.WriteFile(text, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(dir, "torn.tflite")
	if err := os.WriteFile(torn, []byte("\x08\x00\x00\x00TFL3"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "absent.h5"), text, torn, dir} {
		if _, err := export.Open(path); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
}
