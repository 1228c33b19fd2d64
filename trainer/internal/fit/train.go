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

// Head is a finished classifier: a Dense layer that takes features as they are.
type Head struct {
	Kernel []float32 // [dim,classes], as Keras keeps it
	Bias   []float32 // [classes]
}

// Training is a head being trained on data.
type Training struct {
	data Data
	rows *rows
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

// Start is the state before the first epoch.
func (t *Training) Start() State {
	p := newParams(t.data.Classes, t.data.Dim)
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

// Scaled is a head on features that are centred and scaled: softmax(Kernel·(x−Mean)·Scale + Bias).
type Scaled struct {
	Mean, Scale  []float32 // [dim]
	Kernel, Bias []float32 // [classes,dim], [classes]
}

// Scaled returns the best weights of a state as they are trained.
func (t *Training) Scaled(s State) Scaled {
	return Scaled{Mean: t.rows.mean, Scale: t.rows.scale, Kernel: s.Best.Kernel, Bias: s.Best.Bias}
}

// Head returns the best weights of a state.
func (t *Training) Head(s State) Head { return t.Scaled(s).Head() }

// Head folds the scaling in, so that the head takes plain features: w·(x−μ)·s + b = (w·s)·x + (b − Σ w·s·μ).
func (s Scaled) Head() Head {
	dim, classes := len(s.Mean), len(s.Bias)
	h := Head{Kernel: make([]float32, dim*classes), Bias: make([]float32, classes)}
	for c := range classes {
		bias := float64(s.Bias[c])
		for j := range dim {
			w := float64(s.Kernel[c*dim+j]) * float64(s.Scale[j])
			h.Kernel[j*classes+c] = float32(w)
			bias -= w * float64(s.Mean[j])
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
	return Head{Kernel: divided(h.Kernel), Bias: divided(h.Bias)}
}

// Beside is a head whose logits are the sum of those of h and other, on the features of h followed by those of other.
func (h Head) Beside(other Head) Head {
	sum := Head{Kernel: slices.Concat(h.Kernel, other.Kernel), Bias: slices.Clone(h.Bias)}
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
