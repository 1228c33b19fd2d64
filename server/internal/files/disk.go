package files

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Free returns the share of the volume's file system that is free to the server, 0…1.
func (v *Volume) Free() (float64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(v.root, &st); err != nil {
		return 0, fmt.Errorf("ask for free space of %s: %w", v.root, err)
	}
	if st.Blocks == 0 {
		return 1, nil // file systems without a size, such as some overlays
	}
	return float64(st.Bavail) / float64(st.Blocks), nil
}
