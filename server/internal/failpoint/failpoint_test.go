//go:build failpoints

package failpoint_test

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
)

// TestHit runs this test's own program with a place to die at, and looks how far it came.
func TestHit(t *testing.T) {
	if os.Getenv("FAILPOINT_CHILD") != "" {
		for i := range 3 {
			fmt.Print(i)
			failpoint.Hit("a.place")
			failpoint.Hit("another.place")
		}
		return
	}
	for _, c := range []struct {
		variable, passed string
		killed           bool
	}{
		{"a.place", "0", true},
		{"a.place:3", "012", true},
		{"nowhere", "012", false},
		{"", "012", false},
	} {
		t.Run(c.variable, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHit$")
			cmd.Env = append(os.Environ(), "FAILPOINT_CHILD=1", failpoint.Variable+"="+c.variable)
			out, err := cmd.Output()
			status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if killed := err != nil && status.Signaled() && status.Signal() == syscall.SIGKILL; killed != c.killed {
				t.Fatalf("killed is %t (%v), want %t", killed, err, c.killed)
			}
			if got := string(out[:min(len(out), len(c.passed))]); got != c.passed || (c.killed && len(out) != len(c.passed)) {
				t.Fatalf("came as far as %q, want %q", out, c.passed)
			}
		})
	}
}
