package files

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Free returns how many bytes of the volume's file system are free to the server, and how many it has.
func (v *Volume) Free() (free, total uint64, err error) { return Free(v.root) }

// Free returns how many bytes of the file system that path is on are free to this account, and how many it has.
func Free(path string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, fmt.Errorf("ask for free space of %s: %w", path, err)
	}
	size := uint64(st.Bsize)                               //nolint:gosec,unconvert // never negative; its type differs between platforms
	return uint64(st.Bavail) * size, st.Blocks * size, nil //nolint:unconvert // as above
}
