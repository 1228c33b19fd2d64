package attempt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/checkpoint"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/finetune"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/plan"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// cut is where fine-tuning begins. name is empty when there is none.
type cut struct {
	name string
	key  features.Key
	set  *features.Set // activations, rows as of the features; nil when all of the base is trained
}

// cached tells whether there are activations to compute.
func (c cut) cached() bool { return c.name != "" && c.name != runspec.NoCut }

func (t *training) close() {
	t.set.Close()
	if t.cut.set != nil {
		t.cut.set.Close()
	}
	if t.teacher != nil && t.teacher.set != nil {
		t.teacher.set.Close()
	}
}

// The rates suit batches of 32 of all bases: that of what lies behind a cut, and that of all of a base, of which the first layers
// are ruined easily. What lies deepest learns at a third of it. Where it is too high, a training notices and begins again with
// less.
const (
	finetuneRate  = 1e-3
	wholeRate     = 3e-4
	finetuneBatch = 32
)

// activationBytes is how much activations of one training may take on disk where the server does not say; of large sets fewer
// views are kept.
const activationBytes = 16 << 30

// resolveCut settles where fine-tuning begins, and on how many views.
func (a *Attempt) resolveCut(t *training) error {
	if t.recipe.FinetuneEpochs == 0 {
		return nil
	}
	if t.recipe.FinetuneRate == 0 {
		t.recipe.FinetuneRate = finetuneRate
		if t.recipe.Cut == runspec.NoCut {
			t.recipe.FinetuneRate = wholeRate
		}
	}
	if t.recipe.Cut == "" {
		var err error
		if t.recipe.Cut, err = t.plain.DefaultCut(); err != nil {
			return fail(runspec.ExitBadSpec, "%v; switch fine-tuning off", err)
		}
	}
	if t.recipe.Cut == runspec.NoCut {
		t.cut = cut{name: t.recipe.Cut}
		return nil
	}
	key, err := features.NewActivationKey(t.sha256, t.plain, t.recipe.Cut, data.Fit(t.recipe.Preprocessing))
	if err != nil {
		return fail(runspec.ExitBadSpec, "%v", err)
	}
	t.cut = cut{name: t.recipe.Cut, key: key}
	views, most := t.recipe.Views, cmp.Or(a.spec.FeatureBytes, activationBytes)
	for t.recipe.Views > 1 && int64(len(t.items)*t.recipe.Views)*key.RowBytes() > most {
		t.recipe.Views--
	}
	if t.recipe.Views < views {
		a.journal.Log("info", fmt.Sprintf("Views of each photo: %d rather than %d, so that what fine-tuning learns from takes no more of the disk than the server allows.", t.recipe.Views, views))
	}
	return nil
}

// caches are those of the features and, with fine-tuning, of the activations.
func (a *Attempt) caches(t *training) ([]*features.Cache, error) {
	keys := []features.Key{t.key}
	if t.cut.cached() {
		keys = append(keys, t.cut.key)
	}
	var caches []*features.Cache
	for _, key := range keys {
		c, err := features.Open(a.spec.Paths.Features, key, a.writer())
		if err != nil {
			return nil, err
		}
		caches = append(caches, c)
	}
	return caches, nil
}

// finetune adapts the blocks behind the cut, if there is one. kept tells whether that made the model better on the
// validation photos than the head of c; if it did not, the head alone is to be kept.
func (a *Attempt) finetune(ctx context.Context, t *training, head *fit.Training, c *checkpoint.Checkpoint, save func() error) (kept bool, err error) {
	if t.cut.name == "" || a.stopped.Load() || !a.epochsInTime(t, c) {
		if t.pruned != nil {
			a.journal.Log("warning", "It ends before fine-tuning, which pruning needs: nothing is pruned, and the head alone is kept.")
		}
		return false, nil
	}
	t.took = tuned{begun: time.Now()}
	if !t.cut.cached() {
		if t.studio, err = a.openStudio(t); err != nil {
			return false, fmt.Errorf("fine-tune: %w", err)
		}
		defer t.studio.close()
	}
	if err := a.prune(t, head.Head(c.State)); err != nil {
		return false, fmt.Errorf("fine-tune: %w", err)
	}
	tuning, err := a.openTuning(ctx, t, head, c)
	if err != nil {
		return false, fmt.Errorf("fine-tune: %w", err)
	}
	defer tuning.Close()
	r := c.Recipe
	progress := a.phase(runspec.PhaseFinetune, r.FinetuneEpochs)
	if c.Tuning == nil {
		start, err := tuning.Start()
		if err != nil {
			return false, err
		}
		c.Tuning = &start
	}
	tuning.Warn = func(text string) { a.journal.Log("warning", text) }
	tuning.Epoch = func(e runspec.Epoch, s finetune.State) (bool, error) {
		c.Tuning = &s
		e.Epoch, e.Attempt = c.State.Epoch+e.Epoch, a.spec.Attempt
		a.journal.Add(runspec.TypeEpoch, e)
		progress(s.Epoch, r.FinetuneEpochs)
		err := save()
		tf.Release() // the state before and what writing this one took
		t.took.epoch()
		return a.stopped.Load() || !a.tuneLonger(t, r.FinetuneEpochs), err
	}
	var last finetune.State
	err = a.untilStopped(ctx, func(ctx context.Context) (err error) {
		last, err = tuning.Run(ctx, *c.Tuning)
		return err
	})
	if errors.Is(err, errStopped) { // what was learned since the last whole epoch does not count
		last, err = *c.Tuning, nil
	}
	if err != nil {
		return false, fmt.Errorf("fine-tune: %w", err)
	}
	a.learnedTuning(t)
	last, c.Tuning = last.Learned(), nil // all else was needed to go on, and is on disk
	if last.BestEpoch > 0 {
		kept, err = a.keepTuned(ctx, t, tuning, last, c)
	}
	if err == nil && !kept {
		a.notTuned(t)
	}
	return kept, err
}

// notTuned says that the head alone is kept.
func (a *Attempt) notTuned(t *training) {
	if t.whole == nil {
		a.journal.Log("info", "Fine-tuning did not make it better on the validation photos: the head alone is kept.")
		return
	}
	t.unprune()
	a.journal.Log("warning", "What pruning left did not learn the classes, so nothing is pruned, and the head alone is kept. Prune less, or fine-tune for more epochs.")
}

// openTuning prepares fine-tuning with the features of the last layer, whatever the head alone has learned from: with those
// of several depths it learned by heart. It begins where an earlier run has ended, if there is one that fine-tuned.
func (a *Attempt) openTuning(ctx context.Context, t *training, head *fit.Training, c *checkpoint.Checkpoint) (*finetune.Training, error) {
	r, net := c.Recipe, t.plain
	d := finetune.Data{Train: t.samples(manifest.Train), Val: t.samples(manifest.Validation), Weights: head.ClassWeights(c.Recipe.ClassWeights), Teacher: t.lesson()}
	if t.cut.cached() {
		var err error
		if net, err = net.Suffix(t.cut.name); err != nil {
			return nil, err
		}
		d.Read = func(s fit.Sample, dst []byte) error { return t.cut.set.ReadHalves(s.Row, dst) }
	} else {
		d.Train, d.Read, d.Fresh = plainViews(d.Train), t.studio.read, true
	}
	early := r
	early.Epochs, early.Patience = plan.EarlyEpochs, plan.EarlyEpochs
	start := time.Now()
	brief, end, err := t.headOn(ctx, t.lastFeatures(), early)
	if err != nil {
		return nil, err
	}
	t.took.early = time.Since(start)
	end.Best = end.Params
	weights, from, ok, err := a.tunedBefore(t, net, brief)
	if err != nil {
		return nil, err
	}
	if !ok {
		weights, from = t.weights, brief.Scaled(end)
	}
	_, loss, err := t.calibrate(head.Head(c.State))
	if err != nil {
		return nil, err
	}
	if t.whole != nil { // with fewer channels it need not do what the head could
		loss = math.Log(float64(len(t.labels)))
	}
	return finetune.New(net, weights, from, d, finetune.Settings{HeadLoss: loss, Epochs: r.FinetuneEpochs, BatchSize: min(finetuneBatch, len(d.Train)),
		Rate: r.FinetuneRate, Smoothing: r.Smoothing, Mixup: r.Mixup, Patience: r.Patience, Seed: r.Seed})
}

func plainViews(samples []fit.Sample) []fit.Sample {
	return slices.DeleteFunc(slices.Clone(samples), func(s fit.Sample) bool { return s.View != 0 })
}

// untilStopped calls work with a context that ends, by errStopped, when the user wants to finish now.
func (a *Attempt) untilStopped(ctx context.Context, work func(context.Context) error) error {
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-a.stopping:
			stop(errStopped)
		case <-working.Done():
		}
	}()
	return work(working)
}
