//go:build !unix

package manifest

import "io/fs"

const nonblock = 0

// inode is not told by this system; path, size and time have to do.
func inode(fs.FileInfo) uint64 { return 0 }
