package tasks

import (
	"context"
	"errors"
	"path"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// resolveStart makes the run that a recipe starts from an id. It must be the user's own and have succeeded; people may name it
// by its number.
func (s *Service) resolveStart(ctx context.Context, user string, r *runspec.Recipe) error {
	if r.StartFrom == "" {
		return nil
	}
	t, err := s.runOf(ctx, user, r.StartFrom)
	if errors.Is(err, store.ErrNotFound) {
		return invalidField("recipe.start_from", "names no run of yours")
	}
	if err != nil {
		return err
	}
	if t.State != api.StateSucceeded {
		return api.Errorf(api.CodeConflict, "Run #%d is %s; only a run that succeeded can be gone on from.", t.Number, t.State)
	}
	r.StartFrom = t.ID
	return nil
}

// startFrom adds to a spec where the run lies that the recipe starts from, and to the mounts that folder.
func (s *Service) startFrom(ctx context.Context, t store.Task, spec *runspec.Spec, mounts []runner.Mount) ([]runner.Mount, error) {
	if t.Recipe.StartFrom == "" || t.Kind == runspec.Predict || t.Kind == runspec.Evaluate { // those have a model of their own
		return mounts, nil
	}
	const gone = "The run that this one was to start from was deleted. Start a new one from another run, or from none."
	all, err := s.store.Artifacts(ctx, t.Owner, t.Recipe.StartFrom)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, api.Errorf(api.CodeConflict, gone)
	}
	run := store.Task{ID: t.Recipe.StartFrom, Owner: t.Owner}
	name := path.Join(attemptDir(run, all[0].Attempt), all[0].Executor)
	if spec.Paths.Start, err = s.volume.Path(name); err != nil {
		return nil, err
	}
	return append(mounts, runner.Mount{Name: name}), nil
}
