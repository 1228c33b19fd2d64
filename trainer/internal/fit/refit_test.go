package fit_test

import (
	"reflect"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

// TestRefitLearnsFromValidation marks the validation samples by a feature that no training sample has.
func TestRefitLearnsFromValidation(t *testing.T) {
	d := clouds(100, 1)
	const mark = 19
	held := map[int]int{}
	for _, s := range d.Val {
		held[s.Row] = s.Class
	}
	plain := d.Read
	d.Read = func(row int, dst []float32) error {
		err := plain(row, dst)
		dst[mark] = 0
		if class, ok := held[row]; ok && class == 1 {
			dst[mark] = 5
		}
		return err
	}
	tr, _ := training(t, d)
	r := resolve(t, tr, recipe(fit.Logistic))
	state, err := tr.Run(t.Context(), r, tr.Start())
	if err != nil {
		t.Fatal(err)
	}
	before := tr.Head(state)
	after, err := tr.Refit(t.Context(), r, state)
	if err != nil {
		t.Fatal(err)
	}
	weight := func(h fit.Head) float32 { return h.Kernel[mark*d.Classes+1] }
	if weight(before) != 0 || weight(after) <= 0 {
		t.Errorf("the mark of the validation samples weighs %g before and %g after", weight(before), weight(after))
	}
	again, err := tr.Refit(t.Context(), r, state)
	if err != nil || !reflect.DeepEqual(after, again) {
		t.Errorf("a second refit gives another head (%v)", err)
	}
}
