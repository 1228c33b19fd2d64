package attempt_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// without leaves out the photos of some classes, and every nth of the others.
func without(t *testing.T, spec runspec.Spec, nth int, classes ...string) runspec.Spec {
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
	spec.Dataset.Exclude = nil
	for i, im := range m.Images {
		if slices.Contains(classes, im.Class) || i%nth == 0 {
			spec.Dataset.Exclude = append(spec.Dataset.Exclude, im.SHA256)
		}
	}
	return spec
}

func sidesOf(t *testing.T, spec runspec.Spec) map[string]manifest.Side {
	t.Helper()
	f, err := os.Open(filepath.Join(folder(t, spec), runspec.ArtifactsDir, runspec.SplitFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := manifest.DecodeSplit(f)
	if err != nil {
		t.Fatal(err)
	}
	sides := map[string]manifest.Side{}
	for _, l := range lines {
		sides[l.SHA256] = l.Split
	}
	return sides
}

func run(t *testing.T, spec runspec.Spec) (runspec.Result, []runspec.Record) {
	t.Helper()
	result, err := attempt.Run(t.Context(), spec, attempt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return result, tasktest.Records(t, folder(t, spec))
}

// goingOn is spec, starting from the run of another.
func goingOn(t *testing.T, spec, from runspec.Spec, name string) runspec.Spec {
	t.Helper()
	spec = again(spec, name)
	spec.Recipe.StartFrom, spec.Paths.Start = "earlier", folder(t, from)
	return spec
}

// TestStartFrom: with two classes more and photos more of each, every photo keeps its side though the seed is another, only
// the new ones are decoded, and the head begins with what it knew.
func TestStartFrom(t *testing.T) {
	spec := small(t, t.TempDir(), 40)
	old := without(t, spec, 5, "paper", "trash")
	run(t, old)
	before := sidesOf(t, old)
	next := goingOn(t, spec, old, "next")
	next.Recipe.Seed, next.Recipe.Base, next.Recipe.Epochs = 9, "", 6
	result, records := run(t, next)
	after := sidesOf(t, next)
	for hash, side := range before {
		if after[hash] != side {
			t.Fatalf("a photo was on side %q and is on %q", side, after[hash])
		}
	}
	if p := bodies[runspec.Progress](records); p[0].Phase != runspec.PhaseFeatures || p[0].Done != len(before) || p[0].Total != 240 {
		t.Errorf("of 240 photos %d were computed before, and the pass begins with %+v", len(before), p[0])
	}
	if result.Recipe.Base != base || result.Recipe.StartFrom != "earlier" {
		t.Errorf("resolved: %+v", result.Recipe)
	}
	if !slices.ContainsFunc(bodies[runspec.Log](records), func(l runspec.Log) bool {
		return strings.Contains(l.Text, "it knew 4 of the 6 classes, and 112 of the 240 photos are new")
	}) {
		t.Errorf("it says %+v", bodies[runspec.Log](records))
	}
	anew := again(spec, "anew")
	anew.Recipe.Epochs = 6
	_, fresh := run(t, anew)
	if a, b := bodies[runspec.Epoch](records)[0], bodies[runspec.Epoch](fresh)[0]; !(a.TrainLoss < 0.9*b.TrainLoss) {
		t.Errorf("the first epoch's loss is %v, and %v from nothing", a.TrainLoss, b.TrainLoss)
	}
	if *result.TestAccuracy < 0.6 {
		t.Errorf("test accuracy %v", *result.TestAccuracy)
	}
	t.Run("what does not fit", func(t *testing.T) { startRefusals(t, next) })
	t.Run("interrupted", func(t *testing.T) { startResumes(t, next) })
}

// startRefusals: a run that cannot be gone on from ends a training at once, with what to do.
func startRefusals(t *testing.T, spec runspec.Spec) {
	copied := func(t *testing.T, change func(dir string) error) string {
		t.Helper()
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(spec.Paths.Start)); err != nil {
			t.Fatal(err)
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for name, tc := range map[string]struct {
		change func(t *testing.T, s *runspec.Spec)
		code   int
		says   string
	}{
		"another size":   {func(_ *testing.T, s *runspec.Spec) { s.Recipe.ImageSize = 96 }, runspec.ExitBadSpec, "had 224"},
		"other features": {func(_ *testing.T, s *runspec.Spec) { s.Recipe.Features = "last" }, runspec.ExitBadSpec, "had others"},
		"another fit":    {func(_ *testing.T, s *runspec.Spec) { s.Recipe.Preprocessing = "crop" }, runspec.ExitBadSpec, "had stretch"},
		"no place":       {func(_ *testing.T, s *runspec.Spec) { s.Paths.Start = "" }, runspec.ExitBadSpec, "same release"},
		"an older release": {func(t *testing.T, s *runspec.Spec) {
			s.Paths.Start = copied(t, func(d string) error { return os.Remove(filepath.Join(d, runspec.StartFile)) })
		}, runspec.ExitBadData, "older releases"},
		"damaged": {func(t *testing.T, s *runspec.Spec) {
			s.Paths.Start = copied(t, func(d string) error { return os.Truncate(filepath.Join(d, runspec.StartFile), 99) })
		}, runspec.ExitBadData, "train that run again"},
		"no split": {func(t *testing.T, s *runspec.Spec) {
			s.Paths.Start = copied(t, func(d string) error { return os.Remove(filepath.Join(d, runspec.ArtifactsDir, runspec.SplitFile)) })
		}, runspec.ExitBadData, "train that run again"},
	} {
		t.Run(name, func(t *testing.T) {
			s := again(spec, strings.ReplaceAll(name, " ", "-"))
			tc.change(t, &s)
			_, err := attempt.Run(t.Context(), s, attempt.Options{})
			if attempt.ExitCode(err) != tc.code || err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("exit code %d, %v; want %d and %q", attempt.ExitCode(err), err, tc.code, tc.says)
			}
		})
	}
}

// startResumes: one that goes on from a checkpoint ends with the weights of one that was not interrupted.
func startResumes(t *testing.T, spec runspec.Spec) {
	spec.Recipe.Head, spec.Recipe.Epochs, spec.Recipe.Patience, spec.Recipe.LearningRate = "dense", 300, 300, 1e-4
	whole := again(spec, "whole")
	run(t, whole)
	ctx, cancel := context.WithCancelCause(t.Context())
	broken := again(spec, "broken")
	broken.Callback = callback(t, func(r runspec.Record) string {
		if e, ok := r.Body.(runspec.Epoch); ok && e.Epoch >= 3 {
			cancel(attempt.ErrInterrupted)
		}
		return ""
	})
	if _, err := attempt.Run(ctx, broken, attempt.Options{}); attempt.ExitCode(err) != runspec.ExitInterrupted {
		t.Fatal(err)
	}
	next := again(spec, "resumed")
	next.Attempt, next.Paths.Previous = 2, folder(t, broken)
	run(t, next)
	if !slices.Equal(head(t, folder(t, whole)), head(t, folder(t, next))) {
		t.Error("the weights differ")
	}
}

// TestStartFromFineTuned: fine-tuning goes on with the blocks that the earlier run has tuned.
func TestStartFromFineTuned(t *testing.T) {
	spec := tuned(t, "block6d_add")
	old := without(t, spec, 12)
	old.Recipe.FinetuneEpochs = 6
	if _, records := run(t, old); says(records, "the head alone is kept") {
		t.Fatal("the earlier run kept the head alone")
	}
	tuning := func(records []runspec.Record) runspec.Epoch {
		t.Helper()
		for _, e := range bodies[runspec.Epoch](records) {
			if e.Phase == runspec.PhaseFinetune {
				return e
			}
		}
		t.Fatal("there is no epoch of fine-tuning")
		return runspec.Epoch{}
	}
	_, records := run(t, goingOn(t, spec, old, "on"))
	_, fresh := run(t, again(spec, "anew"))
	if a, b := tuning(records), tuning(fresh); !(a.TrainLoss < 0.9*b.TrainLoss) {
		t.Errorf("the first epoch's loss is %v, and %v from the base model", a.TrainLoss, b.TrainLoss)
	}
	for name, tc := range map[string]struct {
		change func(*runspec.Recipe)
		says   string
	}{
		"head alone":  {func(r *runspec.Recipe) { r.FinetuneEpochs = 0 }, "only its head is gone on from"},
		"a later cut": {func(r *runspec.Recipe) { r.Cut, r.FinetuneEpochs = "block7a_project_bn", 1 }, "fine-tuned more of the base model"},
	} {
		next := goingOn(t, spec, old, strings.ReplaceAll(name, " ", "-"))
		tc.change(&next.Recipe)
		_, records := run(t, next)
		if !slices.ContainsFunc(bodies[runspec.Log](records), func(l runspec.Log) bool { return strings.Contains(l.Text, tc.says) }) {
			t.Errorf("%s: it says %+v", name, bodies[runspec.Log](records))
		}
	}
}
