package tasks

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// Labels that nobody gives: they follow from what there is.
const (
	labelBest   = "best"
	labelLatest = "latest"
)

var labelForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// splitModel is a model's name in its two parts: the dataset's name, which may hold an @ itself, and the label.
func splitModel(name string) (dataset, label string, err error) {
	i := strings.LastIndexByte(name, '@')
	if i < 1 || !labelForm.MatchString(name[i+1:]) {
		return "", "", api.Errorf(api.CodeInvalid, "A model is named as flowers@best: the dataset's name, an @, and best, latest or a label of lower-case letters, digits, dots and dashes.")
	}
	return name[:i], name[i+1:], nil
}

// Model returns the user's run that a name such as flowers@best means.
func (s *Service) Model(ctx context.Context, user, name string) (store.Task, error) {
	dataset, label, err := splitModel(name)
	if err != nil {
		return store.Task{}, err
	}
	var t store.Task
	switch label {
	case labelBest:
		t, err = s.store.BestRun(ctx, user, dataset)
	case labelLatest:
		t, err = s.store.LatestRun(ctx, user, dataset)
	default:
		t, err = s.store.PinnedRun(ctx, user, dataset, label)
	}
	if errors.Is(err, store.ErrNotFound) {
		return t, api.Errorf(api.CodeNotFound, "There is no model %q of yours. See which there are with GET /models.", name)
	}
	return t, err
}

// Pin gives a user's finished run a name.
func (s *Service) Pin(ctx context.Context, user, name, run string) (store.Task, error) {
	dataset, label, err := splitModel(name)
	if err != nil {
		return store.Task{}, err
	}
	if label == labelBest || label == labelLatest {
		return store.Task{}, api.Errorf(api.CodeInvalid, "%s follows from what there is and cannot be given; choose another label.", label)
	}
	err = s.store.Pin(ctx, user, store.Pin{Dataset: dataset, Label: label, Task: run})
	if errors.Is(err, store.ErrConflict) {
		return store.Task{}, api.Errorf(api.CodeConflict, "The run has no model: only one that succeeded can be given a name.")
	}
	if err != nil {
		return store.Task{}, err
	}
	return s.store.PinnedRun(ctx, user, dataset, label)
}

// Unpin takes a name away that Pin gave.
func (s *Service) Unpin(ctx context.Context, user, name string) error {
	dataset, label, err := splitModel(name)
	if err != nil {
		return err
	}
	return s.store.Unpin(ctx, user, dataset, label)
}

// NamedModel is a name with the run it means.
type NamedModel struct {
	Name string
	Run  store.Task
}

// Models lists all names that mean a run of the user's.
func (s *Service) Models(ctx context.Context, user string) ([]NamedModel, error) {
	datasets, err := s.store.ModelNames(ctx, user)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range datasets {
		names = append(names, d+"@"+labelBest, d+"@"+labelLatest)
	}
	pins, err := s.store.Pins(ctx, user)
	if err != nil {
		return nil, err
	}
	for _, p := range pins {
		names = append(names, p.Dataset+"@"+p.Label)
	}
	var out []NamedModel
	for _, name := range names {
		t, err := s.Model(ctx, user, name)
		if api.Code(err) == api.CodeNotFound { // deleted in between
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, NamedModel{name, t})
	}
	return out, nil
}
