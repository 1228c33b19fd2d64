package local

import (
	"errors"
	"io/fs"
	"syscall"
)

// detached gives the server a process group of its own, so that ctrl+c does not reach it.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// wsaRefused is WSAECONNREFUSED.
const wsaRefused = syscall.Errno(10061)

func isRefused(err error) bool { return errors.Is(err, wsaRefused) }

// ownedByUs trusts the data folder: it lies in the user's own profile.
func ownedByUs(fs.FileInfo) bool { return true }
