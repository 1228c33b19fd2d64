package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Line is a record with the JSON it came as, which is what is stored and sent on.
type Line struct {
	Record runspec.Record
	JSON   []byte
}

// AddRecords stores the lines of an attempt that follow what is stored already, each once, under the task's next event
// numbers, and updates what the task shows of itself, all in one transaction. Lines that are stored already are passed
// over; at a hole it stops. It returns the highest seq stored and how many lines were new. Errors: ErrOtherExecutor,
// ErrEnded, ErrNotFound.
func (s *Store) AddRecords(ctx context.Context, task string, attempt int, executor string, lines []Line) (acked int64, added int, err error) {
	err = s.tx(ctx, "store records", func(tx *sql.Tx) error {
		a, err := s.claim(ctx, tx, task, attempt, executor)
		if err != nil {
			return err
		}
		acked = a.Acked
		var fresh []Line
		for _, l := range lines {
			if l.Record.Seq == acked+1 {
				fresh = append(fresh, l)
				acked++
			}
		}
		if added = len(fresh); added == 0 {
			return nil
		}
		last, err := s.number(ctx, tx, task, len(fresh))
		if err != nil {
			return err
		}
		if err := insertRecords(ctx, tx, a, executor, fresh, last); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE attempts SET acked = $1 WHERE task = $2 AND attempt = $3", acked, task, attempt); err != nil {
			return err
		}
		return show(ctx, tx, task, fresh)
	})
	return acked, added, err
}

func insertRecords(ctx context.Context, tx *sql.Tx, a Attempt, executor string, fresh []Line, last int64) error {
	stmt, err := tx.PrepareContext(ctx, `INSERT INTO events (task, attempt, executor, seq, id, type, body)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (task, attempt, executor, seq) DO NOTHING`)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }()
	for i, l := range fresh {
		id := last - int64(len(fresh)-1-i)
		if err := one(stmt.ExecContext(ctx, a.Task, a.Attempt, executor, l.Record.Seq, id, l.Record.Type, string(l.JSON))); err != nil {
			return fmt.Errorf("record %d: %w", l.Record.Seq, err)
		}
	}
	return nil
}

// show keeps the task's own columns in step with its newest records.
func show(ctx context.Context, tx *sql.Tx, task string, fresh []Line) error {
	for _, l := range fresh {
		var err error
		switch b := l.Record.Body.(type) {
		case runspec.Phase:
			_, err = tx.ExecContext(ctx, "UPDATE tasks SET phase = $1, done = 0, total = $2, rate = NULL, eta_seconds = NULL WHERE id = $3", b.Phase, b.Total, task)
		case runspec.Progress:
			_, err = tx.ExecContext(ctx, "UPDATE tasks SET phase = $1, done = $2, total = $3, rate = $4, eta_seconds = $5 WHERE id = $6",
				b.Phase, b.Done, b.Total, finite(b.Rate), finite(b.ETASeconds), task)
		case runspec.Epoch:
			_, err = tx.ExecContext(ctx, `UPDATE tasks SET epoch = $1, val_accuracy =
				CASE WHEN val_accuracy IS NULL OR val_accuracy < $2 THEN COALESCE($2, val_accuracy) ELSE val_accuracy END WHERE id = $3`,
				b.Epoch, finite(b.ValAccuracy), task)
		case runspec.Result:
			err = showResult(ctx, tx, task, b)
		}
		if err != nil {
			return fmt.Errorf("show %s record %d: %w", l.Record.Type, l.Record.Seq, err)
		}
	}
	return nil
}

func showResult(ctx context.Context, tx *sql.Tx, task string, r runspec.Result) error {
	if api.State(r.State) != api.StateSucceeded {
		return nil // its numbers are zero, and those of the epochs stay true
	}
	var test any
	if r.TestAccuracy != nil {
		test = finite(*r.TestAccuracy)
	}
	_, err := tx.ExecContext(ctx, "UPDATE tasks SET test_accuracy = $1, val_accuracy = CASE WHEN kind = 'train' THEN $2 ELSE val_accuracy END WHERE id = $3",
		test, finite(r.ValAccuracy), task)
	if err != nil || r.Recipe == nil {
		return err
	}
	recipe, err := json.Marshal(r.Recipe)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE tasks SET recipe = $1 WHERE id = $2", string(recipe), task)
	return err
}

// finite is NULL for what is not a number.
func finite(f runspec.Float) any {
	if v := float64(f); !math.IsNaN(v) && !math.IsInf(v, 0) {
		return v
	}
	return nil
}

// Event is one numbered event of a task.
type Event struct {
	ID      int64
	Attempt int
	Type    runspec.Type
	JSON    []byte // the record
}

// Events returns up to limit events of a user's task after the number `after`, in order.
func (s *Store) Events(ctx context.Context, user, task string, after int64, limit int) ([]Event, error) {
	var out []Event
	err := rows(ctx, s.read, `SELECT e.id, e.attempt, e.type, e.body FROM events e JOIN tasks t ON t.id = e.task
		WHERE t.owner = $1 AND e.task = $2 AND e.id > $3 ORDER BY e.id LIMIT $4`, []any{user, task, after, limit}, func(r *sql.Rows) error {
		var e Event
		err := r.Scan(&e.ID, &e.Attempt, &e.Type, &e.JSON)
		out = append(out, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return out, nil
}

// EventsOf returns the events of one type of a user's task, in order.
func (s *Store) EventsOf(ctx context.Context, user, task string, kind runspec.Type) ([]Event, error) {
	var out []Event
	err := rows(ctx, s.read, `SELECT e.id, e.attempt, e.type, e.body FROM events e JOIN tasks t ON t.id = e.task
		WHERE t.owner = $1 AND e.task = $2 AND e.type = $3 ORDER BY e.id`, []any{user, task, kind}, func(r *sql.Rows) error {
		var e Event
		err := r.Scan(&e.ID, &e.Attempt, &e.Type, &e.JSON)
		out = append(out, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return out, nil
}
