package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// writeLock is the byte of the -shm file whose lock the one writer holds (https://www.sqlite.org/walformat.html, 2.3.1).
const writeLock = 120

// BusyPatience is how long a change waits, in milliseconds, for another program that writes; then it fails.
const BusyPatience = 5000

// Writer tells which process is writing to the database file at path right now; 0 where its number cannot be seen. It
// looks at the lock and takes none. A process that has the database open must not ask: the system gives up all its locks
// on a file when it closes the file once.
func Writer(path string) (pid int, writing bool, err error) {
	f, err := os.Open(path + "-shm")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("look for a writer: %w", err)
	}
	defer func() { _ = f.Close() }()
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: writeLock, Len: 1}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return 0, false, fmt.Errorf("look for a writer: %w", err)
	}
	return max(int(lock.Pid), 0), lock.Type != unix.F_UNLCK, nil
}
