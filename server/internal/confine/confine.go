// Package confine limits what this process may use before it reads what strangers made: should a decoder run wild, it ends,
// and nothing else does. Address space is not limited, which Go reserves in plenty.
package confine

import (
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// Limits are what a process may use.
type Limits struct {
	Memory int64         // bytes of data; the garbage collector works harder from three quarters on
	CPU    time.Duration // of all threads together
	File   int64         // bytes of a file that it writes
}

// Apply limits this process for good.
func Apply(l Limits) error {
	debug.SetMemoryLimit(l.Memory / 4 * 3)
	for _, r := range []struct {
		what  string
		which int
		most  uint64
	}{
		{"memory", unix.RLIMIT_DATA, uint64(l.Memory)},
		{"processor time", unix.RLIMIT_CPU, uint64(l.CPU.Seconds())},
		{"size of files", unix.RLIMIT_FSIZE, uint64(l.File)},
		{"memory dumps", unix.RLIMIT_CORE, 0},
	} {
		if err := unix.Setrlimit(r.which, &unix.Rlimit{Cur: r.most, Max: r.most}); err != nil {
			return fmt.Errorf("limit the %s of this process: %w", r.what, err)
		}
	}
	return nil
}
