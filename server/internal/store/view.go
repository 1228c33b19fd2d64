package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// View opens the database file at path for looking only, beside a running server too. It fails where the schema is not this
// program's.
func View(ctx context.Context, path string) (*Store, error) {
	seen, err := Inspect(ctx, path)
	if err != nil {
		return nil, err
	}
	switch {
	case seen.Damage != nil:
		return nil, fmt.Errorf("open database: %s is damaged: %s", path, seen.Damage[0])
	case seen.Schema != seen.Known:
		return nil, fmt.Errorf("open database: %s has schema %d and this program needs %d: start the server of this release once, which brings it up to date", path, seen.Schema, seen.Known)
	}
	s := &Store{now: time.Now}
	if s.read, err = sql.Open("sqlite", dsn(path, "ro")); err != nil {
		return nil, errors.Join(fmt.Errorf("open database for reading: %w", err), s.Close())
	}
	return s, nil
}

// Contradiction is rows that cannot all be true.
type Contradiction struct {
	Invariant string // I1 … I8, see docs/operations.md
	What      string // id of what it is about
	Text      string
}

// contradictions are queries that find nothing in a database in order; the first column is what the row is about.
var contradictions = []struct{ invariant, text, query string }{
	{"I2", "the dataset is ready and lies in no pack", `SELECT d.id FROM datasets d WHERE d.state = 'ready'
		AND NOT EXISTS (SELECT 1 FROM dataset_packs p WHERE p.dataset = d.id)`},
	{"I2", "the dataset lies in a pack that there is no row of", `SELECT DISTINCT d.dataset FROM dataset_packs d
		WHERE NOT EXISTS (SELECT 1 FROM packs p WHERE p.owner = d.owner AND p.hash = d.pack)`},
	{"I3", "two attempts are under way at once", `SELECT task FROM attempts WHERE ended IS NULL GROUP BY task HAVING COUNT(*) > 1`},
	{"I3", "the task has ended and an attempt of it has not", `SELECT DISTINCT a.task FROM attempts a JOIN tasks t ON t.id = a.task
		WHERE t.ended IS NOT NULL AND a.ended IS NULL`},
	{"I4", "its state is final and it has no end, or the other way round", `SELECT id FROM tasks
		WHERE (state IN ('succeeded', 'failed', 'cancelled')) <> (ended IS NOT NULL)`},
	{"I5", "its files are of several attempts", `SELECT task FROM artifacts GROUP BY task HAVING COUNT(DISTINCT attempt) > 1 OR COUNT(DISTINCT executor) > 1`},
	{"I5", "it has files and has not succeeded", `SELECT DISTINCT a.task FROM artifacts a JOIN tasks t ON t.id = a.task WHERE t.state <> 'succeeded'`},
	{"I5", "its files are of an executor that did not own the attempt", `SELECT DISTINCT f.task FROM artifacts f JOIN attempts a ON a.task = f.task AND a.attempt = f.attempt
		WHERE a.executor <> f.executor`},
	{"I6", "it has ended and a mail that was asked for is not in the outbox", `SELECT t.id FROM tasks t
		WHERE t.kind = 'train' AND t.ended IS NOT NULL AND t.notify LIKE '%"email":"_%'
		AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.task = t.id AND d.kind = 'email')`},
	{"I7", "its events have holes, or are not as many as is kept", `SELECT s.task FROM streams s LEFT JOIN events e ON e.task = s.task
		GROUP BY s.task, s.last HAVING COUNT(e.id) <> s.last OR COALESCE(MAX(e.id), 0) <> s.last OR COALESCE(MIN(e.id), 1) <> 1`},
	{"I7", "it has no stream of events", `SELECT t.id FROM tasks t WHERE NOT EXISTS (SELECT 1 FROM streams s WHERE s.task = t.id)`},
	{"I8", "an image lies in no pack of its owner's", `SELECT b.sha256 FROM blobs b
		WHERE NOT EXISTS (SELECT 1 FROM packs p WHERE p.owner = b.owner AND p.hash = b.pack)`},
	{"I8", "the dataset lies in a pack of somebody else's", `SELECT DISTINCT p.dataset FROM dataset_packs p JOIN datasets d ON d.id = p.dataset WHERE d.owner <> p.owner`},
	{"I8", "it works on a dataset of somebody else's", `SELECT t.id FROM tasks t JOIN datasets d ON d.id = t.dataset WHERE d.owner <> t.owner`},
	{"I8", "it uses a model of somebody else's", `SELECT t.id FROM tasks t JOIN tasks m ON m.id = t.model_of WHERE m.owner <> t.owner`},
	{"I8", "a name of somebody else's means it", `SELECT p.task FROM pins p JOIN tasks t ON t.id = p.task WHERE p.owner <> t.owner`},
	{"I8", "a delivery of it is somebody else's", `SELECT d.task FROM deliveries d JOIN tasks t ON t.id = d.task WHERE d.owner <> t.owner`},
}

// Contradictions finds rows that contradict each other.
func (s *Store) Contradictions(ctx context.Context) ([]Contradiction, error) {
	var out []Contradiction
	for _, c := range contradictions {
		err := rows(ctx, s.read, c.query, nil, func(r *sql.Rows) error {
			found := Contradiction{Invariant: c.invariant, Text: c.text}
			err := r.Scan(&found.What)
			out = append(out, found)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("check the database (%s): %w", c.text, err)
		}
	}
	afterEnd, err := s.statesAfterEnd(ctx)
	return append(out, afterEnd...), err
}

// statesAfterEnd finds tasks whose events tell of a change after their end.
func (s *Store) statesAfterEnd(ctx context.Context) ([]Contradiction, error) {
	var out []Contradiction
	var task, ended string
	err := rows(ctx, s.read, "SELECT task, body FROM events WHERE type = 'state' ORDER BY task, id", nil, func(r *sql.Rows) error {
		var id string
		var body []byte
		if err := r.Scan(&id, &body); err != nil {
			return err
		}
		if id != task {
			task, ended = id, ""
		}
		state, err := stateOf(body)
		if err != nil {
			return err
		}
		if ended != "" {
			out = append(out, Contradiction{"I4", id, fmt.Sprintf("its events say %s after %s", state, ended)})
		}
		if final(state) {
			ended = state
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("check the states: %w", err)
	}
	return out, nil
}
