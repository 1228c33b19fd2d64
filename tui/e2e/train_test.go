package e2e

import (
	"encoding/json"
	"io/fs"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// TestTrainOnRealPhotos is the main job: a folder of photos, a model file that Keras opens and that answers in Keras as it
// does here; and a second run with another seed that decodes nothing again.
func TestTrainOnRealPhotos(t *testing.T) {
	h := newHost(t)
	photos := h.photos("trashnet")
	all := h.events("train", photos, "--base", "efficientnet_lite0", "--preset", "quick", "--wait")
	first := result(t, all)
	t.Logf("test accuracy %.4f", first.TestAccuracy)
	if first.TestAccuracy < 0.87 {
		t.Errorf("test accuracy is %.4f, less than 0.87", first.TestAccuracy)
	}
	model := modelOf(t, h, first)
	agreesWithKeras(t, h, first, model, photos)

	t.Run("another seed decodes nothing", func(t *testing.T) {
		again := h.events("train", photos, "--base", "efficientnet_lite0", "--preset", "quick", "--seed", "7", "--wait", "--output", t.TempDir())
		result(t, again)
		upload := again[slices.IndexFunc(again, func(e event) bool { return e.Event == "upload" })]
		if upload.KnownImages != upload.Images {
			t.Errorf("%d of %d images were known to the server, not all", upload.KnownImages, upload.Images)
		}
		if n := decoded(again); n != 0 {
			t.Errorf("the second run decoded %d images again", n)
		}
		if n := decoded(all); n == 0 {
			t.Error("the first run says that it decoded nothing: the count cannot be trusted")
		}
	})
}

// decoded counts the images that the feature pass had to work on.
func decoded(all []event) int {
	n := 0
	for _, p := range bodies[runspec.Progress](all) {
		if p.Phase == runspec.PhaseFeatures && float64(p.Rate) > 0 {
			n = max(n, p.Done)
		}
	}
	return n
}

func modelOf(t *testing.T, h *host, e event) string {
	t.Helper()
	i := slices.IndexFunc(e.Files, func(f string) bool { return strings.HasSuffix(f, ".h5") })
	if i < 0 {
		t.Fatalf("no .h5 among the files %q", e.Files)
	}
	if filepath.IsAbs(e.Files[i]) {
		return e.Files[i]
	}
	return filepath.Join(h.data, e.Files[i])
}

// agreesWithKeras compares what `cultivar predict` and Keras say to every 25th photo.
func agreesWithKeras(t *testing.T, h *host, run event, model, photos string) {
	t.Helper()
	python := filepath.Join(h.root, ".deps", "venv", "bin", "python3")
	if _, err := exec.LookPath(python); err != nil {
		absent(t, "there is no Python with Keras in .deps/venv: run `make venv`")
	}
	var files []string
	n := 0
	_ = filepath.WalkDir(photos, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".jpg") {
			if n%25 == 0 {
				files = append(files, path)
			}
			n++
		}
		return err
	})
	script := filepath.Join(h.root, "tui", "e2e", "testdata", "classify.py")
	out, err := exec.CommandContext(t.Context(), python, append([]string{script, model}, files...)...).Output()
	if err != nil {
		t.Fatalf("Keras: %v", err)
	}
	type answer struct {
		Path        string          `json:"path"`
		Top         json.RawMessage `json:"top"`
		Probability float64         `json:"probability"`
	}
	keras := strings.Split(strings.TrimSpace(string(out)), "\n")
	ours, stderr, code := h.run(append([]string{"predict", "latest", "--json"}, files...)...)
	if code != 0 {
		t.Fatalf("predict: exit code %d: %s", code, stderr)
	}
	lines := strings.Split(strings.TrimSpace(ours), "\n")
	if len(lines) != len(files) || len(keras) != len(files) {
		t.Fatalf("%d photos, but %d answers of ours and %d of Keras", len(files), len(lines), len(keras))
	}
	worst := 0.0
	for i := range files {
		var a, b answer
		var label string
		var top []runspec.Score
		if err := json.Unmarshal([]byte(lines[i]), &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(keras[i]), &b); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(a.Top, &top); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b.Top, &label); err != nil {
			t.Fatal(err)
		}
		if a.Path != b.Path || top[0].Label != label {
			t.Errorf("%s is %s here and %s (%s) in Keras", a.Path, top[0].Label, label, b.Path)
		}
		worst = max(worst, math.Abs(float64(top[0].Probability)-b.Probability))
	}
	t.Logf("%d photos, largest difference to Keras %.1e", len(files), worst)
	if worst > 1e-4 {
		t.Errorf("probabilities differ from Keras' by up to %g", worst)
	}
}

// TestTrainMobileNet is the same with the original portal's base, from Keras' own weight file.
func TestTrainMobileNet(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: in make test-full")
	}
	bases := t.TempDir()
	h := newHost(t, "CULTIVAR_BASES="+bases)
	photos := h.photos("trashnet")
	weights := filepath.Join(filepath.Dir(filepath.Dir(photos)), "weights", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5")
	install := exec.CommandContext(t.Context(), filepath.Join(h.root, "bin", "cultivar-trainer"), "bases", "add", "mobilenet_v2", weights, "--to", bases)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install the base: %v\n%s", err, out)
	}
	r := result(t, h.events("train", photos, "--base", "mobilenet_v2", "--preset", "quick", "--wait"))
	t.Logf("test accuracy %.4f", r.TestAccuracy)
	if r.TestAccuracy < 0.84 {
		t.Errorf("test accuracy is %.4f, less than 0.84", r.TestAccuracy)
	}
	agreesWithKeras(t, h, r, modelOf(t, h, r), photos)
}
