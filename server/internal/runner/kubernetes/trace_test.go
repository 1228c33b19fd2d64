package kubernetes_test

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
)

// trace is what happened in a simulation, for the reader of a failure: the same seed has the same faults and fates, yet
// not the same interleaving.
type trace struct {
	mu    sync.Mutex
	began time.Time
	lines []string
	last  map[string]string // the newest of what news added
}

func newTrace() *trace { return &trace{began: time.Now(), last: map[string]string{}} }

func (tr *trace) add(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, fmt.Sprintf("%9s ", time.Since(tr.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// news adds what is known of something, unless it was known before.
func (tr *trace) news(about, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	tr.mu.Lock()
	same := tr.last[about] == text
	tr.last[about] = text
	tr.mu.Unlock()
	if !same {
		tr.add("%s %s", about, text)
	}
}

// status adds what a job is told to be.
func (tr *trace) status(name string, st runner.Status, err error) {
	tr.news("status "+name, "%s %q %t %+v %v", st.Phase, st.Why, st.Stuck, st.Exit, err)
}

// change adds what happens in the cluster.
func (tr *trace) change(c change) {
	tr.add("  %s %s %s (%d)", c.kind, c.resource, c.object.GetName(), c.version)
}

func (tr *trace) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return strings.Join(tr.lines, "\n")
}
