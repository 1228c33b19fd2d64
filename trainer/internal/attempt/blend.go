package attempt

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/calibrate"
	"github.com/cultivar-ml/cultivar/trainer/internal/checkpoint"
	"github.com/cultivar-ml/cultivar/trainer/internal/finetune"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// span is a part of each row of features.
type span struct{ from, to int }

// lastFeatures are those of the base's last layer.
func (t *training) lastFeatures() span { return span{t.set.Dim() - t.plain.FeatureDim, t.set.Dim()} }

// partner is what a fine-tuned network is mixed with: a head that sees what fine-tuning leaves as it was, and so has learned
// something else. That are the features of several depths before the cut, which cost next to nothing more; in an ensemble, all that
// the head alone sees, for which the network is kept as it was beside what it has become. Without such features the span is
// empty.
type partner struct {
	net   network.Network // of the mixture
	apart bool            // what is fine-tuned has Forked names there, and there is nothing but it
	span  span
	head  fit.Head
	refit func() (fit.Head, error) // the same, having learned from the validation photos as well
}

// partnerParts are the lengths of the features of several depths that lie before the cut; none where there is no partner.
func (t *training) partnerParts() []int {
	if t.recipe.Features != deepFeatures || !t.cut.cached() || t.ensemble() {
		return nil
	}
	parts, err := t.base.Parts()
	if err != nil {
		return nil // the features of several depths come from the same shapes
	}
	return parts[:len(t.plain.Before(t.cut.name, t.plain.Taps))]
}

// ensemble tells whether the network is kept as it was beside what fine-tuning makes of it. One that is pruned is to be small.
func (t *training) ensemble() bool {
	return t.recipe.Ensemble == runspec.Ensembled && t.recipe.Prune == 0
}

// fork is the network of an ensemble.
func (t *training) fork() (network.Network, error) {
	behind := ""
	if t.cut.cached() {
		behind = t.cut.name
	}
	return t.base.Fork(t.plain, behind)
}

// former is the partner in an ensemble: the head alone, which is trained already.
func (t *training) former(ctx context.Context, c *checkpoint.Checkpoint) (partner, error) {
	net, err := t.fork()
	refit := func() (fit.Head, error) { return t.heads.Refit(ctx, c.Recipe, c.State) }
	return partner{net: net, apart: true, span: span{0, t.set.Dim()}, head: t.heads.Head(c.State), refit: refit}, err
}

func (t *training) partner(ctx context.Context, c *checkpoint.Checkpoint) (partner, error) {
	if t.ensemble() {
		return t.former(ctx, c)
	}
	r := c.Recipe
	p := partner{net: t.plain}
	parts := t.partnerParts()
	if len(parts) == 0 {
		return p, nil
	}
	p.net.Taps = t.plain.Before(t.cut.name, t.plain.Taps)
	for _, width := range parts {
		p.span.to += width
	}
	var err error
	if p.net, err = p.net.Deep(); err != nil {
		return p, err
	}
	training, end, err := t.headOn(ctx, p.span, r)
	if err != nil {
		return p, err
	}
	p.head = training.Head(end)
	p.refit = func() (fit.Head, error) { return training.Refit(ctx, r, end) }
	return p, nil
}

// headOn trains a head on a part of the features without a word.
func (t *training) headOn(ctx context.Context, s span, r runspec.Recipe) (*fit.Training, fit.State, error) {
	d, err := t.within(s)
	if err != nil {
		return nil, fit.State{}, err
	}
	training, err := fit.New(d)
	if err != nil {
		return nil, fit.State{}, err
	}
	training.Epoch = func(runspec.Epoch, fit.State) (bool, error) { return false, nil }
	training.Warn = func(string) {}
	end, err := training.Run(ctx, r, training.Start())
	return training, end, err
}

// within is what a head on a part of the features learns from.
func (t *training) within(s span) (fit.Data, error) {
	d, err := t.fitData()
	if err != nil || s == (span{0, d.Dim}) {
		return d, err
	}
	whole := d.Dim
	from := 0
	var parts []int
	for _, width := range d.Parts {
		if from >= s.from && from+width <= s.to {
			parts = append(parts, width)
		}
		from += width
	}
	d.Dim, d.Parts = s.to-s.from, parts
	rows := sync.Pool{New: func() any { return new(make([]float32, whole)) }} // large sets are read in each epoch
	d.Read = func(row int, dst []float32) error {
		all := rows.Get().(*[]float32)
		defer rows.Put(all)
		err := t.set.Read(row, *all)
		copy(dst, (*all)[s.from:s.to])
		return err
	}
	return d, nil
}

// keepTuned settles what is kept of a fine-tuned network: mixed with its partner as far as that is better on the validation
// photos, and having learned from those too where test photos measure it. It answers whether that is better than the head
// alone, whose loss is given.
func (a *Attempt) keepTuned(ctx context.Context, t *training, tuning *finetune.Training, s finetune.State, c *checkpoint.Checkpoint) (bool, error) {
	tf.Release() // what fine-tuning no longer needs
	p, err := t.partner(ctx, c)
	if err != nil {
		return false, fmt.Errorf("fine-tune: %w", err)
	}
	val := t.samples(manifest.Validation)
	first, second, err := t.logits(tuning, s, p, val)
	if err != nil {
		return false, err
	}
	share, temperature, loss := calibrate.Blend(first, second, classes(val))
	if loss >= tuning.HeadLoss() {
		return false, nil
	}
	t.threshold = calibrate.Threshold(calibrate.Probabilities(calibrate.Mixed(first, second, share), len(t.labels), temperature), classes(val))
	t.left.Tuned, t.left.TunedHead = tuning.Model(s)
	t.left.TunedHead = t.left.TunedHead.Unclipped()
	a.result.BestEpoch, a.result.Recipe = c.State.Epoch+s.BestEpoch, &t.recipe
	a.result.ValAccuracy = runspec.Float(accuracy(calibrate.Mixed(first, second, share), classes(val)))
	settled := func() (network.Weights, fit.Head) {
		tuned, head := tuning.Model(s)
		head = head.Cooled(temperature / (1 - share))
		if share > 0 {
			head = p.head.Cooled(temperature / share).Beside(head)
			if p.apart {
				tuned = t.forked(p.net, tuned)
			}
		}
		return tuned, head
	}
	_, _, held := t.held()
	refit := t.took.each() * float64(finetune.RefitEpochs(c.Recipe.FinetuneEpochs))
	if len(t.samples(manifest.Test)) > 0 && !a.stopped.Load() && !a.late(t.budget, refit) {
		if err := a.keepUnrefit(settled()); err != nil {
			return false, err
		}
		if s, err = tuning.Refit(ctx, s); err != nil {
			return false, fmt.Errorf("fine-tune: %w", err)
		}
		if share > 0 {
			if p.head, err = p.refit(); err != nil {
				return false, fmt.Errorf("fine-tune: %w", err)
			}
		}
		a.journal.Log("info", fmt.Sprintf("The model that is kept has learned from the %d validation photos too; the test photos measure it.", len(val)))
	}
	if first, second, err = t.logits(tuning, s, p, held); err != nil {
		return false, err
	}
	t.answers = calibrate.Probabilities(calibrate.Mixed(first, second, share), len(t.labels), temperature)
	t.base = t.plain
	if share > 0 {
		t.base = p.net
	}
	t.tuned, t.head = settled()
	return true, nil
}

// forked are the arrays of a forked network's copies: fine-tuned where they were, else as in the base.
func (t *training) forked(net network.Network, tuned network.Weights) network.Weights {
	out := network.Weights{}
	for name, array := range t.weights {
		layer, _, _ := strings.Cut(name, "/")
		if _, ok := net.Layer(network.Forked(layer)); !ok {
			continue
		}
		if changed, ok := tuned[name]; ok {
			array = changed
		}
		out[network.Forked(name)] = array
	}
	return out
}

// logits are what the fine-tuned network and its partner, if it has one, say of samples.
func (t *training) logits(tuning *finetune.Training, s finetune.State, p partner, samples []fit.Sample) (tuned, partner []float32, err error) {
	if tuned, err = tuning.Logits(s, samples); err != nil {
		return nil, nil, fmt.Errorf("fine-tune: %w", err)
	}
	if p.span.to > 0 {
		partner, err = t.headLogits(p.head, p.span, samples)
	}
	return tuned, partner, err
}

// headLogits are what a head on a part of the features says of samples.
func (t *training) headLogits(h fit.Head, s span, samples []fit.Sample) ([]float32, error) {
	row := make([]float32, t.set.Dim())
	var logits []float32
	for _, one := range samples {
		if err := t.set.Read(one.Row, row); err != nil {
			return nil, err
		}
		logits = append(logits, h.Logits(row[s.from:s.to])...)
	}
	return logits, nil
}

func classes(samples []fit.Sample) []int {
	out := make([]int, len(samples))
	for i, s := range samples {
		out[i] = s.Class
	}
	return out
}
