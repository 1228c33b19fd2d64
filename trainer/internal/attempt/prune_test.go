package attempt_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
)

// pruned is a training that takes half of the channels out.
func pruned(t *testing.T, cut string) runspec.Spec {
	t.Helper()
	spec := tuned(t, cut)
	spec.Recipe.Prune = 0.5
	return spec
}

func TestPrune(t *testing.T) {
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			spec := pruned(t, cut)
			spec.Recipe.Exports = []string{"h5", "keras", "savedmodel", "tflite", "onnx"}
			result, err := attempt.Run(t.Context(), spec, attempt.Options{})
			if err != nil {
				t.Fatal(err)
			}
			dir := folder(t, spec)
			compared := report(t, dir).Compared
			if len(compared) != 2 || compared[0].Role != runspec.RoleWhole || compared[1].Role != runspec.RoleTrained {
				t.Fatalf("compared %+v", compared)
			}
			whole, own := compared[0], compared[1]
			if own.Params >= whole.Params || own.MACs >= whole.MACs || own.Bytes != 4*own.Params || own.Accuracy != *result.TestAccuracy || whole.Accuracy < 0.4 {
				t.Errorf("compared %+v", compared)
			}
			m, err := keras.Read(filepath.Join(dir, runspec.ArtifactsDir, "model.h5"))
			if err != nil {
				t.Fatal(err)
			}
			if expand, _ := m.Network.Layer("block7a_expand_conv"); expand.Filters != 1152/2 {
				t.Errorf("%d channels are left", expand.Filters)
			}
			if below, _ := m.Network.Layer("block2a_expand_conv"); (below.Filters == 16*6) != (cut != runspec.NoCut) {
				t.Errorf("%d channels before the cut", below.Filters)
			}
			models := 0
			for _, f := range finish(t, dir).Artifacts {
				if f.Agreement == nil {
					continue
				}
				models++
				if *f.Agreement != 1 || f.Bytes >= whole.Bytes {
					t.Errorf("%+v, of a whole network of %d bytes", f, whole.Bytes)
				}
			}
			if models != len(spec.Recipe.Exports) {
				t.Errorf("%d models", models)
			}
		})
	}
}

func TestPruneResumes(t *testing.T) {
	if testing.Short() {
		t.Skip("TestFinetuneResumes does nearly the same")
	}
	testFinetuneResumes(t, pruned(t, "block6d_add"))
}

func TestNothingToPrune(t *testing.T) {
	spec := pruned(t, "block7a_project_bn")
	_, err := attempt.Run(t.Context(), spec, attempt.Options{})
	var failure *attempt.Failure
	if !errors.As(err, &failure) || failure.Code != runspec.ExitBadSpec || !strings.Contains(failure.Text, "from a lower cut") {
		t.Errorf("got %v", err)
	}
}

// What was told to finish before fine-tuning is not pruned, and says so.
func TestPruneIsStopped(t *testing.T) {
	spec := pruned(t, "block6d_add")
	spec.Recipe.Epochs, spec.Recipe.Patience = 1000, 1000
	spec.Callback = callback(t, func(r runspec.Record) string {
		if _, ok := r.Body.(runspec.Epoch); ok {
			return "stop"
		}
		return ""
	})
	if _, err := attempt.Run(t.Context(), spec, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	if w := warnings(t, spec); len(w) != 1 || !strings.Contains(w[0], "nothing is pruned") || report(t, folder(t, spec)).Compared != nil {
		t.Errorf("warnings %q", w)
	}
}
