package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Upload is a resumable upload's durable state.
type Upload struct {
	ID, Owner, Kind, Dataset string
	Size, Received           int64
	Finished                 bool
	Expires                  time.Time
}

const uploadColumns = "id, owner, kind, dataset, size, received, finished, expires"

func scanUpload(row scanner) (Upload, error) {
	var u Upload
	var expires int64
	if err := row.Scan(&u.ID, &u.Owner, &u.Kind, &u.Dataset, &u.Size, &u.Received, &u.Finished, &expires); err != nil {
		return Upload{}, translate(err)
	}
	u.Expires = fromMicros(expires)
	return u, nil
}

// AddUpload stores a new upload.
func (s *Store) AddUpload(ctx context.Context, u Upload) error {
	_, err := s.write.ExecContext(ctx, "INSERT INTO uploads ("+uploadColumns+", created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		u.ID, u.Owner, u.Kind, u.Dataset, u.Size, u.Received, flag(u.Finished), micros(u.Expires), micros(s.now()))
	if err != nil {
		return fmt.Errorf("add upload: %w", err)
	}
	return nil
}

// Upload returns a user's upload that has not expired.
func (s *Store) Upload(ctx context.Context, user, id string) (Upload, error) {
	u, err := scanUpload(s.read.QueryRowContext(ctx, "SELECT "+uploadColumns+" FROM uploads WHERE owner = $1 AND id = $2 AND expires > $3",
		user, id, micros(s.now())))
	if err != nil {
		return Upload{}, fmt.Errorf("get upload: %w", err)
	}
	return u, nil
}

// ReservedBytes is how much the unfinished uploads of all users may still grow: they share one disk.
func (s *Store) ReservedBytes(ctx context.Context) (int64, error) {
	var n int64
	err := s.read.QueryRowContext(ctx, "SELECT COALESCE(SUM(size - received), 0) FROM uploads WHERE finished = 0 AND expires > $1", micros(s.now())).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("sum uploads: %w", err)
	}
	return n, nil
}

// AdvanceUpload notes that bytes up to received are durable, and puts off the expiry.
func (s *Store) AdvanceUpload(ctx context.Context, user, id string, received int64, expires time.Time) error {
	err := one(s.write.ExecContext(ctx, "UPDATE uploads SET received = $1, expires = $2 WHERE owner = $3 AND id = $4 AND finished = 0 AND received <= $1",
		received, micros(expires), user, id))
	if err != nil {
		return fmt.Errorf("advance upload: %w", err)
	}
	return nil
}

// FinishUpload notes that the content has been taken in.
func (s *Store) FinishUpload(ctx context.Context, user, id string) error {
	err := one(s.write.ExecContext(ctx, "UPDATE uploads SET finished = 1 WHERE owner = $1 AND id = $2", user, id))
	if err != nil {
		return fmt.Errorf("finish upload: %w", err)
	}
	return nil
}

// DeleteUpload forgets an upload. What is absent is no error.
func (s *Store) DeleteUpload(ctx context.Context, user, id string) error {
	if _, err := s.write.ExecContext(ctx, "DELETE FROM uploads WHERE owner = $1 AND id = $2", user, id); err != nil {
		return fmt.Errorf("delete upload: %w", err)
	}
	return nil
}

// ExpiredUploads lists uploads of all users whose time is over, for the cleaner.
func (s *Store) ExpiredUploads(ctx context.Context) ([]Upload, error) {
	var out []Upload
	err := rows(ctx, s.read, "SELECT "+uploadColumns+" FROM uploads WHERE expires <= $1", []any{micros(s.now())}, func(r *sql.Rows) error {
		u, err := scanUpload(r)
		out = append(out, u)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list expired uploads: %w", err)
	}
	return out, nil
}
