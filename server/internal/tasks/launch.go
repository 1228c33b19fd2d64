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
	"strconv"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
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
	spec, err := s.spec(ctx, t)
	if err != nil {
		return err
	}
	if err := s.credential(ctx, t, a); err != nil {
		return err
	}
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
	return s.runner.Start(ctx, runner.Job{Name: jobName(t), Kind: t.Kind, Spec: specPath, Dir: spec.Paths.Attempt})
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

// credential makes sure that the attempt's token lies in its file and is the one the row knows.
func (s *Service) credential(ctx context.Context, t store.Task, a store.Attempt) error {
	file, err := s.volume.Path(tokenName(t))
	if err != nil {
		return err
	}
	if b, err := os.ReadFile(file); err == nil && auth.Matches(strings.TrimSpace(string(b)), a.TokenHash) {
		return nil
	}
	token := auth.NewToken()
	if err := s.store.RenewToken(ctx, t.ID, t.Attempt, auth.Hash(token)); err != nil {
		return err
	}
	return s.volume.WriteBytes(tokenName(t), files.FileMode, []byte(token))
}

func tokenName(t store.Task) string {
	return path.Join(runspec.TaskDir(t.Owner, t.ID), "token-"+strconv.Itoa(t.Attempt))
}

func (s *Service) raiseStop(t store.Task) error {
	return s.volume.WriteBytes(path.Join(runspec.TaskDir(t.Owner, t.ID), runspec.StopFile), files.FileMode, nil)
}

// spec makes the folders of an attempt and says where everything is. An *api.Error means that it can never be started.
func (s *Service) spec(ctx context.Context, t store.Task) (runspec.Spec, error) {
	spec := runspec.Spec{
		Version: runspec.Version, Kind: t.Kind, Task: t.ID, Attempt: t.Attempt, Recipe: t.Recipe,
		Dataset: runspec.Dataset{Digest: t.Digest, Classes: t.Classes, Exclude: []string{}, Relabel: []runspec.Edit{}},
	}
	spec.Paths.Bases = s.bases
	task := runspec.TaskDir(t.Owner, t.ID)
	for _, f := range []struct {
		path *string
		name string
		dir  bool
	}{
		{&spec.Paths.Packs, runspec.PacksDir(t.Owner), true},
		{&spec.Paths.Features, runspec.FeaturesDir(t.Owner), true},
		{&spec.Paths.Attempt, attemptDir(t, t.Attempt), true},
		{&spec.Paths.Stop, path.Join(task, runspec.StopFile), false},
		{&spec.Dataset.Manifest, path.Join(runspec.DatasetDir(t.Owner, t.Digest), runspec.ManifestFile), false},
		{&spec.Callback.TokenFile, tokenName(t), false},
	} {
		var err error
		if f.dir {
			*f.path, err = s.volume.MkdirAll(f.name)
		} else {
			*f.path, err = s.volume.Path(f.name)
		}
		if err != nil {
			return runspec.Spec{}, err
		}
	}
	if s.callback != "" {
		spec.Callback.URL = fmt.Sprintf("%s/internal/v1/attempts/%s/%d", s.callback, t.ID, t.Attempt)
	}
	var err error
	if t.Kind == runspec.Train {
		spec.Paths.Previous, err = s.previous(ctx, t)
		return spec, err
	}
	if spec.Inputs, err = s.volume.Path(path.Join(task, inputsFile)); err != nil {
		return runspec.Spec{}, err
	}
	spec.Model, err = s.model(ctx, t.Owner, t.ModelOf)
	return spec, err
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
