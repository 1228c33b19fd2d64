package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
)

// Dataset is one version of a user's dataset.
type Dataset struct {
	ID, Owner, Name, Digest string
	State                   api.DatasetState
	Images                  int
	Bytes                   int64
	Classes                 []api.ClassCount // in label order; empty until ready
	Created                 time.Time
}

const datasetColumns = "id, owner, name, digest, state, images, bytes, classes, created"

func scanDataset(row scanner) (Dataset, error) {
	var d Dataset
	var classes string
	var created int64
	if err := row.Scan(&d.ID, &d.Owner, &d.Name, &d.Digest, &d.State, &d.Images, &d.Bytes, &classes, &created); err != nil {
		return Dataset{}, translate(err)
	}
	d.Created = fromMicros(created)
	if err := json.Unmarshal([]byte(classes), &d.Classes); err != nil {
		return Dataset{}, fmt.Errorf("classes of dataset %s: %w", d.ID, err)
	}
	return d, nil
}

// AddDataset stores a new dataset in state receiving, or returns the one that the owner has with this digest.
func (s *Store) AddDataset(ctx context.Context, d Dataset) (out Dataset, added bool, err error) {
	err = s.tx(ctx, "add dataset", func(tx *sql.Tx) error {
		out, err = scanDataset(tx.QueryRowContext(ctx,
			"SELECT "+datasetColumns+" FROM datasets WHERE owner = $1 AND digest = $2", d.Owner, d.Digest))
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		added, out = true, d
		out.State, out.Classes, out.Created = api.DatasetReceiving, []api.ClassCount{}, s.now().UTC().Truncate(time.Microsecond)
		_, err := tx.ExecContext(ctx, "INSERT INTO datasets ("+datasetColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
			out.ID, out.Owner, out.Name, out.Digest, out.State, out.Images, out.Bytes, "[]", micros(out.Created))
		return err
	})
	return out, added, err
}

// Dataset returns a user's dataset.
func (s *Store) Dataset(ctx context.Context, user, id string) (Dataset, error) {
	d, err := scanDataset(s.read.QueryRowContext(ctx,
		"SELECT "+datasetColumns+" FROM datasets WHERE owner = $1 AND id = $2", user, id))
	if err != nil {
		return Dataset{}, fmt.Errorf("get dataset: %w", err)
	}
	return d, nil
}

// DatasetByDigest returns a user's dataset of that digest.
func (s *Store) DatasetByDigest(ctx context.Context, user, digest string) (Dataset, error) {
	d, err := scanDataset(s.read.QueryRowContext(ctx,
		"SELECT "+datasetColumns+" FROM datasets WHERE owner = $1 AND digest = $2", user, digest))
	if err != nil {
		return Dataset{}, fmt.Errorf("get dataset: %w", err)
	}
	return d, nil
}

// Page asks for up to Limit rows that are older than the row Before; empty: from the newest.
type Page struct {
	Before string // "<created>.<id>" of the last row seen
	Limit  int
}

// Datasets returns a page of a user's datasets, newest first.
func (s *Store) Datasets(ctx context.Context, user string, p Page) ([]Dataset, error) {
	created, id, err := p.position()
	if err != nil {
		return nil, err
	}
	var out []Dataset
	err = rows(ctx, s.read, "SELECT "+datasetColumns+` FROM datasets
		WHERE owner = $1 AND (created < $2 OR (created = $2 AND id < $3)) ORDER BY created DESC, id DESC LIMIT $4`,
		[]any{user, created, id, p.Limit}, func(r *sql.Rows) error {
			d, err := scanDataset(r)
			out = append(out, d)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("list datasets: %w", err)
	}
	return out, nil
}

// FinishDataset makes a dataset ready with what its manifest says and the packs it lies in. Doing it again is no error.
func (s *Store) FinishDataset(ctx context.Context, user, id string, classes []api.ClassCount, images int, bytes int64, packs []string) error {
	text, err := json.Marshal(classes)
	if err != nil {
		return fmt.Errorf("finish dataset: %w", err)
	}
	return s.tx(ctx, "finish dataset", func(tx *sql.Tx) error {
		err := one(tx.ExecContext(ctx, "UPDATE datasets SET state = $1, classes = $2, images = $3, bytes = $4 WHERE owner = $5 AND id = $6",
			api.DatasetReady, string(text), images, bytes, user, id))
		if err != nil {
			return err
		}
		for _, pack := range packs {
			// A pack that was deleted since its images were looked up must not be counted on.
			err := one(tx.ExecContext(ctx, `INSERT INTO dataset_packs (dataset, owner, pack)
				SELECT $1, owner, hash FROM packs WHERE owner = $2 AND hash = $3
				ON CONFLICT (dataset, pack) DO UPDATE SET owner = excluded.owner`, id, user, pack))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteDataset forgets a dataset, and the packs that no other dataset of the user lies in, whose names it returns.
// It answers ErrConflict while a task on the dataset is active.
func (s *Store) DeleteDataset(ctx context.Context, user, id string) (packs []string, err error) {
	err = s.tx(ctx, "delete dataset", func(tx *sql.Tx) error {
		var active int
		err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM tasks WHERE owner = $1 AND dataset = $2 AND ended IS NULL", user, id).Scan(&active)
		if err != nil {
			return err
		}
		if active > 0 {
			return ErrConflict
		}
		err = rows(ctx, tx, `SELECT pack FROM dataset_packs p WHERE dataset = $1 AND owner = $2
			AND NOT EXISTS (SELECT 1 FROM dataset_packs o WHERE o.owner = p.owner AND o.pack = p.pack AND o.dataset <> p.dataset)`,
			[]any{id, user}, func(r *sql.Rows) error {
				var pack string
				err := r.Scan(&pack)
				packs = append(packs, pack)
				return err
			})
		if err != nil {
			return err
		}
		if err := one(tx.ExecContext(ctx, "DELETE FROM datasets WHERE owner = $1 AND id = $2", user, id)); err != nil {
			if errors.Is(err, ErrConflict) {
				return ErrNotFound
			}
			return err
		}
		for _, pack := range packs {
			for _, q := range []string{"DELETE FROM blobs WHERE owner = $1 AND pack = $2", "DELETE FROM packs WHERE owner = $1 AND hash = $2"} {
				if _, err := tx.ExecContext(ctx, q, user, pack); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return packs, err
}
