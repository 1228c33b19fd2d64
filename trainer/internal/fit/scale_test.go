package fit_test

import (
	"math"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

// depths is clouds with a second depth in front, which says nothing and is a thousand times as large, and one feature
// that is the same everywhere.
func depths() fit.Data {
	const noise = 20
	d := clouds(120, 1)
	inner, below := d.Read, d.Dim
	d.Dim, d.Parts = noise+below, []int{noise, below}
	d.Read = func(row int, dst []float32) error {
		for j := range noise {
			// Deterministic, and nothing to do with the class.
			dst[j] = 1000 * float32(math.Sin(float64(7919*row+104729*j)))
		}
		dst[noise-1] = 6
		return inner(row, dst[noise:])
	}
	return d
}

func TestDepthsCountAlike(t *testing.T) {
	d := depths()
	tr, _ := training(t, d)
	r := recipe(fit.Logistic)
	r.Epochs, r.Patience = 60, 60
	r = resolve(t, tr, r)
	state, err := tr.Run(t.Context(), r, tr.Start())
	if err != nil {
		t.Fatal(err)
	}
	if state.BestAccuracy < 0.8 {
		t.Errorf("accuracy %.2f: the depth of larger numbers drowned the other one", state.BestAccuracy)
	}
	// The head takes features as they are, whatever their scale.
	h, right := tr.Head(state), 0
	row := make([]float32, d.Dim)
	for _, s := range d.Val {
		if err := d.Read(s.Row, row); err != nil {
			t.Fatal(err)
		}
		p := h.Logits(row)
		if slices.Index(p, slices.Max(p)) == s.Class {
			right++
		}
	}
	if got := float64(right) / float64(len(d.Val)); math.Abs(got-state.BestAccuracy) > 0.02 {
		t.Errorf("the head alone is right on %.3f, the training said %.3f", got, state.BestAccuracy)
	}
	for _, w := range h.Kernel {
		if math.IsNaN(float64(w)) || math.Abs(float64(w)) > 1e3 {
			t.Fatalf("a weight of %v", w)
		}
	}
}

func TestPartsMustFit(t *testing.T) {
	d := depths()
	d.Parts[0]++
	if _, err := fit.New(d); err == nil {
		t.Error("rows of other parts passed")
	}
}
