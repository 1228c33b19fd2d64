//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Variable is the environment variable that names the place to die at.
const Variable = "CULTIVAR_FAILPOINT"

// chosen is read once, before anything can pass a place.
var chosen, countdown = parse(os.Getenv(Variable))

func parse(text string) (string, *atomic.Int64) {
	var left atomic.Int64
	left.Store(1)
	name, times, found := strings.Cut(text, ":")
	if n, err := strconv.ParseInt(times, 10, 64); found && err == nil {
		left.Store(n)
	}
	return name, &left
}

// Hit kills this process when name is the chosen place and it was passed as often as was asked for.
func Hit(name string) {
	if name != chosen || countdown.Add(-1) != 0 {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal may take a moment to end this goroutine's thread
}
