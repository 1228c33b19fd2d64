//go:build unix

package manifest

import (
	"io/fs"
	"syscall"
)

// nonblock keeps a named pipe that took a file's place from blocking the scan.
const nonblock = syscall.O_NONBLOCK

func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Ino)
	}
	return 0
}
