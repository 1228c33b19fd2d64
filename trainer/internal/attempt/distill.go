package attempt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/durable"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/weights"
)

// teacher is the finished model that a training learns from as well.
type teacher struct {
	model network.Model
	key   features.Key
	place []int         // of each label among the teacher's classes
	set   *features.Set // its logits, rows as of the features
	saw   bool          // it may have learned from photos that are held out here
}

// loadTeacher reads the model that the recipe names, if it names one, and holds its classes against the training's.
func (a *Attempt) loadTeacher(t *training) error {
	if t.recipe.Teacher == "" {
		return nil
	}
	spec := a.spec.Teacher
	if spec == nil {
		return fail(runspec.ExitBadSpec, "the recipe names a teacher, but the spec does not say where it is; install server and trainer of the same release")
	}
	model, hash, err := readTeacher(*spec)
	if err != nil {
		return fail(runspec.ExitBadData, "the teacher cannot be read (%v); choose another run as the teacher", err)
	}
	if len(model.Labels) != len(t.labels) || slices.ContainsFunc(t.labels, func(label string) bool { return !slices.Contains(model.Labels, label) }) {
		return fail(runspec.ExitBadSpec, "the teacher tells %s apart, and this training %s; a teacher must have the same classes",
			safe.Texts(model.Labels, ", "), safe.Texts(t.labels, ", "))
	}
	answers := model.Network
	answers.Features, answers.FeatureDim = network.PredictionsName, len(model.Labels)
	model.Network = answers
	r, own := spec.Recipe, t.recipe
	t.teacher = &teacher{model: model, key: features.NewKey(hash, answers, data.Fit(r.Preprocessing)),
		saw: spec.Digest != a.spec.Dataset.Digest || r.Seed != own.Seed || r.Validation != own.Validation || r.Test != own.Test}
	for _, label := range t.labels {
		t.teacher.place = append(t.teacher.place, slices.Index(model.Labels, label))
	}
	switch {
	case t.teacher.saw:
		a.journal.Log("warning", "The teacher was trained on another split of the photos, so it may know some that are held out here: accuracies flatter it, and a little its student. Train with the teacher's seed on its photos for a fair comparison.")
	case spec.Unrefit == "" && r.Test > 0:
		a.journal.Log("warning", "The teacher learned from the validation photos too, and what it was before is not kept: the validation accuracy flatters its student. Retry the teacher's run for a fair one.")
	}
	return nil
}

// readTeacher reads a finished model as it was before it learned from the validation photos, as far as that is kept, and
// hashes what it read.
func readTeacher(from runspec.Teacher) (network.Model, string, error) {
	model, err := export.Read(from.Model)
	if err != nil {
		return model, "", err
	}
	hash, err := fileHash(from.Model)
	if err != nil || from.Unrefit == "" {
		return model, hash, err
	}
	raw, _, err := weights.ReadSafetensors(from.Unrefit)
	if err != nil {
		return model, "", err
	}
	before, err := weights.Decode(raw)
	if err != nil {
		return model, "", err
	}
	for name, array := range before {
		model.Weights[name] = array
	}
	if err := model.Network.Validate(model.Weights); err != nil {
		return model, "", err
	}
	more, err := fileHash(from.Unrefit)
	return model, hash + more, err
}

// keepUnrefit keeps what is about to learn from the validation photos as it is: trained arrays of the base, nil for none, and
// the head.
func (a *Attempt) keepUnrefit(tuned network.Weights, head fit.Head) error {
	arrays := headWeights(head)
	maps.Copy(arrays, tuned)
	content, err := weights.Encode(arrays, map[string]string{"format": "cultivar-unrefit 1"})
	if err != nil {
		return fmt.Errorf("keep the model as it is: %w", err)
	}
	if err := durable.WriteBytes(a.path(runspec.UnrefitFile), content); err != nil {
		return fmt.Errorf("keep the model as it is: %w", err)
	}
	return nil
}

func fileHash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// askTeacher has the teacher answer for every row that the features were computed for, once: answers are cached as
// features are. Told to finish now, it leaves out those that are missing.
func (a *Attempt) askTeacher(ctx context.Context, t *training) error {
	if t.teacher == nil {
		return nil
	}
	cache, err := features.Open(a.spec.Paths.Features, t.teacher.key, a.writer())
	if err != nil {
		return err
	}
	suspects, err := a.suspects()
	if err != nil {
		return err
	}
	pass := &features.Pass{Network: t.teacher.model.Network, Weights: t.teacher.model.Weights, Fit: t.teacher.key.Fit,
		Packs: a.spec.Paths.Packs, Items: t.items, Wants: t.wants, Notes: a.dir, Suspects: suspects,
		Progress: a.phase(runspec.PhaseTeacher, len(t.wants)),
		Problem:  func(data.Item, *data.Fault) {}} // the pass before it has told
	sets, err := a.compute(ctx, pass, cache)
	if err != nil {
		return err
	}
	t.teacher.set = sets[0]
	return nil
}

// logits fills dst with the teacher's answer for a row, in the order of the training's labels.
func (t *teacher) logits(row int, dst []float32) (bool, error) {
	if !t.set.Has(row) {
		return false, nil
	}
	own := make([]float32, len(dst))
	if err := t.set.Read(row, own); err != nil {
		return false, err
	}
	for i, place := range t.place {
		dst[i] = own[place]
	}
	return true, nil
}

// lesson is what the head learns from the teacher; nil without one.
func (t *training) lesson() *fit.Teacher {
	if t.teacher == nil {
		return nil
	}
	return &fit.Teacher{Temperature: t.recipe.TeacherTemperature, Weight: t.recipe.TeacherWeight, Logits: t.teacher.logits}
}

// compute runs a pass; told to finish now, it returns what there is.
func (a *Attempt) compute(ctx context.Context, pass *features.Pass, caches ...*features.Cache) ([]*features.Set, error) {
	var sets []*features.Set
	err := a.untilStopped(ctx, func(ctx context.Context) (err error) {
		sets, err = pass.Run(ctx, caches...)
		return err
	})
	if err != nil && ctx.Err() == nil && a.stopped.Load() {
		a.journal.Log("info", "Told to finish now: going on with the photos looked at so far.")
		sets, err = features.FindAll(caches, pass.Rows())
	}
	var store *data.StoreError
	if errors.As(err, &store) {
		return nil, fail(runspec.ExitBadData, "%s", store.Text)
	}
	return sets, err
}

// writer names this executor in the caches.
func (a *Attempt) writer() string {
	return fmt.Sprintf("%s-%d-%s", a.spec.Task, a.spec.Attempt, a.executor)
}
