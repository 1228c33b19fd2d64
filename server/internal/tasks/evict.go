package tasks

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// featureDisk is the part of the disk, as one in so many, that has to be free before features may stay.
const featureDisk = 10

// features are those of one key: all that one base has made of one user's photos at one layer.
type features struct {
	name  string // of the folder, within the volume
	bytes int64
	used  time.Time
}

// evict removes the least recently used features of a user, a whole key at a time, until the rest takes no more than the
// limit and a tenth of the disk is free. It only makes later trainings slower: what is missing is computed again. Of a user
// whose tasks execute nothing is removed, since they may be reading it; only the supervisor starts tasks, and only it evicts.
func (s *Service) evict(user string, active []store.Task) error {
	if s.features == 0 || slices.ContainsFunc(active, func(t store.Task) bool { return t.Owner == user && executing(t.State) }) {
		return nil
	}
	kept, err := s.keptFeatures(user)
	if err != nil {
		return err
	}
	var total int64
	for _, f := range kept {
		total += f.bytes
	}
	slices.SortFunc(kept, func(x, y features) int { return cmp.Or(x.used.Compare(y.used), cmp.Compare(x.name, y.name)) })
	for _, f := range kept {
		free, size, err := s.free()
		if err != nil {
			return err
		}
		if total <= s.features && free >= size/featureDisk {
			return nil
		}
		if err := s.volume.Remove(f.name); err != nil {
			return err
		}
		total -= f.bytes
	}
	return nil
}

// keptFeatures lists a user's features.
func (s *Service) keptFeatures(user string) ([]features, error) {
	dir := runspec.FeaturesDir(user)
	abs, err := s.volume.Path(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list features: %w", err)
	}
	var all []features
	for _, e := range entries {
		if !isKey(e.Name()) { // such as how fast machines were
			continue
		}
		f, err := measureFeatures(filepath.Join(abs, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("measure features: %w", err)
		}
		f.name = path.Join(dir, e.Name())
		all = append(all, f)
	}
	return all, nil
}

// isKey tells whether a folder is called like a key's: by a SHA-256.
func isKey(name string) bool {
	sum, err := hex.DecodeString(name)
	return err == nil && len(sum) == sha256.Size
}

// measureFeatures is what a key's folder takes, and when a trainer last opened it: it touches the key's own file then.
func measureFeatures(dir string) (features, error) {
	var f features
	files, err := os.ReadDir(dir)
	if err != nil {
		return f, err
	}
	for _, file := range files {
		info, err := file.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return f, err
		}
		f.bytes += info.Size()
		if info.ModTime().After(f.used) {
			f.used = info.ModTime()
		}
	}
	return f, nil
}

// evictAll is evict for everyone.
func (s *Service) evictAll(ctx context.Context) error {
	users, err := s.users()
	if err != nil {
		return err
	}
	active, err := s.store.Active(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, user := range users {
		errs = append(errs, s.evict(user, active))
	}
	return errors.Join(errs...)
}

// users are those with a folder on the volume.
func (s *Service) users() ([]string, error) {
	root, err := s.volume.Path("users")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}
