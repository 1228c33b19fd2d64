package plan_test

import (
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/rates"
)

// TestWithin: fine-tuning is shortened first, as long as some is left, then there are fewer views, then neither; what is
// chosen fits, and the next larger choice would not.
func TestWithin(t *testing.T) {
	training, b := hundred(0, 0), book(t)
	seconds := func(views, tune int) float64 {
		cost, _ := training.Cost(recipe(views, tune), b)
		return float64(cost.Seconds)
	}
	for name, tc := range map[string]struct {
		seconds       float64
		views, epochs int
		ok            bool
	}{
		"all the time in the world": {1e6, 4, 12, true},
		"just enough":               {seconds(4, 12) / 0.9, 4, 12, true},
		"an epoch less":             {seconds(4, 12)/0.9 - 0.1, 4, 11, true},
		"half of the epochs":        {seconds(4, 6) / 0.9, 4, 6, true},
		"the fewest worth it":       {seconds(4, 4) / 0.9, 4, 4, true},
		"a view less":               {seconds(4, 4)/0.9 - 0.1, 3, 0, true},
		"one view":                  {seconds(1, 4) / 0.9, 1, 4, true},
		"few epochs of one view":    {seconds(1, 2) / 0.9, 1, 2, true},
		"no fine-tuning":            {seconds(1, 2)/0.9 - 0.1, 1, 0, true},
		"the least":                 {seconds(1, 0), 1, 0, true},
		"too little":                {seconds(1, 0) - 0.1, 1, 0, false},
		"nothing":                   {0, 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "a view less" { // whatever fits of three views
				r, cost, ok := training.Within(recipe(4, 12), b, tc.seconds)
				if !ok || r.Views != 3 || r.FinetuneEpochs < 4 || float64(cost.Seconds) > 0.9*tc.seconds || r.FinetuneEpochs < 12 && seconds(3, r.FinetuneEpochs+1) <= 0.9*tc.seconds {
					t.Errorf("%d views, %d epochs, %v s of %v, %v", r.Views, r.FinetuneEpochs, cost.Seconds, tc.seconds, ok)
				}
				return
			}
			r, cost, ok := training.Within(recipe(4, 12), b, tc.seconds)
			if r.Views != tc.views || r.FinetuneEpochs != tc.epochs || ok != tc.ok || float64(cost.Seconds) != seconds(tc.views, tc.epochs) {
				t.Errorf("%d views, %d epochs, %v s, %v; want %d, %d, %v", r.Views, r.FinetuneEpochs, cost.Seconds, ok, tc.views, tc.epochs, tc.ok)
			}
		})
	}
	if r, _, ok := training.Within(recipe(8, 0), b, seconds(5, 0)/0.9); r.Views != 5 || r.FinetuneEpochs != 0 || !ok {
		t.Errorf("of a recipe without fine-tuning: %d views, %d epochs, %v", r.Views, r.FinetuneEpochs, ok)
	}
	if r, _, ok := training.Within(recipe(1, 1), b, seconds(1, 1)/0.9); r.FinetuneEpochs != 1 || !ok {
		t.Errorf("of a recipe with one epoch: %d, %v", r.FinetuneEpochs, ok)
	}
}

// TestEpochs: with photos and head done, the time left decides, and too little of it is better not used.
func TestEpochs(t *testing.T) {
	training, b := hundred(1, 1), book(t)
	after := func(epochs int) float64 {
		cost, _ := training.Cost(recipe(1, epochs), b)
		left := 0.0
		for _, p := range cost.Phases {
			if p.Phase == runspec.PhaseFinetune || p.Phase == runspec.PhaseExport {
				left += float64(p.Seconds)
			}
		}
		return left
	}
	for _, tc := range []struct {
		most    int
		seconds float64
		want    int
	}{{8, 1e6, 8}, {8, after(8), 8}, {8, after(8) - 0.1, 7}, {8, after(2), 2}, {8, after(2) - 0.1, 0}, {8, -5, 0}, {1, after(1), 1}, {1, after(1) - 0.1, 0}} {
		if got := training.Epochs(recipe(1, 8), b, tc.most, tc.seconds); got != tc.want {
			t.Errorf("of %d epochs in %v s: %d, want %d", tc.most, tc.seconds, got, tc.want)
		}
	}
	if got, want := training.After(recipe(1, 8), b), 8.0; got != want {
		t.Errorf("the files take %v s, want %v", got, want)
	}
}

// TestMissing: what any choice may need is to be known.
func TestMissing(t *testing.T) {
	empty, err := rates.Open(t.TempDir(), rates.NewKey("base", 224, "features"))
	if err != nil {
		t.Fatal(err)
	}
	training := hundred(0, 0)
	kinds := map[string]bool{}
	for _, p := range training.Missing(recipe(2, 4), empty) {
		kinds[p.String()+p.Of] = true
	}
	if !kinds["reading photosblock"] || !kinds["reading photos"] || !kinds["fine-tuningblock"] || len(kinds) != 8 {
		t.Errorf("missing are %v", kinds)
	}
	if missing := training.Missing(recipe(2, 4), book(t)); len(missing) > 0 {
		t.Errorf("missing are %v", missing)
	}
}
