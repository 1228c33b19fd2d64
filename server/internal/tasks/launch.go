package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const inputsFile = "inputs.pack"

// launch writes everything an attempt needs and starts it. Doing it again, after a crash anywhere in it, ends the same.
func (s *Service) launch(ctx context.Context, t store.Task) error {
	err := s.start(ctx, t)
	if err != nil && ctx.Err() == nil {
		return s.abandon(ctx, t, err)
	}
	return err
}

func (s *Service) start(ctx context.Context, t store.Task) error {
	a, err := s.store.Attempt(ctx, t.ID, t.Attempt)
	if err != nil {
		return err
	}
	spec, mounts, err := s.spec(ctx, t)
	if err != nil {
		return err
	}
	if spec.Callback.TokenFile, err = s.credentials.Issue(ctx, t, a); err != nil {
		return err
	}
	failpoint.Hit("task.credential")
	if t.Stop {
		if err := s.raiseStop(t); err != nil {
			return err
		}
	}
	content, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return fmt.Errorf("write spec: %w", err)
	}
	name := path.Join(runspec.TaskDir(t.Owner, t.ID), runspec.SpecFile)
	if err := s.volume.WriteBytes(name, files.FileMode, content); err != nil {
		return err
	}
	specPath, err := s.volume.Path(name)
	if err != nil {
		return err
	}
	err = s.runner.Start(ctx, runner.Job{
		Name: jobName(t), Kind: t.Kind, Owner: t.Owner, Task: t.ID, Attempt: t.Attempt,
		Spec: specPath, Dir: spec.Paths.Attempt, Mounts: mounts, Profile: t.Profile, Parts: spec.Parts,
	})
	failpoint.Hit("task.launched")
	return err
}

// abandon ends an attempt that could not be started, unless it runs after all.
func (s *Service) abandon(ctx context.Context, t store.Task, why error) error {
	status, err := s.runner.Status(ctx, jobName(t))
	if err == nil && status.Phase != runner.Pending {
		return nil // the next look decides
	}
	s.log.ErrorContext(ctx, "start attempt", "task", t.ID, "attempt", t.Attempt, "error", why)
	v := crash(t, "The attempt could not be started on the server; its log says why.")
	var told *api.Error
	if errors.As(why, &told) {
		v = verdict{to: api.StateFailed, reason: told.Message}
	}
	return s.change(ctx, store.Change{
		Task: t.ID, From: t.State, To: v.to, Reason: v.reason,
		Outcome: &store.Outcome{Attempt: t.Attempt, Text: "not started: " + why.Error(), Crash: v.crash},
	})
}

func (s *Service) raiseStop(t store.Task) error {
	return s.volume.WriteBytes(path.Join(runspec.TaskDir(t.Owner, t.ID), runspec.StopFile), files.FileMode, nil)
}

// spec makes the folders of an attempt and says where everything is, and which of it the trainer may see. An *api.Error
// means that it can never be started.
func (s *Service) spec(ctx context.Context, t store.Task) (runspec.Spec, []runner.Mount, error) {
	spec := runspec.Spec{
		Version: runspec.Version, Kind: t.Kind, Task: t.ID, Attempt: t.Attempt, Recipe: t.Recipe,
		Dataset: runspec.Dataset{Digest: t.Digest, Classes: t.Classes, Exclude: []string{}, Relabel: []runspec.Edit{}},
	}
	spec.Paths.Bases, spec.FeatureBytes = s.bases, s.features
	task, dataset := runspec.TaskDir(t.Owner, t.ID), runspec.DatasetDir(t.Owner, t.Digest)
	mounts := []runner.Mount{
		{Name: runspec.PacksDir(t.Owner)},
		{Name: runspec.FeaturesDir(t.Owner), Write: true},
		{Name: task, Write: true},
	}
	if t.Dataset != "" {
		mounts = append(mounts, runner.Mount{Name: dataset})
	}
	for _, m := range mounts {
		if _, err := s.volume.MkdirAll(m.Name); err != nil {
			return runspec.Spec{}, nil, err
		}
	}
	for _, f := range []struct {
		path *string
		name string
	}{
		{&spec.Paths.Packs, runspec.PacksDir(t.Owner)},
		{&spec.Paths.Features, runspec.FeaturesDir(t.Owner)},
		{&spec.Paths.Stop, path.Join(task, runspec.StopFile)},
		{&spec.Dataset.Manifest, path.Join(dataset, runspec.ManifestFile)},
	} {
		var err error
		if *f.path, err = s.volume.Path(f.name); err != nil {
			return runspec.Spec{}, nil, err
		}
	}
	var err error
	if spec.Paths.Attempt, err = s.volume.MkdirAll(attemptDir(t, t.Attempt)); err != nil {
		return runspec.Spec{}, nil, err
	}
	if s.callback != "" {
		spec.Callback.URL = fmt.Sprintf("%s/internal/v1/attempts/%s/%d", s.callback, t.ID, t.Attempt)
	}
	mounts, err = s.complete(ctx, t, &spec, mounts)
	return spec, mounts, err
}

// previous is the folder of the last executor that left a checkpoint; empty when there is none.
func (s *Service) previous(ctx context.Context, t store.Task) (string, error) {
	attempts, err := s.store.Attempts(ctx, t.ID)
	if err != nil {
		return "", err
	}
	for _, a := range attempts {
		if a.Attempt >= t.Attempt || a.Executor == "" {
			continue
		}
		dir, err := s.volume.Path(path.Join(attemptDir(t, a.Attempt), a.Executor))
		if err != nil {
			return "", err
		}
		entries, err := os.ReadDir(filepath.Join(dir, runspec.CheckpointDir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for a checkpoint: %w", err)
		}
		if len(entries) > 0 {
			return dir, nil
		}
	}
	return "", nil
}
