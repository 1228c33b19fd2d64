package fit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// The names of recipe values that this package acts on.
const (
	Logistic = "logistic"
	Dense    = "dense"
	balanced = "balanced"
	none     = "none"
)

const (
	imbalance = 1.5  // from which ratio of the largest to the smallest class on weights are balanced
	denseL2   = 1e-4 // dropout does most of a dense head's regularisation
	rateOf64  = 1e-3 // learning rate for batches of 64; it grows with the root of the batch
)

// Resolve replaces every automatic value of the recipe but L2 of a logistic head (see ChooseL2) by the one for these
// data, and shrinks a batch that is larger than the data.
func Resolve(r runspec.Recipe, d Data) runspec.Recipe {
	if r.BatchSize == 0 {
		r.BatchSize = 64
		for r.BatchSize < 1024 && len(d.Train) > 400*r.BatchSize {
			r.BatchSize *= 2
		}
	}
	r.BatchSize = max(1, min(r.BatchSize, len(d.Train)))
	if r.LearningRate == 0 {
		r.LearningRate = rateOf64 * math.Sqrt(float64(r.BatchSize)/64)
	}
	if r.ClassWeights != balanced && r.ClassWeights != none {
		counts := d.counts()
		r.ClassWeights = none
		if float64(slices.Max(counts)) > imbalance*float64(slices.Min(counts)) {
			r.ClassWeights = balanced
		}
	}
	if r.Head == Dense && r.L2 == 0 {
		r.L2 = denseL2
	}
	return r
}

// counts is how many training images each class has.
func (d Data) counts() []int {
	counts := make([]int, d.Classes)
	for _, s := range d.Train {
		if s.View == 0 {
			counts[s.Class]++
		}
	}
	return counts
}

// classWeights are all 1, or inverse to the class sizes with mean 1 over the images (scikit-learn's "balanced").
func (d Data) classWeights(kind string) []float64 {
	weights := make([]float64, d.Classes)
	counts := d.counts()
	total := 0
	for _, n := range counts {
		total += n
	}
	for c := range weights {
		weights[c] = 1
		if kind == balanced && counts[c] > 0 {
			weights[c] = float64(total) / float64(d.Classes*counts[c])
		}
	}
	return weights
}

const (
	folds          = 3
	searchEpochs   = 12
	searchProducts = 120_000 // images × classes at most, so that the search takes seconds
)

// candidates are the strengths of L2 that are tried.
func candidates() []float64 { return []float64{1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1} }

// ChooseL2 returns the L2 whose loss is lowest in 3-fold cross-validation on the training images (view 0; of large
// sets a part). r must be resolved.
func (t *Training) ChooseL2(ctx context.Context, r runspec.Recipe) (float64, error) {
	var plain []Sample
	for _, s := range t.data.Train {
		if s.View == 0 {
			plain = append(plain, s)
		}
	}
	plain = shuffled(plain, r.Seed, 0)
	plain = plain[:min(len(plain), max(500, searchProducts/t.data.Classes))]
	var parts [folds][2][]Sample // training and held-out samples
	for i := range parts {
		for _, s := range plain {
			side := 0
			if mix(uint64(r.Seed), s.Key, 2)%folds == uint64(i) { // by image: copies in another class stay together
				side = 1
			}
			parts[i][side] = append(parts[i][side], s)
		}
		if len(parts[i][0]) == 0 || len(parts[i][1]) == 0 {
			return candidates()[2], nil // a handful of images: nothing can be told
		}
	}
	values := candidates()
	losses := make([]float64, len(values)*folds)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cores())
	for i := range losses {
		group.Go(func() error {
			part := parts[i%folds]
			loss, err := t.try(ctx, r, values[i/folds], part[0], part[1])
			losses[i] = loss
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, fmt.Errorf("choose L2: %w", err)
	}
	best, lowest := values[0], math.Inf(1)
	for i, l2 := range values {
		if sum := losses[i*folds] + losses[i*folds+1] + losses[i*folds+2]; sum < lowest {
			best, lowest = l2, sum
		}
	}
	return best, nil
}

// try trains on one part and returns the loss on the other, infinite if it diverges.
func (t *Training) try(ctx context.Context, r runspec.Recipe, l2 float64, train, held []Sample) (float64, error) {
	size := min(r.BatchSize, len(train))
	b := newBatch(size, t.data.Dim, t.data.Classes, 1)
	p := newParams(t.data.Classes, t.data.Dim)
	h := hyper{l2: l2, weights: t.data.classWeights(r.ClassWeights), seed: r.Seed}
	steps := searchEpochs * ((len(train) + size - 1) / size)
	for epoch := range searchEpochs {
		var s sums
		for part := range slices.Chunk(shuffled(train, r.Seed, epoch+1), size) {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			h.rate = cosine(r.LearningRate, p.Step, steps)
			if err := b.learn(&p, t.rows, part, &h, &s); errors.Is(err, errDiverged) {
				return math.Inf(1), nil
			} else if err != nil {
				return 0, err
			}
		}
	}
	s, err := b.measure(&p, t.rows, held)
	return s.loss, err
}

// cosine is the learning rate of a step: from the full one down to a twentieth (Loshchilov and Hutter 2017).
func cosine(full float64, step, steps int) float64 {
	const floor = 0.05
	progress := min(1, float64(step)/float64(max(1, steps)))
	return full * (floor + (1-floor)*(1+math.Cos(math.Pi*progress))/2)
}
