package plan_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/plan"
	"github.com/cultivar-ml/cultivar/trainer/internal/rates"
)

// hundred is a training of 70 photos with 15 to validate and 15 to test on, of 1,000 bytes each, of which the cache has
// these views.
func hundred(have, haveCut features.Views) plan.Training {
	t := plan.Training{Classes: 10, Workers: 2, Folds: 3, Dim: 100, RowBytes: 240, Cut: "block", CutRowBytes: 2040, Trained: 5000, Last: 40, Partner: 60}
	for i := range 100 {
		p := plan.Photo{Bytes: 1000, Side: manifest.Train, Features: have, Cut: haveCut}
		switch {
		case i >= 85:
			p.Side = manifest.Test
		case i >= 70:
			p.Side = manifest.Validation
		}
		t.Photos = append(t.Photos, p)
	}
	return t
}

// book has what a machine was measured to do; seconds of whole numbers, so that sums can be checked.
func book(t *testing.T) *rates.Book {
	t.Helper()
	b, err := rates.Open(t.TempDir(), rates.NewKey("base", 224, "features"))
	if err != nil {
		t.Fatal(err)
	}
	plan.LearnBeginning(b.Try, 1)
	timing := features.Timing{Workers: 2, Find: 1 << 18 * time.Microsecond, Wall: 102 * time.Second, Startup: 2 * time.Second, Decode: 20 * time.Second, Bytes: 10_000,
		Plain: 10 * time.Second, PlainRows: 50, Changed: 70 * time.Second, ChangedRows: 70, Network: 100 * time.Second, NetworkRows: 100}
	plan.LearnPass(b.Try, timing, 1<<18, "")
	timing.Network *= 2
	timing.Wall = 152 * time.Second
	plan.LearnPass(b.Try, timing, 1<<18, "block")
	plan.LearnHead(b.Try, fit.Logistic, 1e6, 4)
	plan.LearnTuning(b.Try, "block", 3, 100, 10)
	plan.LearnSample(b.Try, 2)
	plan.LearnExport(b.Try, "h5", 5, 1_000_000)
	plan.LearnExport(b.Try, runspec.FormatReport, 1, 1_000)
	return b
}

func recipe(views, tune int) runspec.Recipe {
	r := runspec.Default(runspec.Quick)
	r.Views, r.FinetuneEpochs, r.L2, r.Epochs, r.Exports = views, tune, 0.01, 10, []string{"h5"}
	return r
}

// taught is a hundred photos with a teacher that takes so many times as long as the base, and that was asked for these views.
func taught(share float64, asked features.Views) plan.Training {
	t := hundred(0, 0)
	t.Teacher = share
	for i := range t.Photos {
		t.Photos[i].Asked = asked
	}
	return t
}

func withTeacher(views int) runspec.Recipe {
	r := recipe(views, 0)
	r.Teacher = "other"
	return r
}

// TestCost checks each phase by hand. By the book: 1 µs for a byte looked up, 2 s before a pass, and of one of two
// workers 2 ms for a byte of a file, 0.2 s for a plain square, 1 s for a changed one and 1 s for a row (2 s with
// activations); 4 µs for a product; 3 s before fine-tuning and 0.1 s for an image; 2 s for the check, 5 for the
// file and 1 for the report.
func TestCost(t *testing.T) {
	// Ten epochs of 70 training and half of 15 validation photos, and, where nothing is fine-tuned, again with both.
	const once = 4e-6 * 1000 * 10 * (70 + 7.5)
	// The check of the labels: three folds, six epochs on two thirds of 100 photos, and the answers.
	const labels = 4e-6 * 1000 * (3*6*200./3 + 50)
	const both = 4e-6 * 1000 * 10 * (85 + 7.5)
	// Fine-tuning: 4 epochs and 2 measurements, 1 epoch with the validation photos, a head on 40 features for 5 epochs and one
	// on 60 for 10, twice.
	const tune = 3 + 0.1*(4*75+10+85) + 0.4*once/2 + 0.6*(once+both)
	for name, tc := range map[string]struct {
		t            plan.Training
		r            runspec.Recipe
		phases       map[string]float64
		rows, cached int
		cache, files int64
	}{
		"new photos": {hundred(0, 0), recipe(1, 0), map[string]float64{
			"prepare": 1, "features": 0.024 + 2 + 100 + 10 + 50, "evaluate": labels, "head": once + both, "export": 8}, 100, 0, 24_000, 1_056_000},
		"a second run": {hundred(1, 0), recipe(1, 0), map[string]float64{
			"prepare": 1, "features": 0.024, "evaluate": labels, "head": once + both, "export": 8}, 100, 100, 0, 1_056_000},
		"more views of them": {hundred(1, 0), recipe(3, 0), map[string]float64{ // 140 changed rows; 70 photos decoded again
			"prepare": 1, "features": 0.0576 + 2 + 70 + 70 + 70, "evaluate": labels, "head": 4e-6 * 1000 * 10 * (210 + 7.5 + 225 + 7.5), "export": 8}, 240, 100, 33_600, 1_056_000},
		"new with views": {hundred(0, 0), recipe(3, 0), map[string]float64{
			"prepare": 1, "features": 0.0576 + 2 + 100 + 10 + 70 + 70 + 120, "evaluate": labels, "head": 4e-6 * 1000 * 10 * (210 + 7.5 + 225 + 7.5), "export": 8}, 240, 0, 57_600, 1_056_000},
		"fine-tuned": {hundred(0, 0), recipe(1, 4), map[string]float64{
			"prepare": 1, "features": 0.228 + 2 + 100 + 10 + 100, "evaluate": labels, "head": once, "finetune": tune, "export": 8}, 100, 0, 228_000, 1_276_000},
		"fine-tuned with known features": {hundred(1, 0), recipe(1, 4), map[string]float64{ // activations are missing: all is read
			"prepare": 1, "features": 0.228 + 2 + 100 + 10 + 100, "evaluate": labels, "head": once, "finetune": tune, "export": 8}, 100, 0, 204_000, 1_276_000},
		"all of it fine-tuned": {func() plan.Training { t := hundred(1, 0); t.CutRowBytes, t.Partner = 0, 0; return t }(), recipe(1, 4), map[string]float64{
			"prepare": 1, "features": 0.024, "evaluate": labels, "head": once, "finetune": tune - 0.6*(once+both), "export": 8}, 100, 100, 0, 1_276_000},
		"fine-tuned again": {hundred(1, 1), recipe(1, 4), map[string]float64{
			"prepare": 1, "features": 0.228, "evaluate": labels, "head": once, "finetune": tune, "export": 8}, 100, 100, 0, 1_276_000},
		"pruned": {func() plan.Training { t := hundred(1, 1); t.Thin = 0.6; return t }(), recipe(1, 4), map[string]float64{
			"prepare": 1, "features": 0.228, "evaluate": labels, "head": once, "finetune": tune - 0.4*0.1*(4*75+10+85), "export": 8}, 100, 100, 0, 1_276_000},
		"an ensemble half as large again": {func() plan.Training { t := hundred(1, 1); t.Both, t.Partner = 1.5, 0; return t }(), recipe(1, 4), map[string]float64{
			"prepare": 1, "features": 0.228, "evaluate": labels, "head": once, "finetune": tune - 0.6*(once+both) + both, "export": 12}, 100, 100, 0, 1_776_500},
		"with a teacher twice as slow": {taught(2, 0), withTeacher(3), map[string]float64{
			"prepare": 1, "features": 0.0576 + 2 + 100 + 10 + 70 + 70 + 120, "teacher": 2 + 100 + 10 + 70 + 70 + 240, "evaluate": labels,
			"head": 4e-6 * 1000 * 10 * (210 + 7.5 + 225 + 7.5), "export": 8}, 240, 0, 57_600, 1_056_000},
		"with one that was asked before": {taught(2, 1), withTeacher(3), map[string]float64{
			"prepare": 1, "features": 0.0576 + 2 + 100 + 10 + 70 + 70 + 120, "teacher": 2 + 70 + 70 + 140, "evaluate": labels,
			"head": 4e-6 * 1000 * 10 * (210 + 7.5 + 225 + 7.5), "export": 8}, 240, 0, 57_600, 1_056_000},
	} {
		t.Run(name, func(t *testing.T) {
			cost, missing := tc.t.Cost(tc.r, book(t))
			if len(missing)+len(cost.Unknown) > 0 {
				t.Errorf("unknown: %v", cost.Unknown)
			}
			total := 0.0
			for _, p := range cost.Phases {
				if math.Abs(float64(p.Seconds)-tc.phases[p.Phase]) > 1e-6 {
					t.Errorf("%s takes %v s, want %v", p.Phase, p.Seconds, tc.phases[p.Phase])
				}
				total += tc.phases[p.Phase]
			}
			if len(cost.Phases) != len(tc.phases) || math.Abs(float64(cost.Seconds)-total) > 1e-6 {
				t.Errorf("%v s in %v, want %v", cost.Seconds, cost.Phases, total)
			}
			if cost.Rows != tc.rows || cost.CachedRows != tc.cached || cost.CacheBytes != tc.cache || cost.FileBytes != tc.files {
				t.Errorf("%d rows, %d cached, %d bytes in the cache, %d in files; want %d, %d, %d, %d",
					cost.Rows, cost.CachedRows, cost.CacheBytes, cost.FileBytes, tc.rows, tc.cached, tc.cache, tc.files)
			}
		})
	}
}

// TestUnknown: what was never measured is named, once, and only where it is needed.
func TestUnknown(t *testing.T) {
	empty, err := rates.Open(t.TempDir(), rates.NewKey("base", 224, "features"))
	if err != nil {
		t.Fatal(err)
	}
	other := recipe(2, 0)
	other.Head, other.Exports = fit.Dense, []string{"h5", "onnx"}
	cut := hundred(0, 0)
	cut.Cut = "other"
	for name, tc := range map[string]struct {
		t    plan.Training
		r    runspec.Recipe
		book *rates.Book
		want []string
	}{
		"everything":           {hundred(0, 0), recipe(2, 3), empty, []string{"beginning", "reading photos", "the head", "fine-tuning", "checking files", "the file h5", "the file report"}},
		"nothing":              {hundred(0, 0), recipe(2, 3), book(t), nil},
		"others":               {hundred(0, 0), other, book(t), []string{"the head", "the file onnx"}},
		"a cut":                {cut, recipe(1, 1), book(t), []string{"reading photos", "fine-tuning"}},
		"a cut that is cached": {func() plan.Training { t := hundred(1, 1); t.Cut = "other"; return t }(), recipe(1, 1), book(t), []string{"fine-tuning"}},
	} {
		t.Run(name, func(t *testing.T) {
			cost, missing := tc.t.Cost(tc.r, tc.book)
			if !slices.Equal(cost.Unknown, tc.want) || len(missing) != len(tc.want) {
				t.Errorf("unknown are %q (%v), want %q", cost.Unknown, missing, tc.want)
			}
		})
	}
}

// Where the teacher is not at hand, as for photos that are not, what it takes is said to be unknown, and nothing is to be
// measured for it.
func TestTeacherIsNotCounted(t *testing.T) {
	cost, missing := hundred(0, 0).Cost(withTeacher(2), book(t))
	if !slices.Equal(cost.Unknown, []string{"asking the teacher"}) || len(missing) != 0 {
		t.Errorf("unknown are %q (%v)", cost.Unknown, missing)
	}
}

// TestWhatWasMeasuredIsForeseen: a pass costs what the same pass has taken, whatever its workers waited for.
func TestWhatWasMeasuredIsForeseen(t *testing.T) {
	b, err := rates.Open(t.TempDir(), rates.NewKey("base", 224, "features"))
	if err != nil {
		t.Fatal(err)
	}
	training := hundred(0, 0)
	took := features.Timing{Workers: 2, Wall: 30 * time.Second, Startup: 2 * time.Second, Decode: 7 * time.Second, Bytes: 170_000,
		Plain: 4 * time.Second, PlainRows: 100, Changed: 5 * time.Second, ChangedRows: 70, Network: 20 * time.Second, NetworkRows: 170}
	plan.LearnPass(b.Learn, took, 1<<20, "")
	cost, _ := training.Cost(recipe(2, 0), b)
	if got := float64(cost.Phases[1].Seconds); math.Abs(got-30) > 1e-6 {
		t.Errorf("%v s, but it took 30", got)
	}
}

// TestTooLittleTellsNothing: of a pass over a handful of photos beginning and ending are most.
func TestTooLittleTellsNothing(t *testing.T) {
	for name, learn := range map[string]func(plan.Note){
		"a pass of few rows": func(n plan.Note) {
			plan.LearnPass(n, features.Timing{Workers: 2, Wall: time.Second, NetworkRows: 20, Network: time.Second, PlainRows: 24}, 100, "")
		},
		"a pass that found everything": func(n plan.Note) { plan.LearnPass(n, features.Timing{Find: time.Millisecond}, 100, "") },
		"a head in no time":            func(n plan.Note) { plan.LearnHead(n, "logistic", 100, 0.001) },
		"fine-tuning of few photos":    func(n plan.Note) { plan.LearnTuning(n, "block", 1, 10, 3) },
	} {
		learn(func(rate string, value float64) { t.Errorf("%s tells that %s is %v", name, rate, value) })
	}
}
