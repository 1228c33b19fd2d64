// Package backup copies a server's database and volume to a folder and back. A folder holds several snapshots of the database
// and the files that they name, each once, since files are named by what is in them and never change. What a copy is worth is
// found out by package fsck, at once.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/fsck"
	"github.com/cultivar-ml/cultivar/server/internal/ingest"
	"github.com/cultivar-ml/cultivar/server/internal/store"
)

const (
	snapshots  = "database" // folder of the snapshots
	volumeDir  = "volume"   // folder of the files
	extension  = ".db"
	nameLayout = "20060102T150405.000Z"
	// tries is how often a copy is begun again because files were deleted meanwhile.
	tries = 3
)

// Options say what to copy. A server may run on it.
type Options struct {
	Database string // path of the file
	Volume   *files.Volume
	To       string // folder of the copy, made when absent
	Keep     int    // how many snapshots stay; 0: all
	Read     bool   // read the whole copy and compare hashes
	Now      func() time.Time
}

// Report is what a copy has.
type Report struct {
	Snapshot string // its name
	Files    int    // that it names
	Copied   int    // of them, those that were not there
	Bytes    int64  // copied
	fsck.Report
}

// Take adds a snapshot to a copy. It fails, and keeps nothing, where the snapshot is not whole.
func Take(ctx context.Context, o Options) (Report, error) {
	target, err := files.OpenVolume(filepath.Join(o.To, volumeDir))
	if err != nil {
		return Report{}, fmt.Errorf("back up: %w", err)
	}
	if err := files.MkdirAll(filepath.Join(o.To, snapshots)); err != nil {
		return Report{}, fmt.Errorf("back up: %w", err)
	}
	var r Report
	for range tries {
		r, err = take(ctx, o, target)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return r, fmt.Errorf("back up: %w", err)
	}
	return r, prune(ctx, o, target)
}

func take(ctx context.Context, o Options, target *files.Volume) (r Report, err error) {
	r.Snapshot = o.Now().UTC().Format(nameLayout)
	file := filepath.Join(o.To, snapshots, r.Snapshot+extension)
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(file))
		}
	}()
	if err := snapshot(ctx, o.Database, file); err != nil {
		return r, err
	}
	return r, withSnapshot(ctx, file, func(db *store.Store) error {
		stock, err := db.Stock(ctx)
		if err != nil {
			return err
		}
		if err := r.copyAll(ctx, stock, o.Volume, target); err != nil {
			return err
		}
		if r.Report, err = fsck.Run(ctx, fsck.Options{Store: db, Volume: target, Read: o.Read}); err != nil {
			return err
		}
		if n := len(r.Findings); n > 0 {
			return fmt.Errorf("what was copied is not whole (%d findings, the first: %s %s: %s)", n, r.Findings[0].Invariant, r.Findings[0].What, r.Findings[0].Text)
		}
		return nil
	})
}

// snapshot copies the database durably.
func snapshot(ctx context.Context, database, to string) error {
	db, err := store.View(ctx, database)
	if err != nil {
		return err
	}
	err = db.CopyTo(ctx, to)
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return files.SyncFile(to)
}

func withSnapshot(ctx context.Context, file string, use func(*store.Store) error) error {
	db, err := store.View(ctx, file)
	if err != nil {
		return err
	}
	return errors.Join(use(db), db.Close())
}

// copyAll copies the files that a stock names and that are not there.
func (r *Report) copyAll(ctx context.Context, stock store.Stock, from, to *files.Volume) error {
	names, err := named(stock, from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.Files++
		n, err := copyFile(name, from, to)
		if err != nil {
			return err
		}
		if n >= 0 {
			r.Copied++
			r.Bytes += n
		}
	}
	return nil
}

// copyFile copies a file unless one of its size is there; then it returns −1.
func copyFile(name string, from, to *files.Volume) (int64, error) {
	source, err := from.Path(name)
	if err != nil {
		return 0, err
	}
	f, err := os.Open(source)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	dest, err := to.Path(name)
	if err != nil {
		return 0, err
	}
	if there, err := os.Stat(dest); err == nil && there.Size() == info.Size() {
		return -1, nil
	}
	return info.Size(), to.Write(name, info.Mode().Perm(), func(w io.Writer) error {
		n, err := io.Copy(w, f)
		if err == nil && n != info.Size() {
			err = fmt.Errorf("%s changed while it was copied", name)
		}
		return err
	})
}

// prune removes the oldest snapshots and the files that no other names.
func prune(ctx context.Context, o Options, target *files.Volume) error {
	all, err := List(o.To)
	if err != nil || o.Keep < 1 || len(all) <= o.Keep {
		return err
	}
	for _, name := range all[:len(all)-o.Keep] {
		if err := remove(filepath.Join(o.To, snapshots, name+extension)); err != nil {
			return fmt.Errorf("remove old backups: %w", err)
		}
	}
	var union store.Stock
	for _, name := range all[len(all)-o.Keep:] {
		err := withSnapshot(ctx, filepath.Join(o.To, snapshots, name+extension), func(db *store.Store) error {
			stock, err := db.Stock(ctx)
			union.Packs, union.Datasets, union.Tasks = append(union.Packs, stock.Packs...), append(union.Datasets, stock.Datasets...), append(union.Tasks, stock.Tasks...)
			return err
		})
		if err != nil {
			return fmt.Errorf("remove old backups: %w", err)
		}
	}
	strays, err := ingest.Strays(target, union)
	for _, s := range strays {
		err = errors.Join(err, target.Remove(s.Name))
	}
	return err
}

// List returns the names of a copy's snapshots, oldest first.
func List(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, snapshots))
	if err != nil {
		return nil, fmt.Errorf("list the snapshots of %s: %w", dir, err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), extension); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// remove takes away a database file with what SQLite keeps beside it.
func remove(file string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(file + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
