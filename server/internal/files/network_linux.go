package files

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// networks are the file systems on which SQLite's locks and shared memory cannot be trusted
// (https://www.sqlite.org/wal.html, "all processes must be on the same host").
var networks = map[int64]string{
	unix.NFS_SUPER_MAGIC:  "NFS",
	unix.SMB_SUPER_MAGIC:  "SMB",
	unix.CIFS_SUPER_MAGIC: "CIFS",
	unix.SMB2_SUPER_MAGIC: "SMB",
	unix.FUSE_SUPER_MAGIC: "FUSE",
	unix.AFS_SUPER_MAGIC:  "AFS",
	unix.CEPH_SUPER_MAGIC: "Ceph",
	unix.V9FS_MAGIC:       "9P",
}

// Network names the network file system that path is on; empty: a local disk.
func Network(path string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "", fmt.Errorf("ask for the file system of %s: %w", path, err)
	}
	return networks[int64(st.Type)], nil //nolint:unconvert // the field's width differs between platforms
}
