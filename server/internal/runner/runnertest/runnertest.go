// Package runnertest is the contract of runner.Runner as tests that every implementation passes, and a scripted runner
// for tests of what is built on one.
package runnertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Behaviour is what a job's trainer is to do in a contract test.
type Behaviour string

// The behaviours that a factory must provide.
const (
	Succeed     Behaviour = "succeed"     // exit code 0
	NoImage     Behaviour = "noimage"     // exit code 11
	Interrupted Behaviour = "interrupted" // exit code 30
	Deaf        Behaviour = "deaf"        // run until killed, without a care for SIGTERM
)

// Harness is an implementation under test.
type Harness struct {
	// Open returns a runner on the same jobs each time, as a restarted server would.
	Open func() runner.Runner
	// Job returns a job of that name whose trainer behaves so.
	Job func(name string, b Behaviour) runner.Job
}

// patience bounds every wait of these tests.
const patience = time.Minute

// Run checks an implementation against the contract of runner.Runner. factory makes a fresh one for each test.
func Run(t *testing.T, factory func(t *testing.T) Harness) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, h Harness)
	}{
		{"an unknown job is unknown and ending it is no error", unknown},
		{"exit codes are told as they are", exits},
		{"starting twice runs once", startTwice},
		{"kill ends what does not listen", kill},
		{"another process adopts what runs", adopt},
		{"a running job is not removed", remove},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, factory(t)) })
	}
}

func unknown(t *testing.T, h Harness) {
	r := h.Open()
	if _, err := r.Status(t.Context(), "cv-none-1"); !errors.Is(err, runner.ErrUnknown) {
		t.Errorf("status of an unknown job: %v, want ErrUnknown", err)
	}
	for what, err := range map[string]error{
		"kill":   r.Kill(t.Context(), "cv-none-1"),
		"remove": r.Remove(t.Context(), "cv-none-1"),
	} {
		if err != nil {
			t.Errorf("%s of an unknown job: %v", what, err)
		}
	}
}

func exits(t *testing.T, h Harness) {
	r := h.Open()
	for b, want := range map[Behaviour]int{Succeed: runspec.ExitOK, NoImage: runspec.ExitNoImages, Interrupted: runspec.ExitInterrupted} {
		name := "cv-" + string(b) + "-1"
		start(t, r, h.Job(name, b))
		if got := await(t, r, name); got.Phase != runner.Exited || got.Exit.Code != want || got.Exit.Cause != "" {
			t.Errorf("%s: %+v, want exit code %d", b, got, want)
		}
	}
}

func startTwice(t *testing.T, h Harness) {
	r := h.Open()
	job := h.Job("cv-twice-1", Succeed)
	start(t, r, job)
	start(t, r, job)
	start(t, h.Open(), job)
	if got := await(t, r, job.Name); got.Phase != runner.Exited || got.Exit.Code != runspec.ExitOK {
		t.Errorf("ended as %+v", got)
	}
	start(t, r, job) // after its end it is not started again
	if got := status(t, r, job.Name); got.Phase != runner.Exited {
		t.Errorf("after another start it is %+v, want exited", got)
	}
	names, err := r.List(t.Context())
	if err != nil || !slices.Equal(names, []string{job.Name}) {
		t.Errorf("list: %v, %v", names, err)
	}
}

func kill(t *testing.T, h Harness) {
	r := h.Open()
	job := h.Job("cv-deaf-1", Deaf)
	start(t, r, job)
	running(t, r, job.Name)
	end(t, r, job.Name)
	if err := r.Kill(t.Context(), job.Name); err != nil {
		t.Errorf("kill of an ended job: %v", err)
	}
}

func adopt(t *testing.T, h Harness) {
	job := h.Job("cv-adopt-1", Deaf)
	start(t, h.Open(), job)
	second := h.Open()
	running(t, second, job.Name)
	end(t, second, job.Name)
}

func remove(t *testing.T, h Harness) {
	r := h.Open()
	job := h.Job("cv-remove-1", Deaf)
	start(t, r, job)
	if err := r.Remove(t.Context(), job.Name); err == nil {
		t.Error("a running job was removed")
	}
	end(t, r, job.Name)
	if err := r.Remove(t.Context(), job.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Status(t.Context(), job.Name); !errors.Is(err, runner.ErrUnknown) {
		t.Errorf("status of a removed job: %v, want ErrUnknown", err)
	}
}

func start(t *testing.T, r runner.Runner, job runner.Job) {
	t.Helper()
	if err := r.Start(t.Context(), job); err != nil {
		t.Fatalf("start %s: %v", job.Name, err)
	}
	// Whatever the test finds, nothing may run on after it.
	t.Cleanup(func() { _ = r.Kill(context.Background(), job.Name) })
}

func status(t *testing.T, r runner.Runner, name string) runner.Status {
	t.Helper()
	st, err := r.Status(t.Context(), name)
	if err != nil {
		t.Fatalf("status of %s: %v", name, err)
	}
	return st
}

// running waits until the job executes.
func running(t *testing.T, r runner.Runner, name string) {
	t.Helper()
	poll(t, name+" to run", func() bool {
		st := status(t, r, name)
		if st.Phase == runner.Exited || st.Phase == runner.Lost {
			t.Fatalf("it is %+v, want running", st)
		}
		return st.Phase == runner.Running
	})
}

// await waits for the job's end.
func await(t *testing.T, r runner.Runner, name string) (st runner.Status) {
	t.Helper()
	poll(t, name+" to end", func() bool {
		st = status(t, r, name)
		return st.Phase == runner.Exited || st.Phase == runner.Lost
	})
	return st
}

// end kills the job and waits until it is told to be killed, or forgotten.
func end(t *testing.T, r runner.Runner, name string) {
	t.Helper()
	if err := r.Kill(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	poll(t, name+" to be killed", func() bool {
		st, err := r.Status(t.Context(), name)
		if errors.Is(err, runner.ErrUnknown) {
			return true
		}
		if err != nil {
			t.Fatalf("status of %s: %v", name, err)
		}
		if st.Phase == runner.Exited && (st.Exit.Cause != runner.CauseKilled || st.Exit.Code == 0) || st.Phase == runner.Lost {
			t.Fatalf("ended as %+v, want killed", st)
		}
		return st.Phase == runner.Exited
	})
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %s for %s in vain", patience, what)
		}
	}
}
