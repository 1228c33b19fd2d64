package doctor

import (
	"context"
	"testing"
	"time"
)

// Look makes the checks of one group.
func Look(t testing.TB, o Options, group string) []Check {
	t.Helper()
	e := newExamination(o)
	for _, g := range e.groups() {
		if g.name == group {
			var out []Check
			for _, c := range <-g.begin(t.Context()) {
				out = append(out, c.plain())
			}
			return out
		}
	}
	t.Fatalf("there is no group %q", group)
	return nil
}

// Hang is a group that answers only when release is closed.
func Hang(ctx context.Context, limit time.Duration, release <-chan struct{}) <-chan []Check {
	return group{"volume", limit, "Do this.", func(context.Context) []Check { <-release; return nil }}.begin(ctx)
}

// Parts of checks that depend on what a test cannot bring about.
var (
	Room        = room
	Clock       = clock
	Certificate = certificate
	Size        = size
)

// Grace is how much longer than its time a group may take.
const Grace = grace

// SetBusyPatience shortens the wait for a writer that does not end.
func SetBusyPatience(t testing.TB, d time.Duration) {
	old := busyPatience
	busyPatience = d
	t.Cleanup(func() { busyPatience = old })
}
