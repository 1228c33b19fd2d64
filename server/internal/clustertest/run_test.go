//go:build cluster

package clustertest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// following is a run with everything that its event stream told.
type following struct {
	t *testing.T
	c *cluster
	api.Run
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	events []api.Event
}

// start begins a run and follows it over any number of lost connections, as a person's terminal does.
func (c *cluster) start(t *testing.T, dataset string, profile string, change func(*runspec.Recipe)) *following {
	t.Helper()
	recipe := runspec.Default(runspec.Quick)
	if change != nil {
		change(&recipe)
	}
	r, err := c.client.CreateRun(t.Context(), api.RunCreate{Dataset: dataset, Recipe: &recipe, Profile: &profile})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	f := &following{t: t, c: c, Run: r, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		for e, err := range c.client.Events(ctx, r.Id, 0, nil) {
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("stream of run #%d: %v", r.Number, err)
				}
				return
			}
			f.mu.Lock()
			f.events = append(f.events, e)
			f.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		if t.Failed() { // it may be running, and must not take the next one's place
			_, _ = c.client.CancelRun(context.WithoutCancel(t.Context()), r.Id)
		}
		stop()
		<-f.done
		if t.Failed() {
			t.Logf("run #%d:\n%s", r.Number, f.story())
		}
	})
	return f
}

func (f *following) all() []api.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]api.Event{}, f.events...)
}

// story is what the run told in states, phases and sentences.
func (f *following) story() string {
	var b strings.Builder
	for _, e := range f.all() {
		switch r := e.Record.Body.(type) {
		case runspec.State:
			fmt.Fprintf(&b, "  %s %d: %s %s\n", e.Record.Time.Format("15:04:05.0"), e.Attempt, r.State, r.Reason)
		case runspec.Phase:
			fmt.Fprintf(&b, "  %s %d: phase %s\n", e.Record.Time.Format("15:04:05.0"), e.Attempt, r.Phase)
		case runspec.Log:
			fmt.Fprintf(&b, "  %s %d: %s\n", e.Record.Time.Format("15:04:05.0"), e.Attempt, r.Text)
		}
	}
	return b.String()
}

// states are the states it went through, each once however often its reason changed.
func (f *following) states() []string {
	var out []string
	for _, e := range f.all() {
		if s, ok := e.Record.Body.(runspec.State); ok && (len(out) == 0 || out[len(out)-1] != s.State) {
			out = append(out, s.State)
		}
	}
	return out
}

// tells waits until a state event has the text in its reason, and returns the time the event was stored.
func (f *following) tells(patience time.Duration, text string) time.Time {
	f.t.Helper()
	var at time.Time
	eventually(f.t, patience, fmt.Sprintf("run #%d to say %q", f.Number, text), func() bool {
		for _, e := range f.all() {
			if s, ok := e.Record.Body.(runspec.State); ok && strings.Contains(s.Reason, text) {
				at = e.Record.Time
				return true
			}
		}
		return false
	})
	return at
}

// reaches waits for an event that the test describes.
func (f *following) reaches(what string, is func(api.Event) bool) {
	f.t.Helper()
	eventually(f.t, 3*time.Minute, fmt.Sprintf("run #%d to reach %s", f.Number, what), func() bool {
		for _, e := range f.all() {
			if is(e) {
				return true
			}
		}
		return false
	})
}

// epoch is the number of an epoch event, 0 for any other.
func epoch(e api.Event) int {
	if b, ok := e.Record.Body.(runspec.Epoch); ok {
		return b.Epoch
	}
	return 0
}

func inPhase(phase string) func(api.Event) bool {
	return func(e api.Event) bool {
		b, ok := e.Record.Body.(runspec.Phase)
		return ok && b.Phase == phase
	}
}

// ends waits for the run's end, checks that it is the wanted one and that no point of its curve is missing, and returns it.
func (f *following) ends(want api.State) api.Run {
	f.t.Helper()
	select {
	case <-f.done:
	case <-time.After(6 * time.Minute):
		f.t.Fatalf("run #%d did not end", f.Number)
	}
	r, err := f.c.client.Run(f.t.Context(), f.Id)
	if err != nil {
		f.t.Fatal(err)
	}
	if r.State != want {
		f.t.Errorf("run #%d: %s, want %s", f.Number, r.State, want)
	}
	f.unbroken()
	reason := ""
	if r.Reason != nil {
		reason = *r.Reason
	}
	f.t.Logf("run #%d: %s after %s; %d events, %d attempts; %s", f.Number, r.State, strings.Join(f.states(), " → "), len(f.all()), r.Attempt, reason)
	return r
}

// unbroken checks that events count without a gap or a repeat, and epochs of the head from 1 to the last.
func (f *following) unbroken() {
	f.t.Helper()
	seen, last := map[int]bool{}, 0
	for i, e := range f.all() {
		if e.Id != int64(i+1) {
			f.t.Fatalf("event %d has number %d", i+1, e.Id)
		}
		if n := epoch(e); n > 0 {
			seen[n], last = true, max(last, n)
		}
	}
	for n := 1; n <= last; n++ {
		if !seen[n] {
			f.t.Errorf("epoch %d of %d is missing", n, last)
		}
	}
}
