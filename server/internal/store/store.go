// Package store keeps every row of the server: datasets, blobs, uploads, tasks, their attempts and events. Methods that
// serve a person take the user and see that user's rows only; methods for the supervisor and for trainers say so. It
// decides no policy: which state may follow which is package tasks' matter, the store only compares and sets.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver named "sqlite"

	"github.com/cultivar-ml/cultivar/server/internal/files"
)

//go:embed migrations/*.sql
var migrations embed.FS

// oldestSQLite is the first release without the WAL-reset bug, which can corrupt a database that several connections
// write to (https://www.sqlite.org/releaselog/3_51_3.html).
const oldestSQLite = "3.51.3"

// Store is an open database. All methods may be called from any goroutine.
type Store struct {
	write *sql.DB // one connection: SQLite has one writer, so waiting happens here and never as "database is locked"
	read  *sql.DB
	now   func() time.Time
}

// Open opens the database file, makes it when absent and brings its schema up to date. It refuses a network file system
// and an SQLite library with a known corruption bug.
func Open(ctx context.Context, path string, now func() time.Time) (*Store, error) {
	network, err := files.Network(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if network != "" {
		return nil, fmt.Errorf("open database: %s is on a network file system (%s), where SQLite can lose data: choose a data folder on a local disk with --data", path, network)
	}
	s := &Store{now: now}
	if s.write, err = sql.Open("sqlite", dsn(path, "rwc", "_txlock=immediate")); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	s.write.SetMaxOpenConns(1)
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.read, err = sql.Open("sqlite", dsn(path, "ro")); err != nil {
		return nil, errors.Join(fmt.Errorf("open database for reading: %w", err), s.Close())
	}
	s.read.SetMaxOpenConns(max(4, runtime.NumCPU()))
	return s, nil
}

func dsn(path, mode string, extra ...string) string {
	busy := fmt.Sprintf("_pragma=busy_timeout(%d)", BusyPatience)
	params := append([]string{
		"mode=" + mode,
		busy,
		"_pragma=journal_mode(WAL)",
		"_pragma=synchronous(FULL)",
		"_pragma=foreign_keys(1)",
		"_pragma=journal_size_limit(67108864)",
	}, extra...)
	if mode == "ro" {
		params = []string{"mode=ro", busy, "_pragma=query_only(1)"}
	}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: strings.Join(params, "&")}
	return u.String()
}

func (s *Store) prepare(ctx context.Context) error {
	_, buggy, err := library(ctx, s.write)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	if buggy != "" {
		return fmt.Errorf("open database: %s", buggy)
	}
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.write, dir)
	if err != nil {
		return fmt.Errorf("open migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring the database up to date: %w", err)
	}
	return nil
}

// older compares dotted versions by their numbers.
func older(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range y {
		if i >= len(x) {
			return true
		}
		m, _ := strconv.Atoi(x[i])
		n, _ := strconv.Atoi(y[i])
		if m != n {
			return m < n
		}
	}
	return false
}

// Close waits for running statements and closes the database.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.read.QueryRowContext(ctx, "SELECT 1").Scan(&one); err != nil {
		return fmt.Errorf("ask the database: %w", err)
	}
	return nil
}

// tx runs do in one writing transaction: all of it is durable when tx returns nil, and none of it otherwise.
func (s *Store) tx(ctx context.Context, what string, do func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := do(tx); err != nil {
		_ = tx.Rollback() // the first error is the one to tell
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// rows runs a reading query and calls each for every row.
func rows(ctx context.Context, db querier, query string, args []any, each func(*sql.Rows) error) error {
	rs, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rs.Close() }()
	for rs.Next() {
		if err := each(rs); err != nil {
			return err
		}
	}
	return rs.Err()
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

type scanner interface{ Scan(dest ...any) error }

// one turns the result of a change into ErrConflict when it met no row.
func one(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrConflict
	}
	return nil
}

func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

func nullTime(v sql.NullInt64) *time.Time {
	if !v.Valid {
		return nil
	}
	t := fromMicros(v.Int64)
	return &t
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
