package fit

import (
	"context"
	"slices"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Refit trains afresh on the training and the validation samples together, with the same recipe and for as many epochs
// as were best: the usual last step once validation has answered what it was held back for. More photos make a better
// head, and the test samples have still not been seen. r must be resolved and best be an ended training's state.
func (t *Training) Refit(ctx context.Context, r runspec.Recipe, best State) (Head, error) {
	d := t.data
	d.Train = slices.Concat(t.data.Train, t.data.Val)
	all, err := New(d)
	if err != nil {
		return Head{}, err
	}
	all.Warn, all.from = t.Warn, t.from
	all.Epoch = func(_ runspec.Epoch, s State) (bool, error) { return s.Epoch >= best.BestEpoch, nil }
	r.Patience = r.Epochs // the number of epochs is known already
	end, err := all.Run(ctx, r, all.Start())
	if err != nil {
		return Head{}, err
	}
	end.Best = end.Params
	return all.Head(end), nil
}
