package attempt

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
	"github.com/cultivar-ml/cultivar/trainer/internal/checkpoint"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/plan"
	"github.com/cultivar-ml/cultivar/trainer/internal/start"
)

// errStopped ends the feature pass when the user wants to finish now.
var errStopped = errors.New("told to finish now")

// training is what the phases of a train task hand on.
type training struct {
	dataset
	spec    runspec.Recipe  // as given
	recipe  runspec.Recipe  // resolved as far as the phases have come
	base    network.Network // what is kept: plain, or with features of several depths
	plain   network.Network // the base as it is
	weights network.Weights
	sha256  string // of the base's weights
	key     features.Key
	wants   []features.Want
	set     *features.Set
	cut     cut     // where fine-tuning begins, if it is asked for
	studio  *studio // where all of the base is fine-tuned
	took    tuned   // by fine-tuning
	budget  budget
	earlier *earlier    // run that is gone on from; nil: none
	left    start.Start // for a later run to go on from
	head    fit.Head
	teacher *teacher        // nil: none
	pruned  *pruned         // what fine-tuning begins with; nil: the base as it is
	whole   *whole          // what it was pruned from, from then on
	tuned   network.Weights // arrays of the base that fine-tuning changed and that are kept; nil: none
	answers []float32       // probabilities [n,classes] that what is kept gives for the held-out photos
	// threshold is the probability below which the model is unsure of its answer; 0: there is none.
	threshold float64
	heads     *fit.Training // that the labels are judged by; nil once they are

	evaluation runspec.Report // of those answers
}

func (a *Attempt) train(ctx context.Context) error {
	t, err := a.prepare(ctx)
	if err != nil {
		return err
	}
	if err := a.computeFeatures(ctx, t); err != nil {
		return err
	}
	defer t.close()
	if err := a.askTeacher(ctx, t); err != nil {
		return err
	}
	if err := a.trainHead(ctx, t); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := a.leave(t); err != nil {
		return err
	}
	if err := a.evaluateHead(ctx, t); err != nil {
		return err
	}
	if err := a.export(ctx, t); err != nil {
		return err
	}
	a.remember(t)
	return nil
}

// load reads the dataset and the base.
func (a *Attempt) load() (*training, error) {
	a.begin(runspec.PhasePrepare, 0)
	d, notes, err := openDataset(a.spec.Dataset)
	if err != nil {
		return nil, err
	}
	for _, note := range notes {
		a.journal.Log("info", note)
	}
	t := &training{dataset: d, spec: a.spec.Recipe, recipe: a.spec.Recipe}
	return t, a.loadBase(t)
}

// prepare also decides which image is for what.
func (a *Attempt) prepare(ctx context.Context) (*training, error) {
	if err := readyExports(a.spec.Recipe); err != nil {
		return nil, err
	}
	t, err := a.load()
	if err != nil {
		return nil, err
	}
	for _, note := range t.divide() {
		a.journal.Log("info", note)
	}
	if err := a.resolveCut(t); err != nil {
		return nil, err
	}
	if err := t.resolvePruning(); err != nil {
		return nil, err
	}
	if err := a.loadTeacher(t); err != nil {
		return nil, err
	}
	took := time.Since(a.started).Seconds()
	if err := a.keepTime(ctx, t); err != nil {
		return nil, err
	}
	t.wants = t.rows()
	if err := a.expect(t); err != nil {
		return nil, err
	}
	a.learned(func(note plan.Note) { plan.LearnBeginning(note, took) })
	return t, nil
}

// rows lists what features are needed: all views of what is learned from, the plain view of the rest. The order is
// that of the contents' hashes, so that any first part of it has images of all classes.
func (t *training) rows() []features.Want {
	order := make([]int, len(t.items))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return slices.Compare(t.items[i].Hash[:], t.items[j].Hash[:]) })
	var wants []features.Want
	for _, i := range order {
		views := 1
		if t.sides[i] == manifest.Train {
			views = t.recipe.Views
		}
		for v := range views {
			wants = append(wants, features.Want{Item: i, View: v})
		}
	}
	return wants
}

func (a *Attempt) computeFeatures(ctx context.Context, t *training) error {
	suspects, err := a.suspects()
	if err != nil {
		return err
	}
	caches, err := a.caches(t)
	if err != nil {
		return err
	}
	pass := &features.Pass{Network: t.base, Weights: t.weights, Fit: t.key.Fit, Packs: a.spec.Paths.Packs,
		Items: t.items, Wants: t.wants, Notes: a.dir, Suspects: suspects,
		Progress: a.counted(a.phase(runspec.PhaseFeatures, len(t.wants))),
		Problem: func(item data.Item, fault *data.Fault) {
			a.problem(item, t.labels[item.Class], fault)
		}}
	sets, err := a.compute(ctx, pass, caches...)
	if err != nil {
		return err
	}
	a.readPhotos(t, pass.Timing)
	t.set = sets[0]
	if t.cut.cached() {
		t.cut.set = sets[1]
	}
	return nil
}

// samples are the rows of a side that there are, plain views only or all.
func (t *training) samples(side manifest.Side) []fit.Sample {
	var out []fit.Sample
	for row, w := range t.wants {
		if t.sides[w.Item] == side && t.set.Has(row) {
			item := t.items[w.Item]
			out = append(out, fit.Sample{Row: row, Class: item.Class, View: w.View, Key: binary.LittleEndian.Uint64(item.Hash[:])})
		}
	}
	// The order of the list of images must not matter.
	slices.SortStableFunc(out, func(x, y fit.Sample) int {
		return cmp.Or(cmp.Compare(x.Key, y.Key), cmp.Compare(x.Class, y.Class), cmp.Compare(x.View, y.View))
	})
	return out
}

// fitData checks that what could be read is still enough.
func (t *training) fitData() (fit.Data, error) {
	parts, err := t.base.Parts()
	if err != nil {
		return fit.Data{}, err
	}
	d := fit.Data{Dim: t.set.Dim(), Classes: len(t.labels), Parts: parts, Train: t.samples(manifest.Train),
		Val: t.samples(manifest.Validation), Teacher: t.lesson(), Read: t.set.Read}
	if len(d.Train) == 0 {
		return d, fail(runspec.ExitNoImages, "none of the %d images could be read; see the list of problems", len(t.items))
	}
	count := make([]int, d.Classes)
	for _, s := range d.Train {
		count[s.Class]++
	}
	var empty []string
	for c, n := range count {
		if n == 0 {
			empty = append(empty, t.labels[c])
		}
	}
	if len(empty) > 0 {
		return d, fail(runspec.ExitTooFew, "no image to learn from is readable in %s; see the list of problems, add photos or leave the class out", safe.Texts(empty, ", "))
	}
	if len(d.Val) == 0 {
		return d, fail(runspec.ExitTooFew, "there is no image to check the training on; add photos, at least five for each class")
	}
	return d, nil
}

func (a *Attempt) trainHead(ctx context.Context, t *training) error {
	start := time.Now()
	d, err := t.fitData()
	if err != nil {
		return err
	}
	training, err := a.newHead(t, d)
	if err != nil {
		return fmt.Errorf("train the head: %w", err)
	}
	spec, err := digest(a.spec)
	if err != nil {
		return err
	}
	progress := a.phase(runspec.PhaseHead, t.recipe.Epochs)
	c, err := a.startOrResume(ctx, t, training, spec)
	if err != nil {
		return err
	}
	t.recipe = c.Recipe
	first := c.Epoch()
	saved := time.Now()
	save := func() error {
		saved = time.Now()
		if err := checkpoint.Save(a.path(runspec.CheckpointDir), c); err != nil {
			return err
		}
		a.journal.Add(runspec.TypeCheckpoint, runspec.Checkpoint{Step: c.State.Params.Step, Epoch: c.Epoch()})
		return nil
	}
	if first > 0 { // the earlier executor's folder may be gone next time
		if err := save(); err != nil {
			return err
		}
	}
	training.Epoch = func(e runspec.Epoch, s fit.State) (bool, error) {
		c.State = s
		e.Attempt = a.spec.Attempt
		a.journal.Add(runspec.TypeEpoch, e)
		progress(e.Epoch, c.Recipe.Epochs)
		if s.Epoch == 1 || time.Since(saved) >= checkpointApart {
			if err := save(); err != nil {
				return false, err
			}
		}
		return (a.stopped.Load() || a.late(t.budget, 0)) && s.Epoch >= epochsBeforeStop, nil
	}
	_, err = training.Run(ctx, c.Recipe, c.State)
	// Also when interrupted: the next attempt goes on from the last whole epoch.
	if c.State.Epoch > 0 && (err == nil || ctx.Err() != nil) {
		if saved := save(); saved != nil {
			return saved
		}
	}
	if err != nil {
		return fmt.Errorf("train the head: %w", err)
	}
	t.left.Head = training.Head(c.State).Unclipped()
	a.learnedHead(t, d, first, c.State.Epoch, time.Since(start))
	return a.keepBetter(ctx, t, training, &c, save)
}

// keepBetter fine-tunes, if that is asked for, and keeps what comes of it or the head alone.
func (a *Attempt) keepBetter(ctx context.Context, t *training, head *fit.Training, c *checkpoint.Checkpoint, save func() error) error {
	t.heads = head
	if kept, err := a.finetune(ctx, t, head, c, save); kept || err != nil {
		return err
	}
	return a.keepHead(ctx, t, head, *c)
}

// newHead prepares to train a head, from an earlier run's if there is one.
func (a *Attempt) newHead(t *training, d fit.Data) (*fit.Training, error) {
	training, err := fit.New(d)
	if err != nil {
		return nil, err
	}
	training.Warn = func(text string) { a.journal.Log("warning", text) }
	a.goOn(t, training)
	return training, nil
}

const (
	checkpointApart = 2 * time.Second
	// epochsBeforeStop is how many epochs a training does that was told to stop before its first: they take seconds,
	// and without them there would be nothing worth keeping.
	epochsBeforeStop = 5
)

// startOrResume is the previous executor's last checkpoint, or one before the first epoch with the recipe resolved.
func (a *Attempt) startOrResume(ctx context.Context, t *training, training *fit.Training, spec string) (checkpoint.Checkpoint, error) {
	if a.spec.Paths.Previous != "" {
		c, found, err := checkpoint.Load(previousCheckpoints(a.spec.Paths.Previous), spec, t.key.Name())
		if err != nil {
			return c, err
		}
		if found {
			a.journal.Log("info", fmt.Sprintf("Going on after epoch %d of the earlier attempt.", c.Epoch()))
			return c, nil
		}
	}
	recipe, err := training.Resolve(ctx, t.recipe)
	if err != nil {
		return checkpoint.Checkpoint{}, err
	}
	return checkpoint.Checkpoint{Spec: spec, Key: t.key.Name(), Recipe: recipe, State: training.Start()}, nil
}
