package bases

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockName is a file beside bases.json; the lock ends with the process that holds it.
const lockName = ".bases.lock"

// lockFolder waits until no other process is changing the folder.
func lockFolder(dir string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock the folder: %w", err)
	}
	return func() { file.Close() }, nil
}

// writeDurable puts data at dir/name so that after a crash there is the old file or the new one, whole. A file that
// already has these bytes is left alone.
func writeDurable(dir, name string, data []byte) error {
	path := filepath.Join(dir, name)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	temp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	defer os.Remove(temp.Name()) // in vain after the rename
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Chmod(0o644) // the server and the trainers may be other users than the installer
	}
	if err == nil {
		err = temp.Sync()
	}
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err == nil {
		err = syncFolder(dir)
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
}

func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
