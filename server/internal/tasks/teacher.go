package tasks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

// settleTeacher finds the run that a recipe names as its teacher, by number or id, and holds it against the classes of the
// run that is to learn from it. The recipe names it by id afterwards.
func (s *Service) settleTeacher(ctx context.Context, user string, recipe *runspec.Recipe, classes []string) error {
	if recipe.Teacher == "" {
		return nil
	}
	t, err := s.runOf(ctx, user, recipe.Teacher)
	if errors.Is(err, store.ErrNotFound) {
		return wrongTeacher("There is no run %q to learn from.", safe.Text(recipe.Teacher).Cut(maxWord))
	}
	if err != nil {
		return err
	}
	if t.State != api.StateSucceeded {
		return wrongTeacher("Run #%d is %s; only a run that succeeded can be a teacher.", t.Number, t.State)
	}
	if _, err := s.teacherModel(ctx, t); err != nil {
		return err
	}
	var missing, more []string
	for _, c := range classes {
		if !slices.Contains(t.Classes, c) {
			missing = append(missing, c)
		}
	}
	for _, c := range t.Classes {
		if !slices.Contains(classes, c) {
			more = append(more, c)
		}
	}
	switch {
	case len(missing) > 0:
		return wrongTeacher("Run #%d cannot be the teacher: it does not know the class %s. A teacher must have the same classes.", t.Number, safe.Text(missing[0]).Cut(maxWord))
	case len(more) > 0:
		return wrongTeacher("Run #%d cannot be the teacher: it has the class %s, of which there are no photos here. A teacher must have the same classes.", t.Number, safe.Text(more[0]).Cut(maxWord))
	}
	recipe.Teacher = t.ID
	return nil
}

// maxWord is how much of a name is told in a sentence, cells of a terminal.
const maxWord = 60

func wrongTeacher(format string, values ...any) error {
	e := api.Errorf(api.CodeInvalid, format, values...)
	e.Fields = &map[string]string{"recipe.distill_teacher": e.Message}
	return e
}

// runOf is a user's run by id or by number, as in 14 or #14.
func (s *Service) runOf(ctx context.Context, user, word string) (store.Task, error) {
	t, err := s.store.Run(ctx, user, word)
	if n, isNumber := strconv.Atoi(strings.TrimPrefix(word, "#")); errors.Is(err, store.ErrNotFound) && isNumber == nil {
		return s.store.RunByNumber(ctx, user, n)
	}
	return t, err
}

// teacherModel is the name on the volume of the file that a trainer can read a finished run's network from.
func (s *Service) teacherModel(ctx context.Context, t store.Task) (string, error) {
	all, err := s.store.Artifacts(ctx, t.Owner, t.ID)
	if err != nil {
		return "", err
	}
	for _, ending := range []string{".h5", ".keras"} {
		for _, a := range all {
			if path.Ext(a.Name) == ending {
				name, _, err := s.artifact(ctx, t.Owner, t.ID, a.Name)
				return name, err
			}
		}
	}
	return "", api.Errorf(api.CodeConflict, "Run #%d cannot be the teacher: it made no h5 or keras file. Train it again with h5 among the exports.", t.Number)
}

// seatTeacher tells the spec of a training where its teacher is, which the trainer may read. It may be gone by now.
func (s *Service) seatTeacher(ctx context.Context, t store.Task, spec *runspec.Spec, mounts []runner.Mount) ([]runner.Mount, error) {
	if t.Recipe.Teacher == "" {
		return mounts, nil
	}
	from, err := s.store.Run(ctx, t.Owner, t.Recipe.Teacher)
	if errors.Is(err, store.ErrNotFound) {
		return nil, api.Errorf(api.CodeConflict, "The run that this one was to learn from has been deleted. Choose another teacher, or train without one.")
	}
	if err != nil {
		return nil, err
	}
	name, err := s.teacherModel(ctx, from)
	if err != nil {
		return nil, err
	}
	model, err := s.volume.Path(name)
	if err != nil {
		return nil, err
	}
	spec.Teacher = &runspec.Teacher{Run: from.ID, Model: model, Digest: from.Digest, Recipe: from.Recipe}
	executor := path.Dir(path.Dir(name)) // above the artifacts
	unrefit, err := s.volume.Path(path.Join(executor, runspec.UnrefitFile))
	if err != nil {
		return nil, err
	}
	switch info, err := os.Lstat(unrefit); {
	case err == nil && info.Mode().IsRegular():
		spec.Teacher.Unrefit = unrefit
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("look for what the teacher learned last: %w", err)
	}
	return append(mounts, runner.Mount{Name: executor}), nil
}
