package fit

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// foldEpochs is how long each head of OutOfFold learns: longer ones find a few more wrong labels and take longer.
const foldEpochs = 6

// OutOfFold returns logits [n,classes] for samples, each by a head that has not learned from it: folds[i] is the fold of
// sample i, and the head that answers for a fold has learned from the samples of all others, as r says. r must be resolved. The samples need not be the training's own.
func (t *Training) OutOfFold(ctx context.Context, r runspec.Recipe, samples []Sample, folds []int) ([]float32, error) {
	members := map[int][]int{}
	for i, fold := range folds {
		members[fold] = append(members[fold], i)
	}
	logits := make([]float32, len(samples)*t.data.Classes)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cores())
	for fold, held := range members {
		group.Go(func() error {
			var train []Sample
			for i, s := range samples {
				if folds[i] != fold {
					train = append(train, s)
				}
			}
			return t.answerFold(ctx, r, train, samples, held, logits)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("cross-validate: %w", err)
	}
	return logits, nil
}

// answerFold trains on some samples and fills in the answers for the held ones.
func (t *Training) answerFold(ctx context.Context, r runspec.Recipe, train, samples []Sample, held []int, logits []float32) error {
	if len(train) == 0 {
		return fmt.Errorf("all %d images are in one fold", len(samples))
	}
	classes := t.data.Classes
	b := newBatch(min(r.BatchSize, len(train)), t.data.Dim, classes, 1)
	p := newParams(classes, t.data.Dim)
	h := hyper{l2: r.L2, weights: t.data.classWeights(r.ClassWeights), seed: r.Seed}
	if r.Head == Dense {
		h.adam, h.dropout = true, r.Dropout
	}
	if err := t.descend(ctx, b, &p, h, r.LearningRate, train, foldEpochs); err != nil {
		return err
	}
	for _, i := range held {
		if err := b.load(t.rows, samples[i:i+1], nil); err != nil {
			return err
		}
		b.forward(&p, 1)
		copy(logits[i*classes:(i+1)*classes], b.scores)
	}
	return nil
}

// OutOfFoldWork is what OutOfFold takes for so many samples in so many folds, as Work counts it.
func OutOfFoldWork(samples, folds, dim, classes int) float64 {
	n := float64(samples)
	return (foldEpochs*n*float64(folds-1) + n/2) * float64(dim) * float64(classes)
}
