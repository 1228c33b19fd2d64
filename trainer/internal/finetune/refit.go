package finetune

import (
	"context"
	"errors"
	"slices"
)

// Of Refit: how long it goes on, as a part of all epochs, and with which part of their learning rate.
const (
	refitPart = 0.3
	refitRate = 0.3
)

// RefitEpochs is how many epochs Refit goes on after a training of so many.
func RefitEpochs(epochs int) int { return max(1, int(refitPart*float64(epochs))) }

// Refit goes on from the best weights of s for some epochs more on the training and the validation images together, once
// validation has answered what it was held back for. When ctx ends, its cause is returned and nothing is changed; the same
// call ends the same.
func (t *Training) Refit(ctx context.Context, s State) (State, error) {
	images := byImage(slices.Concat(t.data.Train, t.data.Val))
	epochs := RefitEpochs(t.settings.Epochs)
	plan := schedule{t.settings.Rate * refitRate, epochs * t.steps(len(images))}
	again := State{Epoch: t.settings.Epochs, Weights: slices.Clone(s.Best), Mean: slices.Clone(s.Best),
		M: make(Vector, len(s.Best)), V: make(Vector, len(s.Best)), RateScale: s.RateScale}
	for range epochs {
		_, err := t.epoch(ctx, &again, images, plan)
		if errors.Is(err, errDiverged) {
			return s, nil
		}
		if err != nil {
			return s, err
		}
		again.Epoch++
	}
	s.Best = again.Mean
	return s, nil
}
