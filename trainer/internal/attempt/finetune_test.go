package attempt_test

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// cuts are where fine-tuning begins in the tests: near the end, and nowhere.
var cuts = map[string]string{"the last blocks": "block6d_add", "all of it": runspec.NoCut}

// tuned is a training whose head learns too little, so that there is something left for fine-tuning.
func tuned(t *testing.T, cut string) runspec.Spec {
	t.Helper()
	spec := small(t, t.TempDir(), 16)
	r := &spec.Recipe
	r.Epochs, r.Views, r.FinetuneEpochs, r.Exports, r.ImageSize = 1, 2, 3, []string{"h5"}, 96
	r.Cut = cut
	return spec
}

func TestFinetune(t *testing.T) {
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) { testFinetune(t, tuned(t, cut)) })
	}
}

// TestEnsemble: the base is kept beside what was fine-tuned, and files of both do what was measured.
func TestEnsemble(t *testing.T) {
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && cut == runspec.NoCut {
				t.Skip("takes half a minute")
			}
			spec := tuned(t, cut)
			spec.Recipe.Ensemble, spec.Recipe.Epochs = runspec.Ensembled, 3 // so that the head alone has something to say
			testFinetune(t, spec)
			m, err := export.Read(filepath.Join(folder(t, spec), runspec.ArtifactsDir, "model.h5"))
			if err != nil {
				t.Fatal(err)
			}
			for _, layer := range []string{"block6b_activation_pool", "block7a_project_conv", network.Forked("block7a_project_conv")} {
				if _, ok := m.Network.Layer(layer); !ok {
					t.Errorf("the model has no %s", layer)
				}
			}
			first := network.Forked("stem_conv")
			if _, ok := m.Network.Layer(first); ok != (cut == runspec.NoCut) {
				t.Errorf("%s is there: %v", first, ok)
			}
		})
	}
}

func testFinetune(t *testing.T, spec runspec.Spec) {
	t.Helper()
	result, err := attempt.Run(t.Context(), spec, attempt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	records := tasktest.Records(t, folder(t, spec))
	var phases []string
	for i, e := range bodies[runspec.Epoch](records) {
		if phases = append(phases, e.Phase); e.Epoch != i+1 {
			t.Errorf("epoch %d is called %d", i+1, e.Epoch)
		}
	}
	if want := slices.Concat(slices.Repeat([]string{"head"}, spec.Recipe.Epochs), slices.Repeat([]string{"finetune"}, 3)); !slices.Equal(phases, want) || result.BestEpoch <= spec.Recipe.Epochs {
		t.Errorf("epochs of %v, the best one is %d", phases, result.BestEpoch)
	}
	for _, l := range bodies[runspec.Log](records) {
		if l.Level == "warning" {
			t.Error(l.Text)
		}
	}
	for _, a := range finish(t, folder(t, spec)).Artifacts {
		if a.Format == "h5" && (a.Agreement == nil || *a.Agreement != 1) {
			t.Errorf("%+v", a)
		}
	}
	evaluations := bodies[runspec.Evaluation](records)
	if len(evaluations) != 1 || evaluations[0].Accuracy < 0.5 {
		t.Fatalf("evaluations %+v", evaluations)
	}
	if threshold := evaluations[0].Threshold; threshold == nil || threshold.Probability <= 0 || threshold.Probability > 1 {
		t.Errorf("the threshold is %+v", threshold)
	}
	measured := again(spec, "measured")
	measured.Kind, measured.Model = runspec.Evaluate, filepath.Join(folder(t, spec), runspec.ArtifactsDir, "model.h5")
	if _, err := attempt.Run(t.Context(), measured, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	sameMistakes(t, evaluations[0], bodies[runspec.Evaluation](tasktest.Records(t, folder(t, measured)))[0])
	second := again(spec, "second")
	planned, err := attempt.Run(t.Context(), second, attempt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(planned.Planned.Unknown) > 0 {
		t.Errorf("what the first training took was not noted where the second one looks: %v", planned.Planned.Unknown)
	}
	if done := bodies[runspec.Progress](tasktest.Records(t, folder(t, second))); done[0].Phase != runspec.PhaseFeatures || done[0].Done != done[0].Total {
		t.Errorf("the second training computes features again: %+v", done[0])
	}
}

// sameMistakes checks that a model file, measured on all photos, errs as the training said on its held-out ones, as surely.
// The training's activations had been rounded to float16.
func sameMistakes(t *testing.T, training, file runspec.Evaluation) {
	t.Helper()
	const rounding = 5e-3
	if len(training.Worst) == 0 {
		t.Fatal("the training made no mistake that could be compared")
	}
	for _, m := range training.Worst {
		i := slices.IndexFunc(file.Worst, func(o runspec.Mistake) bool { return o.SHA256 == m.SHA256 })
		if i < 0 || file.Worst[i].Predicted != m.Predicted || math.Abs(float64(file.Worst[i].Confidence-m.Confidence)) > rounding {
			t.Errorf("%s is taken for %s with %v; of the file %+v", m.Path, m.Predicted, m.Confidence, file.Worst)
		}
	}
}

func TestFinetuneResumes(t *testing.T) {
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && cut == runspec.NoCut {
				t.Skip("takes half a minute")
			}
			testFinetuneResumes(t, tuned(t, cut))
		})
	}
}

func testFinetuneResumes(t *testing.T, spec runspec.Spec) {
	t.Helper()
	whole := again(spec, "whole")
	if _, err := attempt.Run(t.Context(), whole, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	broken := again(spec, "broken")
	broken.Callback = callback(t, func(r runspec.Record) string {
		if e, ok := r.Body.(runspec.Epoch); ok && e.Phase == runspec.PhaseFinetune {
			cancel(attempt.ErrInterrupted)
		}
		return ""
	})
	_, err := attempt.Run(ctx, broken, attempt.Options{})
	if code := attempt.ExitCode(err); code != runspec.ExitInterrupted {
		t.Fatalf("exit code %d, %v", code, err)
	}
	next := again(spec, "broken")
	next.Attempt, next.Paths.Previous = 2, folder(t, broken)
	next.Paths.Attempt += "-2"
	if _, err := attempt.Run(t.Context(), next, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	if more := bodies[runspec.Epoch](tasktest.Records(t, folder(t, next))); len(more) == 0 || more[0].Epoch < 3 {
		t.Errorf("it went on with %+v", more)
	}
	a, b := arrays(t, folder(t, whole)), arrays(t, folder(t, next))
	for name, data := range a {
		if !slices.Equal(data, b[name]) {
			t.Fatalf("%s differs in the resumed training", name)
		}
	}
}

// arrays are all weights of a training's .h5.
func arrays(t *testing.T, dir string) map[string][]float32 {
	t.Helper()
	m, err := keras.Read(filepath.Join(dir, runspec.ArtifactsDir, "model.h5"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]float32{}
	for name, a := range m.Weights {
		all[name] = a.Data
	}
	return all
}

// TestActivationsFitTheDisk: a training takes as many views as the server allows its activations bytes for, and says so.
func TestActivationsFitTheDisk(t *testing.T) {
	spec := tuned(t, cuts["the last blocks"])
	spec.Recipe.Views, spec.Recipe.FinetuneEpochs, spec.Recipe.Exports = 4, 1, nil
	const (
		photos = 6 * 16
		row    = 3*3*192*2 + 100 // a little more than the activations of one view
	)
	spec.FeatureBytes = 2 * photos * row
	result, err := attempt.Run(t.Context(), spec, attempt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if result.Recipe.Views != 2 {
		t.Errorf("%d views were taken", result.Recipe.Views)
	}
	if !slices.ContainsFunc(bodies[runspec.Log](tasktest.Records(t, folder(t, spec))), func(l runspec.Log) bool {
		return strings.Contains(l.Text, "2 rather than 4")
	}) {
		t.Error("it was not said")
	}
}
