package files

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Free returns how many bytes of the volume's file system are free to the server, and how many it has.
func (v *Volume) Free() (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(v.root, &st); err != nil {
		return 0, 0, fmt.Errorf("ask for free space of %s: %w", v.root, err)
	}
	size := uint64(st.Bsize)                               //nolint:gosec,unconvert // never negative; its type differs between platforms
	return uint64(st.Bavail) * size, st.Blocks * size, nil //nolint:unconvert // as above
}
