package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// serverExecutor stands for the server in the events table.
const serverExecutor = "server"

// Change is one change of a task's state, with everything that must be true at the same moment.
type Change struct {
	Task     string
	From, To api.State
	Reason   string
	Terminal bool

	TokenHash string   // with To starting: begin a new attempt with this credential
	Outcome   *Outcome // end the current attempt

	Deliveries []Delivery // with a terminal To: what is now due to people
}

// Outcome is how an attempt ended.
type Outcome struct {
	Attempt     int
	Executor    string // whose artifacts are published
	Text        string
	Crash       bool
	Interrupted bool
	Artifacts   []runspec.Artifact
}

// Change applies c when the task is still in state From, and appends the event that tells it. It answers ErrConflict
// when the task is in another state, or when the outcome is of another attempt or executor than the current one.
func (s *Store) Change(ctx context.Context, c Change) error {
	now := micros(s.now())
	return s.tx(ctx, fmt.Sprintf("change task from %s to %s", c.From, c.To), func(tx *sql.Tx) error {
		var attempt int
		err := tx.QueryRowContext(ctx, "UPDATE tasks SET state = $1, reason = $2 WHERE id = $3 AND state = $4 RETURNING attempt",
			c.To, c.Reason, c.Task, c.From).Scan(&attempt)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrConflict
		}
		if err != nil {
			return err
		}
		if c.TokenHash != "" {
			attempt++
			if err := s.beginAttempt(ctx, tx, c, attempt, now); err != nil {
				return err
			}
		}
		if c.Outcome != nil {
			if err := s.endAttempt(ctx, tx, c.Task, *c.Outcome, attempt, now); err != nil {
				return err
			}
		}
		if err := s.stamp(ctx, tx, c, now); err != nil {
			return err
		}
		for _, d := range c.Deliveries {
			if err := s.addDelivery(ctx, tx, d); err != nil {
				return err
			}
		}
		_, err = s.addStateEvent(ctx, tx, c.Task, attempt, runspec.State{State: string(c.To), Reason: c.Reason, Attempt: attempt})
		return err
	})
}

// Say gives a task that is in the state another reason, and appends the event that tells it. It answers ErrConflict when
// the task is in another state.
func (s *Store) Say(ctx context.Context, task string, state api.State, reason string) error {
	return s.tx(ctx, "give a reason", func(tx *sql.Tx) error {
		var attempt int
		err := tx.QueryRowContext(ctx, "UPDATE tasks SET reason = $1 WHERE id = $2 AND state = $3 RETURNING attempt", reason, task, state).Scan(&attempt)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrConflict
		}
		if err != nil {
			return err
		}
		_, err = s.addStateEvent(ctx, tx, task, attempt, runspec.State{State: string(state), Reason: reason, Attempt: attempt})
		return err
	})
}

func (s *Store) stamp(ctx context.Context, tx *sql.Tx, c Change, now int64) error {
	query := ""
	switch {
	case c.Terminal:
		query = "UPDATE tasks SET ended = $1 WHERE id = $2"
	case c.To == api.StateRunning:
		query = "UPDATE tasks SET started = COALESCE(started, $1) WHERE id = $2"
	case c.To == api.StateQueued:
		query = "UPDATE tasks SET queued = $1 WHERE id = $2"
	default:
		return nil
	}
	_, err := tx.ExecContext(ctx, query, now, c.Task)
	return err
}

func (s *Store) beginAttempt(ctx context.Context, tx *sql.Tx, c Change, attempt int, now int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO attempts (task, attempt, executor, token_hash, acked, started, outcome)
		VALUES ($1, $2, '', $3, 0, $4, '')`, c.Task, attempt, c.TokenHash, now)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE tasks SET attempt = $1 WHERE id = $2", attempt, c.Task); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE owners SET last_start = $1 WHERE owner = (SELECT owner FROM tasks WHERE id = $2)", now, c.Task)
	return err
}

// endAttempt is the compare-and-set on (task, attempt, executor) that publishes one executor's artifacts and no other's.
func (s *Store) endAttempt(ctx context.Context, tx *sql.Tx, task string, o Outcome, attempt int, now int64) error {
	if o.Attempt != attempt {
		return ErrConflict
	}
	err := one(tx.ExecContext(ctx, "UPDATE attempts SET ended = $1, outcome = $2 WHERE task = $3 AND attempt = $4 AND executor = $5 AND ended IS NULL",
		now, o.Text, task, attempt, o.Executor))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE tasks SET crashes = crashes + $1, interruptions = interruptions + $2 WHERE id = $3",
		flag(o.Crash), flag(o.Interrupted), task)
	if err != nil {
		return err
	}
	for i, a := range o.Artifacts {
		body, err := json.Marshal(a)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO artifacts (task, name, position, attempt, executor, body) VALUES ($1, $2, $3, $4, $5, $6)",
			task, a.Name, i, attempt, o.Executor, string(body))
		if err != nil {
			return err
		}
	}
	return nil
}

// addStateEvent appends a state record under the task's next number and returns it.
func (s *Store) addStateEvent(ctx context.Context, tx *sql.Tx, task string, attempt int, state runspec.State) (int64, error) {
	last, err := s.number(ctx, tx, task, 1)
	if err != nil {
		return 0, err
	}
	body, err := json.Marshal(runspec.Record{Seq: last, Time: s.now().UTC().Truncate(time.Millisecond), Type: runspec.TypeState, Body: state})
	if err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO events (task, attempt, executor, seq, id, type, body) VALUES ($1, $2, $3, $4, $4, $5, $6)",
		task, attempt, serverExecutor, last, runspec.TypeState, string(body))
	return last, err
}

// number takes the next n event numbers of a task and returns the last of them. The row's lock makes numbers follow the
// order of commits, also where several transactions write at once.
func (s *Store) number(ctx context.Context, tx *sql.Tx, task string, n int) (int64, error) {
	var last int64
	err := tx.QueryRowContext(ctx, "UPDATE streams SET last = last + $1 WHERE task = $2 RETURNING last", n, task).Scan(&last)
	return last, translate(err)
}

// AskStop notes that a user's task shall finish now with the best so far; AskCancel, that it shall be given up. Both
// answer ErrConflict when it has ended.
func (s *Store) AskStop(ctx context.Context, user, id string) error {
	return s.ask(ctx, "UPDATE tasks SET stop = 1 WHERE owner = $1 AND id = $2 AND ended IS NULL", user, id)
}

// AskCancel notes that a user's task shall be given up.
func (s *Store) AskCancel(ctx context.Context, user, id string) error {
	return s.ask(ctx, "UPDATE tasks SET cancel = 1 WHERE owner = $1 AND id = $2 AND ended IS NULL", user, id)
}

func (s *Store) ask(ctx context.Context, query, user, id string) error {
	if err := one(s.write.ExecContext(ctx, query, user, id)); err != nil {
		return fmt.Errorf("ask task to end: %w", err)
	}
	return nil
}
