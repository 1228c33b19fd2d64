package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Pin is a name that a user gave to a run.
type Pin struct {
	Dataset, Label string
	Task           string
}

// finishedRuns is what names can mean: a user's runs on datasets of a name that have a model.
const finishedRuns = "WHERE t.owner = $1 AND t.dataset_name = $2 AND t.kind = $3 AND t.state = $4 "

// BestRun returns the user's run on datasets of that name that was right most often on test photos, or on validation photos
// where there are no others; of equal ones the newest.
func (s *Store) BestRun(ctx context.Context, user, dataset string) (Task, error) {
	return s.namedRun(ctx, finishedRuns+"ORDER BY COALESCE(t.test_accuracy, t.val_accuracy, 0) DESC, t.created DESC LIMIT 1", user, dataset)
}

// LatestRun returns the user's newest run on datasets of that name that has a model.
func (s *Store) LatestRun(ctx context.Context, user, dataset string) (Task, error) {
	return s.namedRun(ctx, finishedRuns+"ORDER BY t.created DESC, t.id DESC LIMIT 1", user, dataset)
}

func (s *Store) namedRun(ctx context.Context, where, user, dataset string) (Task, error) {
	t, err := scanTask(s.read.QueryRowContext(ctx, "SELECT "+taskColumns+taskFrom+where, user, dataset, runspec.Train, api.StateSucceeded))
	if err != nil {
		return Task{}, fmt.Errorf("find the model: %w", err)
	}
	return t, nil
}

// PinnedRun returns the run that a user gave the name.
func (s *Store) PinnedRun(ctx context.Context, user, dataset, label string) (Task, error) {
	t, err := scanTask(s.read.QueryRowContext(ctx, "SELECT "+taskColumns+taskFrom+
		"JOIN pins p ON p.task = t.id WHERE p.owner = $1 AND p.dataset = $2 AND p.label = $3 AND t.owner = p.owner", user, dataset, label))
	if err != nil {
		return Task{}, fmt.Errorf("find the model: %w", err)
	}
	return t, nil
}

// Pin gives a user's run a name, also when another one has it. It answers ErrNotFound for a run that is not theirs, and
// ErrConflict for one that has no model.
func (s *Store) Pin(ctx context.Context, user string, p Pin) error {
	return s.tx(ctx, "name a model", func(tx *sql.Tx) error {
		var state api.State
		err := tx.QueryRowContext(ctx, "SELECT state FROM tasks WHERE owner = $1 AND id = $2 AND kind = $3", user, p.Task, runspec.Train).Scan(&state)
		if err != nil {
			return translate(err)
		}
		if state != api.StateSucceeded {
			return ErrConflict
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO pins (owner, dataset, label, task, pinned) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (owner, dataset, label) DO UPDATE SET task = excluded.task, pinned = excluded.pinned`,
			user, p.Dataset, p.Label, p.Task, micros(s.now()))
		return err
	})
}

// Unpin takes a name away.
func (s *Store) Unpin(ctx context.Context, user, dataset, label string) error {
	err := one(s.write.ExecContext(ctx, "DELETE FROM pins WHERE owner = $1 AND dataset = $2 AND label = $3", user, dataset, label))
	if errors.Is(err, ErrConflict) {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("take a model's name away: %w", err)
	}
	return nil
}

// Pins lists the names that a user gave.
func (s *Store) Pins(ctx context.Context, user string) ([]Pin, error) {
	out := []Pin{}
	err := rows(ctx, s.read, "SELECT dataset, label, task FROM pins WHERE owner = $1 ORDER BY dataset, label", []any{user}, func(r *sql.Rows) error {
		var p Pin
		err := r.Scan(&p.Dataset, &p.Label, &p.Task)
		out = append(out, p)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	return out, nil
}

// ModelNames lists the names of datasets that a user has models of.
func (s *Store) ModelNames(ctx context.Context, user string) ([]string, error) {
	out := []string{}
	err := rows(ctx, s.read, "SELECT DISTINCT dataset_name FROM tasks WHERE owner = $1 AND kind = $2 AND state = $3 ORDER BY dataset_name",
		[]any{user, runspec.Train, api.StateSucceeded}, func(r *sql.Rows) error {
			var name string
			err := r.Scan(&name)
			out = append(out, name)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	return out, nil
}
