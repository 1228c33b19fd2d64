package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// mostDamages is how many sentences on damage are read; the first ones tell enough.
const mostDamages = 5

// Inspection is what was found in a database file.
type Inspection struct {
	SQLite string   // the library's release
	Buggy  string   // why that release is refused; empty: it is not
	Schema int64    // the newest migration that the file has had
	Known  int64    // the newest migration of this program
	Damage []string // what SQLite finds wrong with the file, in its words; nil: nothing
	Bytes  int64    // of the file and its log
}

// Inspect looks into the database file at path without changing it or migrating it, beside a running server too. It fails
// where the file cannot be read; what is absent is fs.ErrNotExist.
func Inspect(ctx context.Context, path string) (Inspection, error) {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "open", Path: path, Err: unix.EISDIR}
	}
	if err != nil {
		return Inspection{}, fmt.Errorf("inspect database: %w", err)
	}
	// Read in the ordinary way, a file that nobody has open would get a -wal and a -shm file that nobody removes. Called
	// immutable it gets none; when a server opens it in that moment, what was read may not fit together and is read again.
	quiet := !exists(path + "-wal")
	out, err := inspect(ctx, path, quiet)
	if quiet && (err != nil || out.Damage != nil) && exists(path+"-wal") {
		out, err = inspect(ctx, path, false)
	}
	var refused *sqlite.Error
	if errors.As(err, &refused) && (refused.Code()&0xff == sqlite3.SQLITE_CORRUPT || refused.Code()&0xff == sqlite3.SQLITE_NOTADB) {
		out.Damage, err = append(out.Damage, refused.Error()), nil
	}
	if err != nil {
		return Inspection{}, fmt.Errorf("inspect database: %w", err)
	}
	out.Bytes = info.Size()
	if log, err := os.Stat(path + "-wal"); err == nil {
		out.Bytes += log.Size()
	}
	return out, nil
}

func inspect(ctx context.Context, path string, immutable bool) (out Inspection, err error) {
	name := dsn(path, "ro")
	if immutable {
		name += "&immutable=1"
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if out.SQLite, out.Buggy, err = library(ctx, db); err != nil {
		return out, err
	}
	if out.Known, err = newestMigration(); err != nil {
		return out, err
	}
	err = rows(ctx, db, "PRAGMA quick_check("+strconv.Itoa(mostDamages)+")", nil, func(r *sql.Rows) error {
		var said string
		if err := r.Scan(&said); err != nil {
			return err
		}
		if said != "ok" {
			out.Damage = append(out.Damage, said)
		}
		return nil
	})
	if err != nil || out.Damage != nil {
		return out, err
	}
	var tables int
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE name = 'goose_db_version'").Scan(&tables)
	if err != nil || tables == 0 {
		return out, err
	}
	var schema sql.NullInt64
	err = db.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version WHERE is_applied").Scan(&schema)
	out.Schema = schema.Int64
	return out, err
}

// library tells the release of SQLite, and why it must not be used; empty: it may.
func library(ctx context.Context, db querier) (version, buggy string, err error) {
	if err := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return "", "", err
	}
	if older(version, oldestSQLite) {
		buggy = fmt.Sprintf("SQLite %s can corrupt a database in WAL mode; this program needs %s or newer", version, oldestSQLite)
	}
	return version, buggy, nil
}

// newestMigration is the number that the last of the embedded migrations begins with.
func newestMigration() (int64, error) {
	all, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(all) == 0 {
		return 0, errors.Join(err, errors.New("this program has no migrations"))
	}
	number, _, _ := strings.Cut(strings.TrimPrefix(all[len(all)-1], "migrations/"), "_") // Glob sorts
	return strconv.ParseInt(number, 10, 64)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
