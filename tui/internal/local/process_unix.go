//go:build unix

package local

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// detached gives the server a session of its own, so that closing the terminal does not end it.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func ownedByUs(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Getuid()
}
