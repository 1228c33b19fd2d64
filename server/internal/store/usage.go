package store

import (
	"context"
	"database/sql"
	"fmt"
)

// Usage is what a user has.
type Usage struct {
	Bytes    int64 // of photos, with what uploads under way still bring
	Datasets int
	Runs     int
}

// Usage counts what a user has.
func (s *Store) Usage(ctx context.Context, user string) (u Usage, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT (SELECT COALESCE(SUM(bytes), 0) FROM packs WHERE owner = $1)
		+ (SELECT COALESCE(SUM(size), 0) FROM uploads WHERE owner = $1 AND finished = 0 AND expires > $2),
		(SELECT COUNT(*) FROM datasets WHERE owner = $1),
		(SELECT COUNT(*) FROM tasks WHERE owner = $1 AND kind = 'train')`, user, micros(s.now())).Scan(&u.Bytes, &u.Datasets, &u.Runs)
	if err != nil {
		return Usage{}, fmt.Errorf("count what a user has: %w", err)
	}
	return u, nil
}

// DeleteEverything forgets all datasets, uploads and tasks of a user; tokens stay. It answers ErrConflict while a task of theirs
// is active.
func (s *Store) DeleteEverything(ctx context.Context, user string) error {
	return s.tx(ctx, "delete everything of a user", func(tx *sql.Tx) error {
		var active int
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM tasks WHERE owner = $1 AND ended IS NULL", user).Scan(&active); err != nil {
			return err
		}
		if active > 0 {
			return ErrConflict
		}
		for _, table := range []string{"deliveries", "pins", "tasks", "uploads", "datasets", "blobs", "packs"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE owner = $1", user); err != nil {
				return err
			}
		}
		return nil
	})
}
