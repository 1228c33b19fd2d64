// Package finetune trains the part of a network behind a cut together with its head, from activations at the cut that are
// computed already, so that nothing below the cut is ever computed twice. It knows no images and writes no files.
package finetune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/calibrate"
	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Data is what is learned from and measured on.
type Data struct {
	Train, Val []fit.Sample // Val: plain views
	// Weights are those of the classes in the loss.
	Weights []float64
	// Read fills dst with what the network takes for a sample as float16, little-endian: the activation at the cut, or the
	// pixels. It may be called from several goroutines.
	Read func(s fit.Sample, dst []byte) error
	// Teacher has answers that are learned from as well, for rows of samples; nil: the classes alone are.
	Teacher *fit.Teacher
	// Fresh asks for a view of each training image that is new in each epoch, numbered from 1, instead of taking turns
	// with those in Train, which then has one of each.
	Fresh bool
}

// Settings are the hyperparameters, all resolved.
type Settings struct {
	Epochs    int
	BatchSize int
	Rate      float64 // of AdamW, after warming up
	Smoothing float64 // share of a label that is spread over all classes (Szegedy et al. 2015)
	Mixup     float64 // α of the Beta distribution that images are mixed by; 0: they are not
	Patience  int     // epochs without a better one before it ends
	HeadLoss  float64 // of what the head alone can do on the validation images: what is much worse has gone wrong
	Seed      int64
}

// State is where a training stands after an epoch: with the same data and settings it goes on from there bit for bit.
type State struct {
	Epoch, Step  int
	Weights      Vector  // as the last step left them
	M, V         Vector  // moments
	Mean         Vector  // moving average of Weights: what is measured and kept
	Best         Vector  // nil before the best epoch
	BestEpoch    int     // 0: none was finished
	BestLoss     float64 // on the validation images, calibrated
	BestAccuracy float64
	Waited       int     // epochs since the best one
	RateScale    float64 // 1, less after a setback
}

// Vectors are those of a state, which are some megabytes each.
func (s *State) Vectors() []*Vector { return []*Vector{&s.Weights, &s.M, &s.V, &s.Mean, &s.Best} }

// Bare is a state without its vectors.
func (s State) Bare() State {
	for _, v := range s.Vectors() {
		*v = nil
	}
	return s
}

// clone is a copy that shares nothing but the best weights, which are never changed.
func (s State) clone() State {
	s.Weights, s.M, s.V, s.Mean = slices.Clone(s.Weights), slices.Clone(s.M), slices.Clone(s.V), slices.Clone(s.Mean)
	return s
}

// Learned is what is needed of a state to use or go on from the best weights.
func (s State) Learned() State {
	best := s.Best
	s = s.Bare()
	s.Best = best
	return s
}

// shardSize images are differentiated at once by one session. It does not depend on the cores, so that results do not;
// smaller ones are hardly slower, as nothing is shared between images but the arrays. A whole network keeps 60 MB for each.
func (d Data) shardSize(net network.Network) int {
	const wide = 20 // 14 are those of 224 pixels at a sixteenth, 28 those at an eighth, which take four times the memory
	switch {
	case d.Fresh:
		return 4
	case net.Size > wide:
		return 8
	}
	return 16
}

// Training is a network being fine-tuned. Close frees its sessions.
type Training struct {
	data     Data
	settings Settings
	layout   *layout
	weights  network.Weights
	from     fit.Scaled
	size     int            // of a shard
	images   [][]fit.Sample // views of each
	shards   []*shard
	// Epoch hears of each finished epoch, with a copy of the state that is the callee's own. It answers whether to finish now.
	Epoch func(runspec.Epoch, State) (stop bool, err error)
	// Warn hears sentences for people.
	Warn func(text string)
}

// New prepares to fine-tune net, which is a network or its Suffix, without a head, with weights w. It begins with the head
// from, which was trained on net's features.
func New(net network.Network, w network.Weights, from fit.Scaled, d Data, s Settings) (*Training, error) {
	if len(d.Train) == 0 || len(d.Val) == 0 {
		return nil, fmt.Errorf("cannot fine-tune on %d images, validated on %d", len(d.Train), len(d.Val))
	}
	l, err := newLayout(net, from, s.Mixup > 0)
	if err != nil {
		return nil, fmt.Errorf("fine-tune: %w", err)
	}
	if d.Teacher != nil {
		l.softness = d.Teacher.Temperature
	}
	t := &Training{data: d, settings: s, layout: l, weights: w, from: from, size: d.shardSize(net), images: byImage(d.Train)}
	for range min(runtime.GOMAXPROCS(0), max(1, (s.BatchSize+t.size-1)/t.size)) {
		one, err := newShard(l, w, 1)
		if err != nil {
			t.Close()
			return nil, err
		}
		t.shards = append(t.shards, one)
	}
	return t, nil
}

// Close frees the sessions.
func (t *Training) Close() {
	for _, s := range t.shards {
		s.session.Close()
	}
}

// byImage groups samples, which are in order of image, class and view.
func byImage(samples []fit.Sample) [][]fit.Sample {
	var groups [][]fit.Sample
	for i, s := range samples {
		if i > 0 && samples[i-1].Key == s.Key && samples[i-1].Class == s.Class {
			groups[len(groups)-1] = append(groups[len(groups)-1], s)
		} else {
			groups = append(groups, []fit.Sample{s})
		}
	}
	return groups
}

// Start is the state before the first epoch.
func (t *Training) Start() (State, error) {
	v, err := t.layout.pack(t.weights, t.from)
	if err != nil {
		return State{}, err
	}
	return State{Weights: v, M: make(Vector, len(v)), V: make(Vector, len(v)), Mean: slices.Clone(v), RateScale: 1}, nil
}

const (
	maxBackOffs = 3
	// worse is how many times the loss of the head alone the loss may be before it counts as a setback: of a tuned network,
	// whose rate is high at first, it may be higher for some epochs. Of a loss near 0 multiples mean nothing.
	worse, small = 2.0, 0.15
)

// collapsed tells whether an epoch, the first after a quarter of all, has ruined what the head could do.
func (t *Training) collapsed(s State, m measure) bool {
	return s.Epoch == t.settings.Epochs/4 && m.loss > worse*max(t.settings.HeadLoss, small)
}

// Run trains from s until the epochs are done, no epoch has been better for long, or Epoch says so, and returns the last
// state. When ctx ends, its cause is returned and what was learned since the last call to Epoch is lost.
func (t *Training) Run(ctx context.Context, s State) (State, error) {
	s = s.clone()
	backOffs := 0
	for s.Epoch < t.settings.Epochs && s.Waited < t.settings.Patience {
		start := time.Now()
		learned, err := t.epoch(ctx, &s, t.images, t.schedule())
		var m measure
		if err == nil {
			m, err = t.measure(s.Mean)
		}
		if err != nil && !errors.Is(err, errDiverged) {
			return s, err
		}
		if setback := err != nil || t.collapsed(s, m); setback && backOffs < maxBackOffs {
			backOffs++
			again, err := t.Start()
			if err != nil {
				return s, err
			}
			again.RateScale = s.RateScale / 3
			t.Warn(fmt.Sprintf("Fine-tuning went wrong in epoch %d; beginning it again at a third of the learning rate.", s.Epoch+1))
			s = again
			continue
		}
		if err != nil {
			t.Warn("Fine-tuning does not work even at a small learning rate; the best so far is kept.")
			return s, nil
		}
		s.Epoch++
		s.Waited++
		if s.BestEpoch == 0 || m.loss < s.BestLoss {
			s.Best = slices.Clone(s.Mean)
			s.BestEpoch, s.BestLoss, s.BestAccuracy, s.Waited = s.Epoch, m.loss, m.accuracy, 0
		}
		stop, err := t.Epoch(t.report(s, learned, m, time.Since(start)), s.clone())
		if err != nil || stop {
			return s, err
		}
	}
	return s, nil
}

func (t *Training) report(s State, learned sums, m measure, took time.Duration) runspec.Epoch {
	return runspec.Epoch{Phase: runspec.PhaseFinetune, Epoch: s.Epoch,
		TrainLoss: runspec.Float(learned.loss / max(1, learned.weight)), TrainAccuracy: runspec.Float(float64(learned.correct) / float64(max(1, learned.n))),
		ValLoss: runspec.Float(m.loss), ValAccuracy: runspec.Float(m.accuracy), LearningRate: runspec.Float(t.schedule().rate(s.Step) * s.RateScale),
		Seconds: runspec.Float(took.Seconds()), ImagesPerSecond: runspec.Float(float64(len(t.images)) / max(took.Seconds(), 1e-9))}
}

// HeadLoss is that of the settings.
func (t *Training) HeadLoss() float64 { return t.settings.HeadLoss }

// Logits are the answers [n,classes] that the best weights of a state give for samples.
func (t *Training) Logits(s State, samples []fit.Sample) ([]float32, error) {
	return t.answer(s.Best, samples)
}

// Model returns the arrays of the base that were trained and the head, of the best weights of a state.
func (t *Training) Model(s State) (network.Weights, fit.Head) {
	w, head := t.layout.unpack(s.Best)
	return w, head.Head()
}

// measure is how good weights are on the validation images.
type measure struct {
	loss, accuracy float64
}

func (t *Training) measure(v Vector) (measure, error) {
	truth := make([]int, len(t.data.Val))
	for i, s := range t.data.Val {
		truth[i] = s.Class
	}
	logits, err := t.answer(v, t.data.Val)
	if err != nil {
		return measure{}, err
	}
	var m measure
	_, m.loss = calibrate.Temperature(logits, truth)
	if math.IsNaN(m.loss) || math.IsInf(m.loss, 0) {
		return m, errDiverged
	}
	right := 0
	for i, class := range truth {
		if evaluate.Best(logits[i*t.layout.classes:(i+1)*t.layout.classes]) == class {
			right++
		}
	}
	m.accuracy = float64(right) / float64(len(truth))
	return m, nil
}

// errDiverged says that a loss is not finite.
var errDiverged = errors.New("the loss is not finite")
