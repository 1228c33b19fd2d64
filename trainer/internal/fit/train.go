package fit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// State is where a training stands after an epoch: with the same data and recipe it goes on from there bit for bit.
type State struct {
	Epoch        int // finished ones
	Params       Params
	Best         Params // weights only
	BestEpoch    int
	BestLoss     float64
	BestAccuracy float64
	Waited       int     // epochs since the best one
	RateScale    float64 // 1, less after the loss was not finite
}

// clone is a copy that shares nothing.
func (s State) clone() State {
	s.Params, s.Best = s.Params.clone(), s.Best.clone()
	return s
}

// Head is a finished classifier: a Dense layer that takes features as they are or, if there are deviations, clipped: 0 for
// those Reach deviations or more below their mean, 6 for those as far above, and evenly in between.
type Head struct {
	Mean, Deviation []float32 // [dim]; nil: features as they are
	Kernel          []float32 // [dim,classes], as Keras keeps it
	Bias            []float32 // [classes]
}

// Training is a head being trained on data.
type Training struct {
	data Data
	rows *rows
	from *Head // what it begins with; nil: with nothing
	// Epoch hears of each finished epoch, with a copy of the state that is the callee's own. It answers whether to
	// finish now.
	Epoch func(runspec.Epoch, State) (stop bool, err error)
	// Warn hears sentences for people.
	Warn func(text string)
}

// New prepares a training; all rows of data are read once.
func New(d Data) (*Training, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	r, err := newRows(d)
	if err != nil {
		return nil, err
	}
	return &Training{data: d, rows: r}, nil
}

// From makes the training, and its Refit, begin with a head of the same features and classes.
func (t *Training) From(h Head) { t.from = &h }

// Scale is a head on features that are centred and scaled as this training's are: the inverse of Scaled.Head.
// h takes features as they are; where this training clips them, the two agree on those that lie within its bounds.
func (t *Training) Scale(h Head) Scaled {
	classes, dim := len(h.Bias), len(t.rows.mean)
	s := Scaled{Mean: t.rows.mean, Scale: t.rows.scale, Deviation: t.rows.deviation, Kernel: make([]float32, classes*dim), Bias: make([]float32, classes)}
	for c := range classes {
		bias := float64(h.Bias[c])
		for j := range dim {
			w := float64(h.Kernel[j*classes+c])
			s.Kernel[c*dim+j] = float32(w / float64(t.rows.scale[j]))
			bias += w * float64(t.rows.mean[j])
		}
		s.Bias[c] = float32(bias)
	}
	return s
}

// Start is the state before the first epoch.
func (t *Training) Start() State {
	p := newParams(t.data.Classes, t.data.Dim)
	if t.from != nil {
		s := t.Scale(*t.from)
		p.Kernel, p.Bias = s.Kernel, s.Bias
	}
	return State{Params: p, Best: p.clone(), BestLoss: math.Inf(1), RateScale: 1}
}

// maxBackOffs is how often a training that does not converge is tried again more carefully.
const maxBackOffs = 5

// Run trains from the given state until the recipe's epochs are done, validation stops getting better, or Epoch says
// so, and returns the last state. r must be resolved. When ctx ends, its cause is returned and what was learned since
// the last call to Epoch is lost.
func (t *Training) Run(ctx context.Context, r runspec.Recipe, s State) (State, error) {
	s = s.clone()
	b := newBatch(max(r.BatchSize, 64), t.data.Dim, t.data.Classes, cores())
	steps := r.Epochs * ((len(t.data.Train) + r.BatchSize - 1) / r.BatchSize)
	backOffs := 0
	for s.Epoch < r.Epochs && s.Waited < r.Patience {
		before := s.clone()
		start := time.Now()
		report, err := t.epoch(ctx, r, &s, b, steps)
		if errors.Is(err, errDiverged) {
			if backOffs++; backOffs > maxBackOffs {
				return s, errors.New("the training does not converge even at a small learning rate; lower the learning rate in the recipe")
			}
			s = before
			s.RateScale /= 3
			t.Warn(fmt.Sprintf("The loss was not a number in epoch %d; going on with a third of the learning rate.", s.Epoch+1))
			continue
		}
		if err != nil {
			return s, err
		}
		seconds := time.Since(start).Seconds()
		report.Seconds = runspec.Float(seconds)
		report.ImagesPerSecond = runspec.Float(float64(len(t.data.Train)) / max(seconds, 1e-9))
		stop, err := t.Epoch(report, s.clone())
		if err != nil || stop {
			return s, err
		}
	}
	return s, nil
}

// epoch goes once through the training samples and measures the outcome.
func (t *Training) epoch(ctx context.Context, r runspec.Recipe, s *State, b *batch, steps int) (runspec.Epoch, error) {
	h := hyper{l2: r.L2, weights: t.data.classWeights(r.ClassWeights), seed: r.Seed, epoch: s.Epoch + 1, teacher: t.data.Teacher}
	if r.Head == Dense {
		h.adam, h.dropout = true, r.Dropout
	}
	var learned sums
	for part := range slices.Chunk(Shuffled(t.data.Train, r.Seed, s.Epoch+1), r.BatchSize) {
		if ctx.Err() != nil {
			return runspec.Epoch{}, context.Cause(ctx)
		}
		h.rate = s.RateScale * cosine(r.LearningRate, s.Params.Step, steps)
		if err := b.learn(&s.Params, t.rows, part, &h, &learned); err != nil {
			return runspec.Epoch{}, err
		}
	}
	val, err := b.measure(&s.Params, t.rows, t.data.Val)
	if err != nil {
		return runspec.Epoch{}, err
	}
	if !finite(val.loss) {
		return runspec.Epoch{}, errDiverged
	}
	s.Epoch++
	s.Waited++
	if val.meanLoss() < s.BestLoss {
		s.Best = Params{Kernel: slices.Clone(s.Params.Kernel), Bias: slices.Clone(s.Params.Bias)}
		s.BestEpoch, s.BestLoss, s.BestAccuracy, s.Waited = s.Epoch, val.meanLoss(), val.accuracy(), 0
	}
	return runspec.Epoch{Phase: runspec.PhaseHead, Epoch: s.Epoch,
		TrainLoss: runspec.Float(learned.meanLoss()), TrainAccuracy: runspec.Float(learned.accuracy()),
		ValLoss: runspec.Float(val.meanLoss()), ValAccuracy: runspec.Float(val.accuracy()),
		LearningRate: runspec.Float(h.rate)}, nil
}

// Scaled is a head on features that are centred and scaled: softmax(Kernel·(x−Mean)·Scale + Bias), where x−Mean is at most
// Reach·Deviation either way if there are deviations.
type Scaled struct {
	Mean, Scale  []float32 // [dim]
	Deviation    []float32 // [dim]; nil: features are not clipped
	Kernel, Bias []float32 // [classes,dim], [classes]
}

// Scaled returns the best weights of a state as they are trained.
func (t *Training) Scaled(s State) Scaled {
	return Scaled{Mean: t.rows.mean, Scale: t.rows.scale, Deviation: t.rows.deviation, Kernel: s.Best.Kernel, Bias: s.Best.Bias}
}

// Head returns the best weights of a state.
func (t *Training) Head(s State) Head { return t.Scaled(s).Head() }

// Head folds the scaling in, so that the head takes plain features: w·(x−μ)·s + b = (w·s)·x + (b − Σ w·s·μ). With a clipped
// feature u of 0…6, (x−μ) is (u−3)·Reach·σ/3.
func (s Scaled) Head() Head {
	dim, classes := len(s.Mean), len(s.Bias)
	h := Head{Kernel: make([]float32, dim*classes), Bias: make([]float32, classes)}
	centre := func(j int) (at, unit float64) { return float64(s.Mean[j]), 1 }
	if s.Deviation != nil {
		h.Mean, h.Deviation = s.Mean, s.Deviation
		centre = func(j int) (at, unit float64) { return 3, Reach * float64(s.Deviation[j]) / 3 }
	}
	for c := range classes {
		bias := float64(s.Bias[c])
		for j := range dim {
			at, unit := centre(j)
			w := float64(s.Kernel[c*dim+j]) * float64(s.Scale[j]) * unit
			h.Kernel[j*classes+c] = float32(w)
			bias -= w * at
		}
		h.Bias[c] = float32(bias)
	}
	return h
}

// Cooled is the head with its logits divided by temperature.
func (h Head) Cooled(temperature float64) Head {
	divided := func(v []float32) []float32 {
		out := make([]float32, len(v))
		for i, x := range v {
			out[i] = float32(float64(x) / temperature)
		}
		return out
	}
	return Head{Mean: h.Mean, Deviation: h.Deviation, Kernel: divided(h.Kernel), Bias: divided(h.Bias)}
}

// Unclipped is the head that takes features as they are and agrees with h where none is clipped.
func (h Head) Unclipped() Head {
	if h.Deviation == nil {
		return h
	}
	classes := len(h.Bias)
	out := Head{Kernel: make([]float32, len(h.Kernel)), Bias: make([]float32, classes)}
	for c := range classes {
		bias := float64(h.Bias[c])
		for j, d := range h.Deviation {
			slope := 3 / (Reach * float64(d))
			w := float64(h.Kernel[j*classes+c])
			out.Kernel[j*classes+c] = float32(w * slope)
			bias += w * (3 - float64(h.Mean[j])*slope)
		}
		out.Bias[c] = float32(bias)
	}
	return out
}

// Beside is a head whose logits are the sum of those of h and other, on the features of h followed by those of other. Both
// clip them.
func (h Head) Beside(other Head) Head {
	sum := Head{Mean: slices.Concat(h.Mean, other.Mean), Deviation: slices.Concat(h.Deviation, other.Deviation), Kernel: slices.Concat(h.Kernel, other.Kernel), Bias: slices.Clone(h.Bias)}
	for c, b := range other.Bias {
		sum.Bias[c] += b
	}
	return sum
}

// Logits are the head's answers for one row of plain features, before softmax makes them probabilities.
func (h Head) Logits(features []float32) []float32 {
	classes := len(h.Bias)
	logits := make([]float64, classes)
	for c := range logits {
		logits[c] = float64(h.Bias[c])
	}
	for j, x := range features {
		if h.Deviation != nil {
			x = min(6, max(0, 3+(x-h.Mean[j])*3/(Reach*h.Deviation[j])))
		}
		if x == 0 {
			continue
		}
		for c, w := range h.Kernel[j*classes : (j+1)*classes] {
			logits[c] += float64(x) * float64(w)
		}
	}
	out := make([]float32, classes)
	for c, v := range logits {
		out[c] = float32(v)
	}
	return out
}
