package fit_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

// Beside what tells the classes, each sample has a row of coins, by which a head that learns from it learns it by heart.
func TestOutOfFoldLearnsNothingFromTheHeld(t *testing.T) {
	const marks, coins = 15, 200
	d := clouds(100, 1)
	all := slices.Concat(d.Train, d.Val)
	folds, wrong := make([]int, len(all)), map[int]int{}
	truth := map[int]int{} // class by row
	for i := range all {
		folds[i] = i / 3 % 3 // the classes take turns
		truth[all[i].Row] = all[i].Class
	}
	for m := range marks {
		i := 7 + 25*m
		wrong[i] = all[i].Class
		all[i].Class = (all[i].Class + 1) % d.Classes
	}
	d.Train, d.Val = all[:len(d.Train)], all[len(d.Train):]
	plain, width := d.Read, d.Dim
	d.Dim += coins
	d.Read = func(row int, dst []float32) error {
		r := rand.New(rand.NewPCG(3, uint64(row)))
		for j := width; j < len(dst); j++ {
			dst[j] = float32(r.IntN(2))
		}
		err := plain(row, dst[:width])
		dst[truth[row]]++ // plainer than clouds are, so that the labels and not chance decide
		return err
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
	if seen < marks-3 {
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
