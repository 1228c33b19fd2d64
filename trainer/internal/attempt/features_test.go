package attempt_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// ahead is a features task over a few real photos, quick to compute.
func ahead(t *testing.T, perClass, parts int) runspec.Spec {
	t.Helper()
	spec := small(t, t.TempDir(), perClass)
	spec.Kind, spec.Parts = runspec.Features, parts
	spec.Recipe.ImageSize = 96
	return spec
}

func TestFeaturesTask(t *testing.T) {
	spec := ahead(t, 8, 1)
	spec.Recipe.Views = 3
	result, err := attempt.Run(t.Context(), spec, attempt.Options{Version: "test"})
	if err != nil || result.State != "succeeded" {
		t.Fatalf("%v, %+v", err, result)
	}
	dir := folder(t, spec)
	if done := finish(t, dir); done.Result.State != "succeeded" || len(done.Artifacts) != 0 {
		t.Errorf("result.json says %+v", done)
	}
	records := tasktest.Records(t, dir)
	var phases []string
	for _, p := range bodies[runspec.Phase](records) {
		phases = append(phases, p.Phase)
	}
	if !slices.Equal(phases, []string{runspec.PhasePrepare, runspec.PhaseFeatures}) {
		t.Errorf("phases are %v", phases)
	}
	progress := bodies[runspec.Progress](records)
	if last := progress[len(progress)-1]; last.Done != 6*8*3 || last.Total != 6*8*3 {
		t.Errorf("progress ends with %+v", last)
	}
	for _, seed := range []int64{1, 7, 12345} {
		task := again(spec, "train"+string(rune('a'+seed%26)))
		task.Kind, task.Recipe.Seed, task.Recipe.Exports = runspec.Train, seed, []string{"h5"}
		if _, err := attempt.Run(t.Context(), task, attempt.Options{}); err != nil {
			t.Fatal(err)
		}
		first := bodies[runspec.Progress](tasktest.Records(t, folder(t, task)))[0]
		if first.Phase != runspec.PhaseFeatures || first.Done != first.Total {
			t.Errorf("seed %d: the training begins with %+v", seed, first)
		}
	}
}

func TestPartsOutOfRange(t *testing.T) {
	spec := ahead(t, 4, 4)
	for _, part := range []int{-1, 4} {
		task := again(spec, "part")
		task.Paths.Attempt = filepath.Join(t.TempDir(), "1")
		result, err := attempt.Run(t.Context(), task, attempt.Options{Part: part})
		if attempt.ExitCode(err) != runspec.ExitBadSpec || !strings.Contains(result.Reason, "4 parts") {
			t.Errorf("part %d of 4: %v, %+v", part, err, result)
		}
	}
}

// More parts than photos leave some with nothing to do.
func TestEmptyPart(t *testing.T) {
	spec := ahead(t, 2, 20)
	result, err := attempt.Run(t.Context(), spec, attempt.Options{Part: 1})
	if err != nil || result.State != "succeeded" {
		t.Errorf("%v, %+v", err, result)
	}
}

// Files that are no good are told and do not fail the part, nor does one that ended the program twice before.
func TestFeaturesOfBadImages(t *testing.T) {
	bases := tasktest.Bases(t, base)
	spec := tasktest.Train(t, t.TempDir(), tasktest.Data(t, "odd-formats"), 18)
	spec.Kind, spec.Paths.Bases, spec.Recipe.Base, spec.Recipe.ImageSize = runspec.Features, bases, base, 96
	set, err := os.ReadFile(spec.Dataset.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(set), ".jpg\",\"sha256\":\"")
	fatal := line[:64]
	earlier := filepath.Join(spec.Paths.Attempt, "another-pod")
	if err := os.MkdirAll(earlier, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(earlier, "decoding-0"), []byte(fatal+" 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CULTIVAR_EXECUTOR", "this-pod")
	result, err := attempt.Run(t.Context(), spec, attempt.Options{})
	if err != nil || result.State != "succeeded" {
		t.Fatalf("%v, %+v", err, result)
	}
	count := map[string]int{}
	for _, p := range bodies[runspec.Problem](tasktest.Records(t, filepath.Join(spec.Paths.Attempt, "this-pod"))) {
		count[p.Reason]++
	}
	if count["unsupported"] != 18 || count["decoder_crashed"] != 1 || len(count) != 2 {
		t.Errorf("problems are %v", count)
	}
}
