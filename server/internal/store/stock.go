package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/cultivar-ml/cultivar/shared/api"
)

func final(state string) bool {
	switch api.State(state) {
	case api.StateSucceeded, api.StateFailed, api.StateCancelled:
		return true
	}
	return false
}

func stateOf(record []byte) (string, error) {
	var r struct {
		State string `json:"state"`
	}
	err := json.Unmarshal(record, &r)
	return r.State, err
}

// Pack is a file of images.
type Pack struct {
	Owner, Hash string
	Bytes       int64
}

// Stock is what the volume must have, of all users, for those who check or copy it.
type Stock struct {
	Packs     []Pack
	Datasets  []Dataset
	Uploads   []Upload
	Tasks     []Task
	Artifacts map[string][]Artifact // by task
}

// Stock lists what the volume must have.
func (s *Store) Stock(ctx context.Context) (Stock, error) {
	out := Stock{Artifacts: map[string][]Artifact{}}
	for _, list := range []struct {
		what, query string
		each        func(*sql.Rows) error
	}{
		{"packs", "SELECT owner, hash, bytes FROM packs", func(r *sql.Rows) error {
			var p Pack
			err := r.Scan(&p.Owner, &p.Hash, &p.Bytes)
			out.Packs = append(out.Packs, p)
			return err
		}},
		{"datasets", "SELECT " + datasetColumns + " FROM datasets", func(r *sql.Rows) error {
			d, err := scanDataset(r)
			out.Datasets = append(out.Datasets, d)
			return err
		}},
		{"uploads", "SELECT " + uploadColumns + " FROM uploads", func(r *sql.Rows) error {
			u, err := scanUpload(r)
			out.Uploads = append(out.Uploads, u)
			return err
		}},
		{"tasks", "SELECT " + taskColumns + taskFrom, func(r *sql.Rows) error {
			t, err := scanTask(r)
			out.Tasks = append(out.Tasks, t)
			return err
		}},
		{"artifacts", "SELECT task, attempt, executor, body FROM artifacts ORDER BY task, position", func(r *sql.Rows) error {
			var task, body string
			var a Artifact
			if err := r.Scan(&task, &a.Attempt, &a.Executor, &body); err != nil {
				return err
			}
			err := json.Unmarshal([]byte(body), &a.Artifact)
			out.Artifacts[task] = append(out.Artifacts[task], a)
			return err
		}},
	} {
		if err := rows(ctx, s.read, list.query, nil, list.each); err != nil {
			return Stock{}, fmt.Errorf("list the %s: %w", list.what, err)
		}
	}
	return out, nil
}
