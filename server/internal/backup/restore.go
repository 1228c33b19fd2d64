package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/fsck"
	"github.com/cultivar-ml/cultivar/server/internal/ingest"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Restore makes the database file, which must not be there, and the volume what they were at a snapshot, the newest one when
// its name is empty. It returns what was found to be there in the end, having read all of it.
func Restore(ctx context.Context, dir, name, database string, volume *files.Volume) (Report, error) {
	all, err := List(dir)
	if err != nil {
		return Report{}, err
	}
	if name == "" && len(all) > 0 {
		name = all[len(all)-1]
	}
	if !slices.Contains(all, name) {
		return Report{}, fmt.Errorf("restore: there is no snapshot %q in %s", name, dir)
	}
	if _, err := os.Lstat(database); !errors.Is(err, fs.ErrNotExist) {
		return Report{}, fmt.Errorf("restore: there is a database at %s already: restore into an empty data folder", database)
	}
	r := Report{Snapshot: name}
	if err := r.restore(ctx, dir, database, volume); err != nil {
		return r, fmt.Errorf("restore: %w", err)
	}
	return r, nil
}

func (r *Report) restore(ctx context.Context, dir, database string, volume *files.Volume) error {
	from, err := files.OpenVolume(filepath.Join(dir, volumeDir))
	if err != nil {
		return err
	}
	file := filepath.Join(dir, snapshots, r.Snapshot+extension)
	err = withSnapshot(ctx, file, func(db *store.Store) error {
		stock, err := db.Stock(ctx)
		if err != nil {
			return err
		}
		return r.copyAll(ctx, stock, from, volume)
	})
	if err != nil {
		return err
	}
	// The database comes last: a server finds all of it or nothing.
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := files.MkdirAll(filepath.Dir(database)); err != nil {
		return err
	}
	err = files.Write(database, files.FileMode, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
	if err != nil {
		return err
	}
	return withSnapshot(ctx, database, func(db *store.Store) error {
		r.Report, err = fsck.Run(ctx, fsck.Options{Store: db, Volume: volume, Read: true})
		return err
	})
}

// named lists the files of a volume that a stock names: packs, manifests, and all files of tasks that have ended. Tasks that have
// not begin anew.
func named(stock store.Stock, v *files.Volume) ([]string, error) {
	var out []string
	for _, p := range stock.Packs {
		out = append(out, ingest.PackName(p.Owner, p.Hash))
	}
	for _, d := range stock.Datasets {
		if d.State == api.DatasetReady {
			out = append(out, path.Join(runspec.DatasetDir(d.Owner, d.Digest), runspec.ManifestFile))
		}
	}
	for _, t := range stock.Tasks {
		if t.Ended == nil {
			continue
		}
		within, err := below(v, runspec.TaskDir(t.Owner, t.ID))
		if err != nil {
			return nil, err
		}
		out = append(out, within...)
	}
	return out, nil
}

// below lists the files in a folder of a volume and in those within it. A folder that is not there has none.
func below(v *files.Volume, dir string) ([]string, error) {
	root, err := v.Path(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	err = filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, name)
		out = append(out, path.Join(dir, filepath.ToSlash(rel)))
		return err
	})
	return out, err
}
