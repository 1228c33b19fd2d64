package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
)

// CopyTo writes the database as it is at one moment to a new file, beside a running server too
// (https://www.sqlite.org/lang_vacuum.html#vacuuminto). Uploads are left out, whose files grow. It is one file, which others
// than a server need nothing beside to read, and is not yet synced.
func (s *Store) CopyTo(ctx context.Context, path string) error {
	if _, err := s.read.ExecContext(ctx, "PRAGMA query_only(0)"); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	if _, err := s.read.ExecContext(ctx, "VACUUM INTO $1", path); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "mode=rw&_pragma=journal_mode(DELETE)&_pragma=synchronous(FULL)"}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	_, err = db.ExecContext(ctx, "DELETE FROM uploads")
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	return nil
}
