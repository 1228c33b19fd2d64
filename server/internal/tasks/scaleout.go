package tasks

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// ScaleOut says when the feature pass of a run is divided between several trainers. It is an optimisation and nothing
// else: a run whose features task failed reads the photos that are missing by itself.
type ScaleOut struct {
	Images int // from so many images on; 0: never
	Parts  int // so many trainers; fewer than 2: never
}

// divide tells whether a queued run may begin. A big one first gets a features task, and waits until that has ended.
func (s *Service) divide(ctx context.Context, t store.Task, active []store.Task) (ready bool, err error) {
	if s.scaleOut.Images == 0 || s.scaleOut.Parts < 2 || t.Attempt > 0 || t.Cancel {
		return true, nil
	}
	for _, f := range active {
		if f.Kind == runspec.Features && f.ModelOf == t.ID {
			return false, nil
		}
	}
	done, err := s.store.Ended(ctx, t.Owner, t.Digest)
	if err != nil {
		return false, err
	}
	for _, d := range done {
		if d.ModelOf == t.ID || d.State == api.StateSucceeded && sameFeatures(d.Recipe, t.Recipe) {
			return true, nil
		}
	}
	d, err := s.store.Dataset(ctx, t.Owner, t.Dataset)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil // the run's own start says what is wrong
	}
	if err != nil || d.Images < s.scaleOut.Images {
		return err == nil, err
	}
	_, err = s.add(ctx, store.Task{
		ID: auth.NewID(), Owner: t.Owner, Kind: runspec.Features, Name: t.Name, Dataset: t.Dataset, DatasetName: t.DatasetName,
		Digest: t.Digest, Classes: t.Classes, Recipe: t.Recipe, ModelOf: t.ID, Profile: t.Profile,
	})
	return false, err
}

// sameFeatures tells whether two recipes need the same activations of the same images.
func sameFeatures(a, b runspec.Recipe) bool {
	return a.Base == b.Base && a.StartFrom == b.StartFrom && a.ImageSize == b.ImageSize && a.Preprocessing == b.Preprocessing && a.Views == b.Views &&
		a.Features == b.Features
}

// followRun gives up a features task whose run needs it no longer, and tells the run how far it is.
func (s *Service) followRun(ctx context.Context, t store.Task, status runner.Status) (store.Task, error) {
	run, err := s.store.ActiveTask(ctx, t.ModelOf)
	if err != nil {
		return t, err
	}
	if Terminal(run.State) || run.Cancel {
		t.Cancel = true
		return t, nil
	}
	reason := fmt.Sprintf("%d trainers read its photos first: %d of %d parts are done.", s.scaleOut.Parts, status.Parts, s.scaleOut.Parts)
	if status.Phase == runner.Waiting && status.Why != "" {
		reason = waitingFor(status.Why)
	}
	if run.State != api.StateQueued || run.Reason == reason {
		return t, nil
	}
	if err := s.store.Say(ctx, run.ID, run.State, reason); err != nil && !errors.Is(err, store.ErrConflict) {
		return t, err
	}
	s.broker.wake(run.ID)
	return t, nil
}

// concludeFeatures ends a features task by the job's end alone: its parts write into the cache, which needs no result, and
// what they did not write the run computes.
func (s *Service) concludeFeatures(ctx context.Context, t store.Task, status runner.Status) error {
	to, reason := api.StateFailed, "Not all parts were read ("+describe(status)+"); the run reads the rest itself."
	switch {
	case t.Cancel:
		to, reason = api.StateCancelled, "The run needs it no longer."
	case status.Phase == runner.Exited && status.Exit.Code == runspec.ExitOK && status.Exit.Cause == "":
		to, reason = api.StateSucceeded, ""
		if t.State == api.StateStarting {
			if err := s.markRunning(ctx, t); err != nil {
				return err
			}
			t.State = api.StateRunning
		}
	}
	err := s.change(ctx, store.Change{Task: t.ID, From: t.State, To: to, Reason: reason, Outcome: &store.Outcome{Attempt: t.Attempt, Text: describe(status)}})
	if err != nil {
		return err
	}
	s.log.InfoContext(ctx, "features task ended", "task", t.ID, "run", t.ModelOf, "how", describe(status), "state", to)
	s.Poke()
	return s.runner.Remove(ctx, jobName(t))
}

// complete adds to a spec what its kind needs beyond the images, and to the mounts where that lies.
func (s *Service) complete(ctx context.Context, t store.Task, spec *runspec.Spec, mounts []runner.Mount) ([]runner.Mount, error) {
	mounts, err := s.startFrom(ctx, t, spec, mounts)
	if err != nil {
		return nil, err
	}
	switch t.Kind {
	case runspec.Train:
		if spec.Paths.Previous, err = s.previous(ctx, t); err != nil {
			return nil, err
		}
		return s.seatTeacher(ctx, t, spec, mounts)
	case runspec.Planning:
		if t.Dataset == "" {
			spec.Dataset.Manifest = ""
			spec.Photos, err = s.photos(t)
			return mounts, err
		}
		return s.seatTeacher(ctx, t, spec, mounts)
	case runspec.Features:
		spec.Parts, spec.Callback.URL = s.scaleOut.Parts, "" // nobody owns the attempt, so nobody can register
		return mounts, nil
	}
	if spec.Inputs, err = s.volume.Path(path.Join(runspec.TaskDir(t.Owner, t.ID), inputsFile)); err != nil {
		return nil, err
	}
	model, err := s.model(ctx, t.Owner, t.ModelOf)
	if err != nil {
		return nil, err
	}
	spec.Model, err = s.volume.Path(model)
	return append(mounts, runner.Mount{Name: path.Dir(model)}), err
}
