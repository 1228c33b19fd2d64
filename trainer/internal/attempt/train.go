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
	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
	"github.com/cultivar-ml/cultivar/trainer/internal/checkpoint"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/plan"
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
	head    fit.Head
	teacher *teacher        // nil: none
	pruned  *pruned         // what fine-tuning begins with; nil: the base as it is
	whole   *whole          // what it was pruned from, from then on
	tuned   network.Weights // arrays of the base that fine-tuning changed and that are kept; nil: none
	answers []float32       // probabilities [n,classes] that what is kept gives for the held-out photos
	// threshold is the probability below which the model is unsure of its answer; 0: there is none.
	threshold float64
	doubted   []runspec.Mislabelled

	evaluation runspec.Report // of those answers
}

func (a *Attempt) train(ctx context.Context) error {
	t, err := a.prepare()
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
	if err := a.evaluateHead(t); err != nil {
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
func (a *Attempt) prepare() (*training, error) {
	if err := readyExports(a.spec.Recipe); err != nil {
		return nil, err
	}
	t, err := a.load()
	if err != nil {
		return nil, err
	}
	sides, notes := manifest.Split(t.images, t.shares())
	t.sides = sides
	for _, note := range notes {
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
	t.wants = t.rows()
	if err := a.expect(t); err != nil {
		return nil, err
	}
	took := time.Since(a.started).Seconds()
	a.learned(func(note plan.Note) { plan.LearnBeginning(note, took) })
	return t, nil
}

// readyExports refuses formats that cannot be made here, before anything is done for them.
func readyExports(r runspec.Recipe) error {
	for _, name := range r.Exports {
		format, err := export.ParseFormat(name)
		if err == nil {
			err = export.Ready(format)
		}
		if err != nil {
			return fail(runspec.ExitBadSpec, "%v", err)
		}
	}
	return nil
}

// shares say how the images are divided.
func (t *training) shares() manifest.SplitOptions {
	return manifest.SplitOptions{Seed: t.recipe.Seed, Validation: t.recipe.Validation, Test: t.recipe.Test}
}

// loadBase resolves base and image size.
func (a *Attempt) loadBase(t *training) error {
	if t.recipe.Base == "" {
		catalog, err := bases.Open(a.spec.Paths.Bases)
		if err != nil {
			return fail(runspec.ExitNoBase, "%v", err)
		}
		if len(catalog.Entries) == 0 {
			return fail(runspec.ExitNoBase, "no base model is installed; add one with: cultivar-trainer bases add")
		}
		t.recipe.Base = catalog.Entries[0].Name
	}
	net, weights, entry, err := bases.Load(a.spec.Paths.Bases, t.recipe.Base)
	if err != nil {
		return fail(runspec.ExitNoBase, "%v", err)
	}
	if t.recipe.ImageSize == 0 {
		t.recipe.ImageSize = net.Size
	}
	if err := checkSize(net, t.recipe.ImageSize); err != nil {
		return err
	}
	net.Size = t.recipe.ImageSize
	t.plain = net
	if t.recipe.Features == deepFeatures {
		if net, err = net.Deep(); err != nil {
			return fail(runspec.ExitBadSpec, "%v; choose the features of the last layer", err)
		}
	}
	t.base, t.weights = net, weights
	t.sha256 = entry.SHA256
	t.key = features.NewKey(entry.SHA256, net, data.Fit(t.recipe.Preprocessing))
	return nil
}

// deepFeatures is the recipe's word for features of several depths.
const deepFeatures = "deep"

// paddedStep is what the size of an image must be a multiple of where a network pads by itself: five halvings must
// come out even, as its paddings are made for that.
const paddedStep = 32

func checkSize(net network.Network, size int) error {
	if size == net.Size || size%paddedStep == 0 {
		return nil
	}
	padded := slices.ContainsFunc(net.Layers, func(l network.Layer) bool { return l.Kind == network.ZeroPadding2D })
	if !padded {
		return nil
	}
	return fail(runspec.ExitBadSpec, "the image size %d does not suit the base model %s; choose a multiple of %d, such as %d",
		size, net.Name, paddedStep, max(3, size/paddedStep)*paddedStep)
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
	training, err := fit.New(d)
	if err != nil {
		return fmt.Errorf("train the head: %w", err)
	}
	training.Warn = func(text string) { a.journal.Log("warning", text) }
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
		return a.stopped.Load() && s.Epoch >= epochsBeforeStop, nil
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
	a.learnedHead(t, d, first, c.State.Epoch, time.Since(start))
	return a.keepBetter(ctx, t, training, &c, save)
}

// keepBetter fine-tunes, if that is asked for, and keeps what comes of it or the head alone.
func (a *Attempt) keepBetter(ctx context.Context, t *training, head *fit.Training, c *checkpoint.Checkpoint, save func() error) error {
	if err := a.doubtLabels(ctx, t, head, c.Recipe); err != nil {
		return err
	}
	if kept, err := a.finetune(ctx, t, head, c, save); kept || err != nil {
		return err
	}
	return a.keepHead(ctx, t, head, *c)
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
