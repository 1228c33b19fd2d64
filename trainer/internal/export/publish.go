package export

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/cultivar-ml/cultivar/trainer/internal/durable"
)

// publish has write make a file at a temporary place in dir, syncs and hashes it, and gives it a's name. It fills in
// a's size and hash.
func publish(dir string, a *Artifact, write func(temp string) error) error {
	// A folder and not a file, because writers make the file themselves, under a name of its final kind.
	scratch, err := os.MkdirTemp(dir, ".export-")
	if err != nil {
		return fmt.Errorf("export %s: %w", a.Name, err)
	}
	defer os.RemoveAll(scratch)
	temp := filepath.Join(scratch, a.Name)
	if err := write(temp); err != nil {
		return fmt.Errorf("export %s: %w", a.Name, err)
	}
	if err := seal(temp, a); err != nil {
		return fmt.Errorf("export %s: %w", a.Name, err)
	}
	if err := os.Rename(temp, filepath.Join(dir, a.Name)); err != nil {
		return fmt.Errorf("export %s: %w", a.Name, err)
	}
	if err := durable.SyncFolder(dir); err != nil {
		return fmt.Errorf("export %s: %w", a.Name, err)
	}
	return nil
}

// seal syncs the file and notes its size and hash.
func seal(file string, a *Artifact) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	hash := sha256.New()
	if a.Bytes, err = io.Copy(hash, f); err != nil {
		return err
	}
	a.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return nil
}

// publishDir has write fill a temporary folder, syncs it and gives it the name target, in place of what was there.
func publishDir(target string, write func(temp string) error) error {
	dir, name := filepath.Split(target)
	scratch, err := os.MkdirTemp(dir, ".export-")
	if err != nil {
		return fmt.Errorf("export %s: %w", name, err)
	}
	defer os.RemoveAll(scratch)
	temp := filepath.Join(scratch, name)
	if err := os.Mkdir(temp, 0o755); err != nil {
		return fmt.Errorf("export %s: %w", name, err)
	}
	if err := write(temp); err != nil {
		return fmt.Errorf("export %s: %w", name, err)
	}
	if err := syncTree(temp); err != nil {
		return fmt.Errorf("export %s: %w", name, err)
	}
	// A folder cannot be renamed over another one; the old one steps aside and is deleted with the scratch folder.
	if err := os.Rename(target, filepath.Join(scratch, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("export %s: %w", name, err)
	}
	if err := os.Rename(temp, target); err != nil {
		return fmt.Errorf("export %s: %w", name, err)
	}
	if err := durable.SyncFolder(dir); err != nil {
		return fmt.Errorf("export %s: %w", name, err)
	}
	return nil
}

// syncTree syncs the folders of a tree, so that the names in them last; the files in it are synced by who wrote them.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return durable.SyncFolder(name)
	})
}

// zipDir packs folder into a .zip at target, below a folder named top. Equal folders give equal bytes: names in order,
// one fixed date, and no compression, whose output may change with the Go version and which weights hardly yield to.
func zipDir(target, folder, top string) error {
	f, err := os.Create(target)
	if err != nil {
		return err
	}
	defer f.Close()
	w := zip.NewWriter(f)
	err = filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		return zipFile(w, name, path.Join(top, filepath.ToSlash(relative)))
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

func zipFile(w *zip.Writer, source, name string) error {
	// The earliest date that the format can tell.
	header := &zip.FileHeader{Name: name, Method: zip.Store, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(0o644)
	out, err := w.CreateHeader(header)
	if err != nil {
		return err
	}
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(out, in)
	return err
}
