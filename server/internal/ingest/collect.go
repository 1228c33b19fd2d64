package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const (
	// unnamedLife is how long what no dataset and no row names stays: whoever sends photos may be about to name them.
	unnamedLife = 24 * time.Hour
	// receivingLife is how long a dataset may be on its way.
	receivingLife = 7 * 24 * time.Hour
)

// Collect removes what nobody can use any more: datasets that never arrived, packs that lie in no dataset, and files that a
// crash left without a row. It returns how much room that made.
func (s *Service) Collect(ctx context.Context) (bytes int64, err error) {
	s.packs.Lock()
	defer s.packs.Unlock()
	if err := s.store.DropReceiving(ctx, s.now().Add(-receivingLife)); err != nil {
		return 0, err
	}
	packs, err := s.store.DropUnnamedPacks(ctx, s.now().Add(-unnamedLife))
	if err != nil {
		return 0, err
	}
	if len(packs) > 0 {
		failpoint.Hit("ingest.dropped")
	}
	var errs []error
	for _, p := range packs {
		bytes += p.Bytes
		errs = append(errs, s.volume.Remove(PackName(p.Owner, p.Hash)))
	}
	stock, err := s.store.Stock(ctx)
	if err != nil {
		return bytes, errors.Join(append(errs, err)...)
	}
	strays, err := Strays(s.volume, stock)
	errs = append(errs, err)
	for _, stray := range strays {
		if s.now().Sub(stray.Changed) > unnamedLife {
			bytes += stray.Bytes
			errs = append(errs, s.volume.Remove(stray.Name))
		}
	}
	return bytes, errors.Join(errs...)
}

// PackName is a pack's name on the volume.
func PackName(owner, hash string) string {
	return path.Join(runspec.PacksDir(owner), runspec.PackName(hash))
}

// Stray is a file or folder of the volume that no row names, as a crash leaves it between file and row.
type Stray struct {
	Name    string
	Bytes   int64
	Changed time.Time // the newest of its files
}

// Strays lists what no row of a stock names.
func Strays(v *files.Volume, stock store.Stock) ([]Stray, error) {
	named := map[string]bool{}
	for _, p := range stock.Packs {
		named[PackName(p.Owner, p.Hash)] = true
	}
	for _, d := range stock.Datasets {
		named[runspec.DatasetDir(d.Owner, d.Digest)] = true
	}
	for _, t := range stock.Tasks {
		named[runspec.TaskDir(t.Owner, t.ID)] = true
	}
	for _, u := range stock.Uploads {
		named[partName(u)], named[folderName(u)] = true, true
	}
	root, err := v.Path("users")
	if err != nil {
		return nil, err
	}
	var out []Stray
	for _, pattern := range []string{"*/packs/*/*", "*/datasets/*", "*/tasks/*", "*/uploads/*"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			return nil, fmt.Errorf("look for what nothing names: %w", err)
		}
		for _, file := range found {
			if name := "users/" + filepath.ToSlash(strings.TrimPrefix(file, root+string(filepath.Separator))); !named[name] {
				out = append(out, strayAt(name, file))
			}
		}
	}
	return out, nil
}

// strayAt measures a file, or all files in a folder; what goes away meanwhile has no size.
func strayAt(name, file string) Stray {
	s := Stray{Name: name}
	_ = filepath.WalkDir(file, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // as said
		}
		info, err := os.Lstat(file)
		if inner, innerErr := e.Info(); innerErr == nil {
			info, err = inner, nil
		}
		if err == nil && info.ModTime().After(s.Changed) {
			s.Changed = info.ModTime()
		}
		if err == nil && info.Mode().IsRegular() {
			s.Bytes += info.Size()
		}
		return nil
	})
	return s
}
