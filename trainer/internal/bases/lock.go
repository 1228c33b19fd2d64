package bases

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cultivar-ml/cultivar/trainer/internal/durable"
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

// writeOnce makes dir/name hold data, durably; a file that already has these bytes is left alone.
func writeOnce(dir, name string, data []byte) error {
	path := filepath.Join(dir, name)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return durable.WriteBytes(path, data)
}
