// Package files makes durable changes below one root folder: what it has acknowledged survives a power cut. It knows
// nothing of what the files mean, and takes only names that the server made of ids and hashes.
package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Modes: nobody but the server's own user has any business here; a finished blob is never written again.
const (
	DirMode      fs.FileMode = 0o700
	FileMode     fs.FileMode = 0o600
	ReadOnlyMode fs.FileMode = 0o400
)

// ErrName is a name that would leave the root folder.
var ErrName = errors.New("name leaves its folder")

// Volume is a folder whose files are named by slash-separated paths relative to it.
type Volume struct{ root string }

// OpenVolume makes the folder when it is absent.
func OpenVolume(root string) (*Volume, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open volume %q: %w", root, err)
	}
	if err := os.MkdirAll(abs, DirMode); err != nil {
		return nil, fmt.Errorf("open volume: %w", err)
	}
	return &Volume{root: abs}, nil
}

// Path is the absolute path of name. It is the one place where names meet the file system: a name that is absolute or
// climbs out of the root is refused.
func (v *Volume) Path(name string) (string, error) {
	local := filepath.FromSlash(name)
	if !filepath.IsLocal(local) {
		return "", fmt.Errorf("%w: %q", ErrName, name)
	}
	return filepath.Join(v.root, local), nil
}

// MkdirAll makes a folder and its parents, durably.
func (v *Volume) MkdirAll(name string) (string, error) {
	path, err := v.Path(name)
	if err != nil {
		return "", err
	}
	return path, MkdirAll(path)
}

// Write replaces a file durably: readers see the old content or the new, never a part.
func (v *Volume) Write(name string, mode fs.FileMode, content func(io.Writer) error) error {
	path, err := v.Path(name)
	if err != nil {
		return err
	}
	if err := MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return Write(path, mode, content)
}

// WriteBytes is Write with the content at hand.
func (v *Volume) WriteBytes(name string, mode fs.FileMode, content []byte) error {
	return v.Write(name, mode, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// Adopt gives a complete file the name in the volume, read-only and durable, and leaves path for the caller to remove, so
// that a crash at any point can be followed by doing it again. path must lie on the same file system. A file that is
// already there is kept, for the names are hashes of contents.
func (v *Volume) Adopt(path, name string) error {
	dest, err := v.Path(name)
	if err != nil {
		return err
	}
	if err := MkdirAll(filepath.Dir(dest)); err != nil {
		return err
	}
	if _, err := os.Lstat(dest); err == nil {
		return SyncDir(filepath.Dir(dest))
	}
	if err := os.Chmod(path, ReadOnlyMode); err != nil {
		return fmt.Errorf("adopt file: %w", err)
	}
	if err := syncPath(path); err != nil {
		return err
	}
	if err := os.Link(path, dest); err != nil && !errors.Is(err, fs.ErrExist) {
		// Some file systems have no links; there a crash just after this costs the upload, and the client sends it again.
		if err := os.Rename(path, dest); err != nil {
			return fmt.Errorf("adopt file: %w", err)
		}
	}
	return SyncDir(filepath.Dir(dest))
}

// Remove deletes a file or a whole folder. What is absent is no error.
func (v *Volume) Remove(name string) error {
	path, err := v.Path(name)
	if err != nil {
		return err
	}
	if path == v.root || strings.Count(filepath.ToSlash(name), "/") < 1 {
		return fmt.Errorf("%w: %q is too high up to be removed", ErrName, name)
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// Write replaces the file at path durably, in the order that survives a crash at any point: a temporary file in the
// same folder, write, fsync, close, rename, fsync of the folder.
func Write(path string, mode fs.FileMode, content func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".tmp-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
			err = fmt.Errorf("write %s: %w", filepath.Base(path), err)
		}
	}()
	if err := tmp.Chmod(mode); err != nil {
		return err
	}
	if err := content(tmp); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// WriteBytes is Write with the content at hand.
func WriteBytes(path string, mode fs.FileMode, content []byte) error {
	return Write(path, mode, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// MkdirAll makes a folder and its parents and syncs each folder that got a new entry.
func MkdirAll(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, DirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make folder: %w", err)
	}
	return SyncDir(parent)
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error { return syncPath(dir) }

// SyncFile makes the content of a file durable that somebody else wrote, and its name.
func SyncFile(path string) error {
	if err := syncPath(path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", filepath.Base(path), err)
	}
	return nil
}
