package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Attempt is one try at executing a task.
type Attempt struct {
	Task      string
	Attempt   int
	Executor  string // empty until one registered
	TokenHash string
	Acked     int64 // highest record stored; all below it are too
	Started   time.Time
	Ended     *time.Time
	Outcome   string
}

const attemptColumns = "task, attempt, executor, token_hash, acked, started, ended, outcome"

func scanAttempt(row scanner) (Attempt, error) {
	var a Attempt
	var started int64
	var ended sql.NullInt64
	if err := row.Scan(&a.Task, &a.Attempt, &a.Executor, &a.TokenHash, &a.Acked, &started, &ended, &a.Outcome); err != nil {
		return Attempt{}, translate(err)
	}
	a.Started, a.Ended = fromMicros(started), nullTime(ended)
	return a, nil
}

// Attempt returns an attempt, for the supervisor and the callback.
func (s *Store) Attempt(ctx context.Context, task string, attempt int) (Attempt, error) {
	a, err := scanAttempt(s.read.QueryRowContext(ctx, "SELECT "+attemptColumns+" FROM attempts WHERE task = $1 AND attempt = $2", task, attempt))
	if err != nil {
		return Attempt{}, fmt.Errorf("get attempt %d: %w", attempt, err)
	}
	return a, nil
}

// Attempts lists a task's attempts, newest first, for the supervisor.
func (s *Store) Attempts(ctx context.Context, task string) ([]Attempt, error) {
	var out []Attempt
	err := rows(ctx, s.read, "SELECT "+attemptColumns+" FROM attempts WHERE task = $1 ORDER BY attempt DESC", []any{task}, func(r *sql.Rows) error {
		a, err := scanAttempt(r)
		out = append(out, a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	return out, nil
}

// RenewToken replaces the credential of an attempt whose token never reached its file.
func (s *Store) RenewToken(ctx context.Context, task string, attempt int, hash string) error {
	err := one(s.write.ExecContext(ctx, "UPDATE attempts SET token_hash = $1 WHERE task = $2 AND attempt = $3 AND ended IS NULL", hash, task, attempt))
	if err != nil {
		return fmt.Errorf("renew token: %w", err)
	}
	return nil
}

// Register makes executor the owner of an attempt that has none; doing it again is no error. It answers
// ErrOtherExecutor when another one owns it and ErrEnded when the attempt is over.
func (s *Store) Register(ctx context.Context, task string, attempt int, executor string) error {
	return s.tx(ctx, "register executor", func(tx *sql.Tx) error {
		_, err := s.claim(ctx, tx, task, attempt, executor)
		return err
	})
}

func (s *Store) claim(ctx context.Context, tx *sql.Tx, task string, attempt int, executor string) (Attempt, error) {
	a, err := scanAttempt(tx.QueryRowContext(ctx, "SELECT "+attemptColumns+" FROM attempts WHERE task = $1 AND attempt = $2", task, attempt))
	if err != nil {
		return Attempt{}, err
	}
	if a.Executor != "" && a.Executor != executor {
		return Attempt{}, ErrOtherExecutor
	}
	if a.Ended != nil {
		return Attempt{}, ErrEnded
	}
	_, err = tx.ExecContext(ctx, "UPDATE attempts SET executor = $1 WHERE task = $2 AND attempt = $3", executor, task, attempt)
	return a, err
}

// Artifact is a published file with the place it lies in.
type Artifact struct {
	runspec.Artifact
	Attempt  int
	Executor string
}

// Artifacts lists what a user's run published, in the order the trainer made it.
func (s *Store) Artifacts(ctx context.Context, user, task string) ([]Artifact, error) {
	out := []Artifact{}
	err := rows(ctx, s.read, `SELECT a.attempt, a.executor, a.body FROM artifacts a JOIN tasks t ON t.id = a.task
		WHERE t.owner = $1 AND a.task = $2 ORDER BY a.position`, []any{user, task}, func(r *sql.Rows) error {
		var a Artifact
		var body string
		if err := r.Scan(&a.Attempt, &a.Executor, &body); err != nil {
			return err
		}
		out = append(out, a)
		return json.Unmarshal([]byte(body), &out[len(out)-1].Artifact)
	})
	if err != nil {
		return nil, fmt.Errorf("list artifacts: %w", err)
	}
	return out, nil
}
