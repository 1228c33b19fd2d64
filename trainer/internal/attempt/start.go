package attempt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
	"github.com/cultivar-ml/cultivar/trainer/internal/finetune"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/start"
)

// earlier is the run that a training goes on from.
type earlier struct {
	start.Start
	split []manifest.SplitLine
}

// openEarlier reads what the run left that the recipe starts from; nil: it starts from none. Base and image size that are
// left open are that run's.
func (a *Attempt) openEarlier(t *training) error {
	if t.recipe.StartFrom == "" {
		return nil
	}
	dir := a.spec.Paths.Start
	if dir == "" {
		return fail(runspec.ExitBadSpec, "the recipe starts from run %q, but the spec does not say where that is; install server and trainer of the same release", t.recipe.StartFrom)
	}
	const remedy = "train that run again, or start from none"
	var e earlier
	var err error
	if e.Start, err = start.Load(filepath.Join(dir, runspec.StartFile)); errors.Is(err, fs.ErrNotExist) {
		return fail(runspec.ExitBadData, "the run that this one is to start from has left nothing to start from, as runs of older releases have not; %s", remedy)
	} else if err != nil {
		return fail(runspec.ExitBadData, "what the run has left that this one is to start from cannot be read (%v); %s", err, remedy)
	}
	split, err := os.Open(filepath.Join(dir, runspec.ArtifactsDir, runspec.SplitFile))
	if err == nil {
		defer split.Close()
		e.split, err = manifest.DecodeSplit(split)
	}
	if err != nil {
		return fail(runspec.ExitBadData, "which photos the run learned from that this one is to start from cannot be read (%v); %s", err, remedy)
	}
	if t.recipe.Base == "" {
		t.recipe.Base = e.Base
	}
	if t.recipe.ImageSize == 0 {
		t.recipe.ImageSize = e.ImageSize
	}
	t.earlier = &e
	return nil
}

// checkEarlier refuses a run whose head cannot be put on this training's base.
func (t *training) checkEarlier() error {
	e := t.earlier
	if e == nil {
		return nil
	}
	differ := func(what, mine, theirs string) error {
		return fail(runspec.ExitBadSpec, "this training has the %s %s, but the run that it is to start from had %s; choose that, or start from no run", what, mine, safe.Text(theirs))
	}
	switch {
	case t.recipe.Base != e.Base:
		return differ("base model", t.recipe.Base, e.Base)
	case t.sha256 != e.SHA256:
		return fail(runspec.ExitBadSpec, "the base model %s has been installed anew with other weights since the run that this one is to start from; start from no run", t.recipe.Base)
	case t.recipe.ImageSize != e.ImageSize:
		return differ("image size", fmt.Sprint(t.recipe.ImageSize), fmt.Sprint(e.ImageSize))
	case t.recipe.Preprocessing != e.Fit:
		return differ("preprocessing", t.recipe.Preprocessing, e.Fit)
	case t.key.Cut != e.Features || len(e.Head.Kernel) != t.base.FeatureDim*len(e.Labels):
		return fail(runspec.ExitBadSpec, "this training has %s features, and the run that it is to start from had others; choose those, or start from no run", t.recipe.Features)
	}
	return nil
}

// divide decides which image is for what.
func (t *training) divide() (notes []string) {
	shares := manifest.SplitOptions{Seed: t.recipe.Seed, Validation: t.recipe.Validation, Test: t.recipe.Test}
	if t.earlier == nil {
		t.sides, notes = manifest.Split(t.images, shares)
		return notes
	}
	t.sides, notes = manifest.SplitAfter(t.images, shares, t.earlier.split)
	return notes
}

// goOn makes a head's training begin with the earlier run's.
func (a *Attempt) goOn(t *training, training *fit.Training) {
	e := t.earlier
	if e == nil {
		return
	}
	head, kept := start.For(e.Head, e.Labels, t.labels)
	training.From(head)
	known := map[string]bool{}
	for _, l := range e.split {
		known[l.SHA256] = true
	}
	photos := len(t.images)
	for _, im := range t.images {
		if known[im.SHA256] {
			photos--
		}
	}
	a.journal.Log("info", fmt.Sprintf("Going on from an earlier run: it knew %d of the %d classes, and %d of the %d photos are new. The others stay on the side of the split that they were on.",
		kept, len(t.labels), photos, len(t.images)))
	if e.Tuned != nil && t.cut.name == "" {
		a.journal.Log("info", "The earlier run fine-tuned the base model; as this one does not, only its head is gone on from.")
	}
}

// tunedBefore are the weights and the head that fine-tuning of net goes on from: those of the earlier run, where that trained
// nothing but what net has. Else ok is false.
func (a *Attempt) tunedBefore(t *training, net network.Network, scaled *fit.Training) (w network.Weights, head fit.Scaled, ok bool, err error) {
	e := t.earlier
	if e == nil || e.Tuned == nil {
		return nil, fit.Scaled{}, false, nil
	}
	names, err := finetune.Names(net)
	if err != nil {
		return nil, fit.Scaled{}, false, err
	}
	w = make(network.Weights, len(t.weights))
	for name, array := range t.weights {
		w[name] = array
	}
	for name, array := range e.Tuned {
		if !slices.Contains(names, name) || !slices.Equal(array.Shape, t.weights[name].Shape) {
			a.journal.Log("info", "The earlier run fine-tuned more of the base model than this one does, so fine-tuning begins with the base model as it is.")
			return nil, fit.Scaled{}, false, nil
		}
		w[name] = array
	}
	if len(e.TunedHead.Kernel) != t.plain.FeatureDim*len(e.Labels) {
		return nil, fit.Scaled{}, false, nil
	}
	plain, _ := start.For(e.TunedHead, e.Labels, t.labels)
	return w, scaled.Scale(plain), true, nil
}

// leave keeps what a later training goes on from.
func (a *Attempt) leave(t *training) error {
	s := t.left
	s.About = start.About{Base: t.recipe.Base, SHA256: t.sha256, ImageSize: t.recipe.ImageSize, Fit: t.recipe.Preprocessing,
		Features: t.key.Cut, Labels: t.labels}
	return s.Save(a.path(runspec.StartFile))
}
