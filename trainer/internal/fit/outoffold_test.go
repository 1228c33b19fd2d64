package fit_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

// Samples with a wrong label have a mark each, by which a head that learns from them learns them by heart.
func TestOutOfFoldLearnsNothingFromTheHeld(t *testing.T) {
	const marks, strength = 15, 12
	d := clouds(100, 1)
	all := slices.Concat(d.Train, d.Val)
	folds, marked, wrong := make([]int, len(all)), map[int]int{}, map[int]int{}
	for i := range all {
		folds[i] = i / 3 % 3 // the classes take turns
	}
	for m := range marks {
		i := 7 + 25*m
		marked[all[i].Row], wrong[i] = d.Dim+m, all[i].Class
		all[i].Class = (all[i].Class + 1) % d.Classes
	}
	d.Train, d.Val = all[:len(d.Train)], all[len(d.Train):]
	plain, width := d.Read, d.Dim
	d.Dim += marks
	d.Read = func(row int, dst []float32) error {
		clear(dst[width:])
		if at, ok := marked[row]; ok {
			dst[at] = strength
		}
		return plain(row, dst[:width])
	}
	tr, _ := training(t, d)
	r := resolve(t, tr, recipe(fit.Logistic))
	logits, err := tr.OutOfFold(t.Context(), r, all, folds)
	if err != nil {
		t.Fatal(err)
	}
	right, seen := 0, 0
	for i, s := range all {
		row := logits[i*d.Classes : (i+1)*d.Classes]
		told := slices.Index(row, slices.Max(row))
		if class, ok := wrong[i]; ok && told == class {
			seen++
		}
		if told == s.Class {
			right++
		}
	}
	if seen < marks*3/5 { // about as many as of others are told; of those learned from it would be none
		t.Errorf("of %d wrong labels %d are seen through", marks, seen)
	}
	if right < len(all)*3/4 {
		t.Errorf("of %d labels %d are told", len(all), right)
	}
	again, err := tr.OutOfFold(t.Context(), r, all, folds)
	if err != nil || !slices.Equal(again, logits) {
		t.Errorf("a second time it answers otherwise (%v)", err)
	}
	if _, err := tr.OutOfFold(t.Context(), r, all, make([]int, len(all))); err == nil {
		t.Error("with one fold there is nothing to learn from, and no error")
	}
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, err := tr.OutOfFold(ctx, r, all, folds); !errors.Is(err, gone) {
		t.Errorf("cancelled: %v", err)
	}
}
