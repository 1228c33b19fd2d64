package attempt_test

import (
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/rates"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// plans runs a plan of what spec trains.
func plans(t *testing.T, spec runspec.Spec, name string) []runspec.Plan {
	t.Helper()
	spec = again(spec, name)
	spec.Kind = runspec.Planning
	result, err := attempt.Run(t.Context(), spec, attempt.Options{})
	if err != nil || result.State != "succeeded" {
		t.Fatalf("%+v, %v", result, err)
	}
	all := bodies[runspec.Plan](tasktest.Records(t, folder(t, spec)))
	if len(all) == 0 || all[len(all)-1].Measuring {
		t.Fatalf("plans: %+v", all)
	}
	if _, err := os.Stat(filepath.Join(folder(t, spec), "trial")); !os.IsNotExist(err) {
		t.Errorf("the trial left something: %v", err)
	}
	return all
}

func size(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		bytes += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// TestPlan: a machine of which nothing is known is measured once, without a trace in the cache of features; then what a
// training takes is foreseen, on disk within a tenth and of time every phase; the training tells both, and what it has
// computed needs not be computed again.
func TestPlan(t *testing.T) {
	spec := tuned(t, "block6d_add")
	spec.Recipe.Epochs = 5
	first := plans(t, spec, "first")
	given := func(p runspec.Plan) runspec.PlanOption { return p.Options[0] }
	if len(first) < 2 || !first[0].Measuring || !slices.Contains(given(first[0]).Cost.Unknown, "fine-tuning") {
		t.Fatalf("on a new machine: %+v", first[0])
	}
	var names []string
	for _, o := range first[len(first)-1].Options {
		names = append(names, o.Name)
		if len(o.Cost.Unknown) > 0 || o.Refused != "" || !(o.Cost.Seconds > 0) || o.Cost.CachedRows != 0 || o.Recipe.Base != base {
			t.Errorf("%+v", o)
		}
	}
	if want := []string{runspec.PlanGiven, "quick", "balanced", "best"}; !slices.Equal(names, want) {
		t.Errorf("the options are %v, want %v", names, want)
	}
	kept, err := filepath.Glob(filepath.Join(spec.Paths.Features, "*"))
	if err != nil || len(kept) != 1 || filepath.Base(kept[0]) != rates.Dir {
		t.Errorf("the cache has %v", kept)
	}
	if second := plans(t, spec, "second"); len(second) != 1 || given(second[0]).Cost.Seconds != given(first[len(first)-1]).Cost.Seconds &&
		math.Abs(float64(given(second[0]).Cost.Seconds/given(first[len(first)-1]).Cost.Seconds-1)) > 0.2 {
		t.Errorf("asked again: %+v", second)
	}

	result, err := attempt.Run(t.Context(), spec, attempt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	planned, spent := result.Planned, result.Spent
	if planned == nil || spent == nil || len(planned.Unknown) > 0 {
		t.Fatalf("planned %+v, spent %+v", planned, spent)
	}
	sum := runspec.Float(0)
	for _, p := range spent.Phases {
		sum += p.Seconds
	}
	if math.Abs(float64(sum-spent.Seconds)) > 0.05 || math.Abs(float64(spent.Seconds-result.Seconds)) > 0.5 {
		t.Errorf("%v s in phases, %v in all, the result says %v", sum, spent.Seconds, result.Seconds)
	}
	near := func(what string, planned, spent int64) {
		if math.Abs(float64(planned)/float64(spent)-1) > 0.1 {
			t.Errorf("%s: %d planned, %d spent", what, planned, spent)
		}
	}
	near("rows", int64(planned.Rows), int64(spent.Rows))
	near("bytes of the cache", planned.CacheBytes, spent.CacheBytes)
	near("bytes of files", planned.FileBytes, spent.FileBytes)
	near("bytes on disk", spent.FileBytes, size(t, folder(t, spec)))
	for _, p := range planned.Phases {
		if !slices.ContainsFunc(spent.Phases, func(s runspec.PhaseSeconds) bool { return s.Phase == p.Phase }) {
			t.Errorf("the phase %s was planned and did not take place", p.Phase)
		}
	}
	after := plans(t, spec, "after")
	if cost := given(after[0]).Cost; cost.CachedRows != cost.Rows || cost.CacheBytes != 0 || cost.Phases[1].Seconds > planned.Phases[1].Seconds/10 {
		t.Errorf("after the training: %+v", cost)
	}
	t.Run("photos by their numbers", func(t *testing.T) { describedPhotos(t, spec, given(after[0]).Cost) })
	t.Run("what cannot be trained with", func(t *testing.T) { refusedPlans(t, spec) })
}

// describedPhotos: photos that the server has are as cheap as if their manifest were known; others are to be read.
func describedPhotos(t *testing.T, spec runspec.Spec, exact runspec.Cost) {
	m, total := spec.Dataset, int64(0)
	_, packs := tasktest.Items(t, t.TempDir(), tasktest.Data(t, "trashnet"), 16)
	total = size(t, packs)
	spec.Dataset = runspec.Dataset{}
	for name, tc := range map[string]struct{ known, cached int }{"all known": {96, exact.Rows}, "half known": {48, exact.Rows / 2}, "none known": {0, 0}} {
		spec.Photos = &runspec.Photos{Images: 96, Known: tc.known, Bytes: total, Classes: len(m.Classes)}
		p := plans(t, spec, strings.ReplaceAll(name, " ", "-"))
		cost := p[0].Options[0].Cost
		if math.Abs(float64(cost.Rows-exact.Rows)) > 3 || math.Abs(float64(cost.CachedRows-tc.cached)) > 4 {
			t.Errorf("%s: %d rows, %d cached; want %d, %d", name, cost.Rows, cost.CachedRows, exact.Rows, tc.cached)
		}
	}
	for _, bad := range []runspec.Photos{{Images: 0, Classes: 2}, {Images: 5, Known: 6, Classes: 2}, {Images: 5, Classes: 1}, {Images: 1 << 40, Classes: 2}, {Images: 5, Known: -1, Classes: 2}} {
		spec := again(spec, "bad")
		spec.Kind, spec.Photos = runspec.Planning, &bad
		if _, err := attempt.Run(t.Context(), spec, attempt.Options{}); attempt.ExitCode(err) != runspec.ExitBadSpec {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// refusedPlans: an option with which nothing can be trained says why, and spoils none of the others.
func refusedPlans(t *testing.T, spec runspec.Spec) {
	spec.Recipe.FinetuneEpochs, spec.Recipe.Cut = 1, "no such layer"
	p := plans(t, spec, "cut")
	for i, o := range p[len(p)-1].Options {
		if refused := strings.Contains(o.Refused, "no such layer"); refused != (i == 0) {
			t.Errorf("%s is refused: %q", o.Name, o.Refused)
		}
	}
	spec.Recipe.Base = "efficientnet_lite9"
	for _, o := range plans(t, spec, "base")[0].Options {
		if !strings.Contains(o.Refused, "efficientnet_lite9") {
			t.Errorf("%s is refused: %q", o.Name, o.Refused)
		}
	}
}
