package tasks

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/pack"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Predict queues the classification of a pack of images with a finished run's model. The pack is checked and durable
// before the task exists.
func (s *Service) Predict(ctx context.Context, user, run string, images io.Reader) (store.Task, error) {
	t, err := s.store.Run(ctx, user, run)
	if err != nil {
		return store.Task{}, err
	}
	if t.State != api.StateSucceeded {
		return store.Task{}, api.Errorf(api.CodeConflict, "Run #%d is %s; only a run that succeeded has a model to try.", t.Number, t.State)
	}
	if _, err := s.model(ctx, user, run); err != nil {
		return store.Task{}, err
	}
	p := store.Task{
		ID: auth.NewID(), Owner: user, Kind: runspec.Predict, Name: t.Name, Dataset: t.Dataset, DatasetName: t.DatasetName,
		Digest: t.Digest, Classes: t.Classes, Recipe: t.Recipe, ModelOf: t.ID,
	}
	inputs := path.Join(runspec.TaskDir(user, p.ID), inputsFile)
	err = s.volume.Write(inputs, files.FileMode, func(w io.Writer) error {
		_, err := io.Copy(w, images)
		return err
	})
	if err == nil {
		err = s.checkInputs(inputs)
	}
	if err == nil {
		p, err = s.add(ctx, p)
	}
	if err != nil {
		return store.Task{}, errors.Join(err, s.volume.Remove(runspec.TaskDir(user, p.ID)))
	}
	return p, nil
}

func (s *Service) checkInputs(name string) error {
	file, err := s.volume.Path(name)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("check images: %w", err)
	}
	defer func() { _ = f.Close() }()
	_, err = pack.Verify(bufio.NewReaderSize(f, 1<<20))
	if errors.Is(err, pack.ErrInvalid) {
		return api.Errorf(api.CodeInvalid, "The pack of images is damaged or not a pack: %v. Send it again.", err)
	}
	return err
}

// model is the name on the volume of a run's Keras model, which predictions are made with.
func (s *Service) model(ctx context.Context, user, run string) (string, error) {
	all, err := s.store.Artifacts(ctx, user, run)
	if err != nil {
		return "", err
	}
	for _, a := range all {
		if a.Format == "h5" || path.Ext(a.Name) == ".h5" {
			name, _, err := s.artifact(ctx, user, run, a.Name)
			return name, err
		}
	}
	return "", api.Errorf(api.CodeConflict, "The run made no h5 file, and that is what predictions need. Train again with h5 among the exports.")
}
