package fit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/blas/blas32"

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
	adamRate  = 1e-3 // for batches of 64; it grows with the root of the batch
)

// Resolve replaces every automatic value of the recipe by the one for these data, and shrinks a batch that is larger
// than the data. It takes a second or so where L2 has to be chosen.
func (t *Training) Resolve(ctx context.Context, r runspec.Recipe) (runspec.Recipe, error) {
	d := t.data
	if r.BatchSize == 0 {
		r.BatchSize = 64
		for r.BatchSize < 1024 && len(d.Train) > 400*r.BatchSize {
			r.BatchSize *= 2
		}
	}
	r.BatchSize = max(1, min(r.BatchSize, len(d.Train)))
	if r.LearningRate == 0 {
		r.LearningRate = adamRate * math.Sqrt(float64(r.BatchSize)/64)
		if r.Head != Dense {
			curvature, err := t.curvature()
			if err != nil {
				return r, err
			}
			r.LearningRate = roundRate(1 / curvature)
		}
	}
	if r.ClassWeights != balanced && r.ClassWeights != none {
		counts := d.counts()
		r.ClassWeights = none
		if float64(slices.Max(counts)) > imbalance*float64(slices.Min(counts)) {
			r.ClassWeights = balanced
		}
	}
	if r.L2 != 0 {
		return r, nil
	}
	r.L2 = denseL2
	var err error
	if r.Head != Dense {
		r.L2, err = t.chooseL2(ctx, r)
	}
	return r, err
}

// roundRate keeps two digits, since the number is shown, and the recipe's range.
func roundRate(rate float64) float64 {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(rate, 'e', 1, 64), 64) // what is formatted can be parsed
	return min(1, max(1e-5, rounded))
}

const (
	curvatureRows  = 1000 // the largest eigenvalue is known well enough from so many
	curvatureSteps = 12
)

// curvature is the largest eigenvalue of the features' covariance, by power iteration. The Hessian of the softmax loss
// is at most half of it (Böhning 1992), so a learning rate of its inverse is safe with momentum.
func (t *Training) curvature() (float64, error) {
	dim := t.data.Dim
	sample := Shuffled(t.data.Train, 0, 0)
	sample = sample[:min(len(sample), curvatureRows)]
	x := make([][]float32, len(sample))
	for i, s := range sample {
		var err error
		if x[i], err = t.rows.at(s.Row, make([]float32, dim)); err != nil {
			return 0, err
		}
	}
	v := make([]float32, dim)
	for j := range v {
		v[j] = float32(1 / math.Sqrt(float64(dim)))
	}
	// Not below the mean eigenvalue, which scaling makes 1.
	largest := 1.0
	for range curvatureSteps {
		next := make([]float32, dim)
		for _, row := range x {
			blas32.Axpy(blas32.Dot(vector(row), vector(v))/float32(len(x)), vector(row), vector(next))
		}
		length := float64(blas32.Nrm2(vector(next)))
		if length < 1e-6 {
			break
		}
		largest = max(1, length)
		for j := range v {
			v[j] = next[j] / float32(length)
		}
	}
	return largest, nil
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
	folds          = 4       // of equal size that the images are dealt to
	tried          = 2       // folds that are held out in turn, one a core; more of them chose no better (docs/bench.md)
	searchEpochs   = 8       // for each candidate, beginning where the one before ended
	searchProducts = 120_000 // images × classes at most, so that the search takes seconds
)

// candidates are the strengths of L2 that are tried, strongest first. Steps of 3 are fine enough: between neighbours the
// accuracy on our development sets differs by less than chance.
func candidates() []float64 { return []float64{0.1, 0.03, 0.01, 0.003, 0.001} }

// chooseL2 returns the L2 whose loss is lowest in cross-validation on the training images (view 0; of large sets a part).
func (t *Training) chooseL2(ctx context.Context, r runspec.Recipe) (float64, error) {
	var plain []Sample
	for _, s := range t.data.Train {
		if s.View == 0 {
			plain = append(plain, s)
		}
	}
	plain = Shuffled(plain, r.Seed, 0)
	plain = plain[:min(len(plain), max(500, searchProducts/t.data.Classes))]
	values := candidates()
	losses := make([][]float64, tried)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cores())
	for fold := range losses {
		group.Go(func() (err error) {
			losses[fold], err = t.path(ctx, r, values, plain, fold)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, fmt.Errorf("choose L2: %w", err)
	}
	best, lowest := values[0], math.Inf(1)
	for i, l2 := range values {
		sum := 0.0
		for _, loss := range losses {
			sum += loss[i]
		}
		if sum < lowest {
			best, lowest = l2, sum
		}
	}
	return best, nil
}

// path trains without one fold for each value in turn and returns the losses on the fold, infinite from where on it
// diverges. A fold is chosen by image, so that copies in another class stay together.
func (t *Training) path(ctx context.Context, r runspec.Recipe, values []float64, samples []Sample, fold int) ([]float64, error) {
	losses := make([]float64, len(values))
	var train, held []Sample
	for _, s := range samples {
		if Mix(uint64(r.Seed), s.Key, 2)%folds == uint64(fold) {
			held = append(held, s)
		} else {
			train = append(train, s)
		}
	}
	if len(train) == 0 || len(held) == 0 { // a handful of images
		return losses, nil
	}
	size := min(r.BatchSize, len(train))
	b := newBatch(size, t.data.Dim, t.data.Classes, 1)
	p := newParams(t.data.Classes, t.data.Dim)
	h := hyper{weights: t.data.classWeights(r.ClassWeights), seed: r.Seed, teacher: t.data.Teacher}
	for i := range values {
		h.l2, h.epoch = values[i], i*searchEpochs
		err := t.descend(ctx, b, &p, h, r.LearningRate, train, searchEpochs)
		if errors.Is(err, errDiverged) {
			for ; i < len(values); i++ {
				losses[i] = math.Inf(1)
			}
			return losses, nil
		}
		if err != nil {
			return nil, err
		}
		s, err := b.measure(&p, t.rows, held)
		if err != nil {
			return nil, err
		}
		losses[i] = s.loss
	}
	return losses, nil
}

// descend trains p further for some epochs, which count on from h.epoch, in batches of b's size.
func (t *Training) descend(ctx context.Context, b *batch, p *Params, h hyper, rate float64, train []Sample, epochs int) error {
	size := len(b.x)
	steps := epochs * ((len(train) + size - 1) / size)
	p.Step = 0
	for range epochs {
		h.epoch++
		var s sums
		for part := range slices.Chunk(Shuffled(train, h.seed, h.epoch), size) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			h.rate = cosine(rate, p.Step, steps)
			if err := b.learn(p, t.rows, part, &h, &s); err != nil {
				return err
			}
		}
	}
	return nil
}

// cosine is the learning rate of a step: from the full one down to a twentieth (Loshchilov and Hutter 2017).
func cosine(full float64, step, steps int) float64 {
	const floor = 0.05
	progress := min(1, float64(step)/float64(max(1, steps)))
	return full * (floor + (1-floor)*(1+math.Cos(math.Pi*progress))/2)
}

// Amount is how much a training has to learn from.
type Amount struct {
	Rows, Plain, Val int // training samples, those among them that are view 0, and validation samples
	Dim, Classes     int
}

// Work is how many products of a feature and a weight a training takes: choosing L2 where r leaves it open, epochs, and
// refit epochs with the validation samples. Learning from a sample counts once, measuring on one half. Time is in
// proportion to it.
func Work(r runspec.Recipe, a Amount, epochs, refit int) float64 {
	samples := float64(epochs)*(float64(a.Rows)+float64(a.Val)/2) + float64(refit)*(float64(a.Rows)+1.5*float64(a.Val))
	if r.L2 == 0 && r.Head != Dense {
		searched := float64(min(a.Plain, max(500, searchProducts/a.Classes)))
		samples += float64(tried*len(candidates())) * searched * (searchEpochs*(folds-1) + 0.5) / folds
	}
	return samples * float64(a.Dim) * float64(a.Classes)
}
