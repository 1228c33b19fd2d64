// Package delivertest brings runs to their end, with what is due then, for tests of the outbox.
package delivertest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"github.com/cultivar-ml/cultivar/server/internal/deliver"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// User owns all runs.
const User = "alice"

// Model puts a model file of a run into a folder, and tells what a trainer would of it.
func Model(dir, run string, content []byte) (runspec.Artifact, error) {
	sum := sha256.Sum256(content)
	if err := os.MkdirAll(filepath.Join(dir, run), 0o755); err != nil {
		return runspec.Artifact{}, err
	}
	a := runspec.Artifact{Name: "model.h5", Format: "h5", Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
	return a, os.WriteFile(filepath.Join(dir, run, a.Name), content, 0o600)
}

// Finder is deliver.Options.Artifact for the files that Model put into a folder.
func Finder(db *store.Store, dir string) func(ctx context.Context, user, run, name string) (string, runspec.Artifact, error) {
	return func(ctx context.Context, user, run, name string) (string, runspec.Artifact, error) {
		all, err := db.Artifacts(ctx, user, run)
		if err != nil {
			return "", runspec.Artifact{}, err
		}
		for _, a := range all {
			if a.Name == name {
				return filepath.Join(dir, run, name), a.Artifact, nil
			}
		}
		return "", runspec.Artifact{}, store.ErrNotFound
	}
}

// Begin starts a run that wishes to be told of.
func Begin(ctx context.Context, db *store.Store, run string, wishes api.Notify) (store.Task, error) {
	d, _, err := db.AddDataset(ctx, store.Dataset{ID: "flowers", Owner: User, Name: "flowers", Digest: "x", Images: 2, Bytes: 2})
	if err != nil {
		return store.Task{}, err
	}
	t, err := db.AddTask(ctx, store.Task{
		ID: run, Owner: User, Kind: runspec.Train, Name: "tulips & roses", Dataset: d.ID, DatasetName: d.Name, Digest: d.Digest,
		Classes: []string{"roses", "tulips"}, Recipe: runspec.Default(runspec.Quick), Notify: wishes,
	})
	return t, errors.Join(err,
		db.Change(ctx, store.Change{Task: run, From: api.StateQueued, To: api.StateStarting, TokenHash: run}),
		db.Change(ctx, store.Change{Task: run, From: api.StateStarting, To: api.StateRunning}))
}

// End ends a run, with what is due then.
func End(ctx context.Context, db *store.Store, s *deliver.Service, run string, to api.State, artifacts ...runspec.Artifact) error {
	t, err := db.ActiveTask(ctx, run)
	if err != nil {
		return err
	}
	reason := ""
	if to == api.StateFailed {
		reason = "The trainer ran out of memory."
	}
	return db.Change(ctx, store.Change{
		Task: run, From: t.State, To: to, Terminal: true, Reason: reason, Deliveries: s.Plan(t, to, artifacts),
		Outcome: &store.Outcome{Attempt: t.Attempt, Artifacts: artifacts},
	})
}
