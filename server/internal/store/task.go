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

// Task is anything a runner executes. A run is a task of kind train.
type Task struct {
	ID, Owner                 string
	Kind                      runspec.Kind
	State                     api.State
	Reason                    string
	Number                    int // of a run, from 1 per owner
	Name                      string
	Dataset, DatasetName      string
	Digest                    string
	Classes                   []string
	Recipe                    runspec.Recipe
	ModelOf, RetryOf          string
	Profile                   string     // machine size asked for
	Notify                    api.Notify // what to do at its end
	Attempt                   int        // the newest; 0: none yet
	Crashes, Interruptions    int
	Stop, Cancel              bool
	Progress                  *api.Progress
	Epoch                     *int
	ValAccuracy, TestAccuracy *float64
	Created, Queued           time.Time
	Started, Ended            *time.Time
	LastEvent                 int64
}

const taskColumns = `t.id, t.owner, t.kind, t.state, t.reason, t.number, t.name, t.dataset, t.dataset_name, t.digest, t.classes, t.recipe,
	t.model_of, t.retry_of, t.attempt, t.crashes, t.interruptions, t.stop, t.cancel, t.phase, t.done, t.total, t.rate, t.eta_seconds,
	t.epoch, t.val_accuracy, t.test_accuracy, t.created, t.queued, t.started, t.ended, t.profile, t.notify, s.last`

const taskFrom = " FROM tasks t JOIN streams s ON s.task = t.id "

func scanTask(row scanner) (Task, error) {
	var t Task
	var classes, recipe, phase, notify string
	var done, total, created, queued int64
	var rate, eta, val, test sql.NullFloat64
	var epoch, started, ended sql.NullInt64
	err := row.Scan(&t.ID, &t.Owner, &t.Kind, &t.State, &t.Reason, &t.Number, &t.Name, &t.Dataset, &t.DatasetName, &t.Digest, &classes, &recipe,
		&t.ModelOf, &t.RetryOf, &t.Attempt, &t.Crashes, &t.Interruptions, &t.Stop, &t.Cancel, &phase, &done, &total, &rate, &eta,
		&epoch, &val, &test, &created, &queued, &started, &ended, &t.Profile, &notify, &t.LastEvent)
	if err != nil {
		return Task{}, translate(err)
	}
	if err := json.Unmarshal([]byte(classes), &t.Classes); err != nil {
		return Task{}, fmt.Errorf("classes of task %s: %w", t.ID, err)
	}
	if err := json.Unmarshal([]byte(recipe), &t.Recipe); err != nil {
		return Task{}, fmt.Errorf("recipe of task %s: %w", t.ID, err)
	}
	if err := json.Unmarshal([]byte(notify), &t.Notify); err != nil {
		return Task{}, fmt.Errorf("wishes of task %s: %w", t.ID, err)
	}
	if phase != "" {
		t.Progress = &api.Progress{Phase: phase, Done: int(done), Total: int(total), Rate: narrow(rate), EtaSeconds: narrow(eta)}
	}
	if epoch.Valid {
		n := int(epoch.Int64)
		t.Epoch = &n
	}
	t.ValAccuracy, t.TestAccuracy = nullFloat(val), nullFloat(test)
	t.Created, t.Queued, t.Started, t.Ended = fromMicros(created), fromMicros(queued), nullTime(started), nullTime(ended)
	return t, nil
}

func narrow(v sql.NullFloat64) *float32 {
	if !v.Valid {
		return nil
	}
	f := float32(v.Float64)
	return &f
}

func nullFloat(v sql.NullFloat64) *float64 {
	if !v.Valid {
		return nil
	}
	return &v.Float64
}

// AddTask stores a new task in state queued, with its first event. ID, Owner, Kind and what describes the work are the
// caller's; a run gets its number.
func (s *Store) AddTask(ctx context.Context, t Task) (Task, error) {
	classes, err := json.Marshal(t.Classes)
	if err != nil {
		return Task{}, fmt.Errorf("add task: %w", err)
	}
	recipe, err := json.Marshal(t.Recipe)
	if err != nil {
		return Task{}, fmt.Errorf("add task: %w", err)
	}
	notify, err := json.Marshal(t.Notify)
	if err != nil {
		return Task{}, fmt.Errorf("add task: %w", err)
	}
	now := s.now().UTC().Truncate(time.Microsecond)
	t.State, t.Created, t.Queued = api.StateQueued, now, now
	err = s.tx(ctx, "add task", func(tx *sql.Tx) error {
		if t.Number, err = s.owner(ctx, tx, t.Owner, t.Kind); err != nil {
			return err
		}
		if err := s.present(ctx, tx, t); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO tasks (id, owner, kind, state, reason, number, name, dataset, dataset_name, digest, classes, recipe,
			model_of, retry_of, attempt, crashes, interruptions, stop, cancel, phase, done, total, created, queued, profile, notify)
			VALUES ($1, $2, $3, $4, '', $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, 0, 0, 0, 0, '', 0, 0, $14, $14, $15, $16)`,
			t.ID, t.Owner, t.Kind, t.State, t.Number, t.Name, t.Dataset, t.DatasetName, t.Digest, string(classes), string(recipe),
			t.ModelOf, t.RetryOf, micros(now), t.Profile, string(notify))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO streams (task, last) VALUES ($1, 0)", t.ID); err != nil {
			return err
		}
		t.LastEvent, err = s.addStateEvent(ctx, tx, t.ID, 0, runspec.State{State: string(t.State)})
		return err
	})
	return t, err
}

// present makes sure, in the transaction that adds t, that what t works on was not deleted since it was looked up.
func (s *Store) present(ctx context.Context, tx *sql.Tx, t Task) error {
	if t.Kind == runspec.Planning && t.Dataset == "" { // for photos that are not here
		return nil
	}
	query, id := "SELECT COUNT(*) FROM datasets WHERE owner = $1 AND id = $2", t.Dataset
	if t.ModelOf != "" {
		query, id = "SELECT COUNT(*) FROM tasks WHERE owner = $1 AND id = $2", t.ModelOf
	}
	var n int
	if err := tx.QueryRowContext(ctx, query, t.Owner, id).Scan(&n); err != nil {
		return err
	}
	if n == 0 {
		return ErrNotFound
	}
	return nil
}

func (s *Store) owner(ctx context.Context, tx *sql.Tx, owner string, kind runspec.Kind) (int, error) {
	_, err := tx.ExecContext(ctx, "INSERT INTO owners (owner) VALUES ($1) ON CONFLICT DO NOTHING", owner)
	if err != nil || kind != runspec.Train {
		return 0, err
	}
	var number int
	err = tx.QueryRowContext(ctx, "UPDATE owners SET runs = runs + 1 WHERE owner = $1 RETURNING runs", owner).Scan(&number)
	return number, err
}

// Task returns a user's task.
func (s *Store) Task(ctx context.Context, user, id string) (Task, error) {
	t, err := scanTask(s.read.QueryRowContext(ctx, "SELECT "+taskColumns+taskFrom+"WHERE t.owner = $1 AND t.id = $2", user, id))
	if err != nil {
		return Task{}, fmt.Errorf("get task: %w", err)
	}
	return t, nil
}

// Run returns a user's task of kind train.
func (s *Store) Run(ctx context.Context, user, id string) (Task, error) {
	t, err := s.Task(ctx, user, id)
	if err == nil && t.Kind != runspec.Train {
		return Task{}, fmt.Errorf("get run: %w", ErrNotFound)
	}
	return t, err
}

// RunNumber returns the user's run of that number.
func (s *Store) RunNumber(ctx context.Context, user string, number int) (Task, error) {
	t, err := scanTask(s.read.QueryRowContext(ctx, "SELECT "+taskColumns+taskFrom+"WHERE t.owner = $1 AND t.kind = $2 AND t.number = $3",
		user, runspec.Train, number))
	if err != nil {
		return Task{}, fmt.Errorf("get run: %w", err)
	}
	return t, nil
}

// Runs returns a page of a user's runs, newest first.
func (s *Store) Runs(ctx context.Context, user string, p Page) ([]Task, error) {
	created, id, err := p.position()
	if err != nil {
		return nil, err
	}
	return s.tasks(ctx, "list runs", "SELECT "+taskColumns+taskFrom+`WHERE t.owner = $1 AND t.kind = $2
		AND (t.created < $3 OR (t.created = $3 AND t.id < $4)) ORDER BY t.created DESC, t.id DESC LIMIT $5`,
		user, runspec.Train, created, id, p.Limit)
}

// Active lists the tasks of all users that have not ended, oldest in the queue first, for the supervisor.
func (s *Store) Active(ctx context.Context) ([]Task, error) {
	return s.tasks(ctx, "list active tasks", "SELECT "+taskColumns+taskFrom+"WHERE t.ended IS NULL ORDER BY t.queued, t.id")
}

// Ended lists a user's ended trainings and features tasks on the images of a digest, newest first, at most 200, for the
// supervisor.
func (s *Store) Ended(ctx context.Context, user, digest string) ([]Task, error) {
	return s.tasks(ctx, "list ended tasks", "SELECT "+taskColumns+taskFrom+`WHERE t.owner = $1 AND t.digest = $2 AND t.kind IN ($3, $4)
		AND t.ended IS NOT NULL ORDER BY t.created DESC LIMIT 200`, user, digest, runspec.Train, runspec.Features)
}

// ActiveTask returns any user's task, for the supervisor.
func (s *Store) ActiveTask(ctx context.Context, id string) (Task, error) {
	t, err := scanTask(s.read.QueryRowContext(ctx, "SELECT "+taskColumns+taskFrom+"WHERE t.id = $1", id))
	if err != nil {
		return Task{}, fmt.Errorf("get task: %w", err)
	}
	return t, nil
}

func (s *Store) tasks(ctx context.Context, what, query string, args ...any) ([]Task, error) {
	var out []Task
	err := rows(ctx, s.read, query, args, func(r *sql.Rows) error {
		t, err := scanTask(r)
		out = append(out, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return out, nil
}

// LastStarts tells when each owner was last given a slot, in microseconds since 1970, for the fair queue.
func (s *Store) LastStarts(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	err := rows(ctx, s.read, "SELECT owner, last_start FROM owners", nil, func(r *sql.Rows) error {
		var owner string
		var at int64
		err := r.Scan(&owner, &at)
		out[owner] = at
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list owners: %w", err)
	}
	return out, nil
}

// DeleteRun forgets an ended run with its predict tasks, and returns the ids of all of them. It answers ErrConflict while
// one of them is active.
func (s *Store) DeleteRun(ctx context.Context, user, id string) (ids []string, err error) {
	err = s.tx(ctx, "delete run", func(tx *sql.Tx) error {
		var kind runspec.Kind
		err := tx.QueryRowContext(ctx, "SELECT kind FROM tasks WHERE owner = $1 AND id = $2", user, id).Scan(&kind)
		if err == nil && kind != runspec.Train {
			return ErrNotFound
		}
		if err != nil {
			return translate(err)
		}
		active := false
		err = rows(ctx, tx, "SELECT id, ended IS NULL FROM tasks WHERE owner = $1 AND (id = $2 OR model_of = $2)", []any{user, id}, func(r *sql.Rows) error {
			var task string
			var open bool
			err := r.Scan(&task, &open)
			ids = append(ids, task)
			active = active || open
			return err
		})
		if err != nil {
			return err
		}
		if active {
			return ErrConflict
		}
		for _, task := range ids {
			if _, err := tx.ExecContext(ctx, "DELETE FROM tasks WHERE id = $1", task); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) {
		ids = nil
	}
	return ids, err
}

// HasTask tells whether a user's task exists, for sweeping folders that a crash left behind.
func (s *Store) HasTask(ctx context.Context, user, id string) (bool, error) {
	_, err := s.Task(ctx, user, id)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// DeletePlans forgets a user's plans that ended before a time, and returns their ids.
func (s *Store) DeletePlans(ctx context.Context, user string, before time.Time) (ids []string, err error) {
	err = s.tx(ctx, "delete plans", func(tx *sql.Tx) error {
		ids = nil
		return rows(ctx, tx, "DELETE FROM tasks WHERE owner = $1 AND kind = $2 AND ended < $3 RETURNING id", []any{user, runspec.Planning, micros(before)},
			func(r *sql.Rows) error {
				var id string
				err := r.Scan(&id)
				ids = append(ids, id)
				return err
			})
	})
	return ids, err
}
