//go:build !linux

package files

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Network names the network file system that path is on; empty: a local disk.
func Network(path string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "", fmt.Errorf("ask for the file system of %s: %w", path, err)
	}
	if st.Flags&unix.MNT_LOCAL == 0 {
		return "network file system", nil
	}
	return "", nil
}
