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
	Succeed Behaviour = "succeed" // exit code 0
	NoImage Behaviour = "noimage" // exit code 11
	Obey    Behaviour = "obey"    // run until interrupted, then exit code 30
	Deaf    Behaviour = "deaf"    // run until killed
)

// Harness is an implementation under test.
type Harness struct {
	// Open returns a runner on the same jobs each time, as a restarted server would.
	Open func() runner.Runner
	// Job returns a job of that name whose trainer behaves so.
	Job func(name string, b Behaviour) runner.Job
}

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// Run checks an implementation against the contract of runner.Runner. factory makes a fresh one for each test.
func Run(t *testing.T, factory func(t *testing.T) Harness) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, h Harness)
	}{
		{"an unknown job is unknown and ending it is no error", unknown},
		{"exit codes are told as they are", exits},
		{"starting twice runs once", startTwice},
		{"interrupt lets the trainer end by itself", interrupt},
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
		"interrupt": r.Interrupt(t.Context(), "cv-none-1"),
		"kill":      r.Kill(t.Context(), "cv-none-1"),
		"remove":    r.Remove(t.Context(), "cv-none-1"),
	} {
		if err != nil {
			t.Errorf("%s of an unknown job: %v", what, err)
		}
	}
}

func exits(t *testing.T, h Harness) {
	r := h.Open()
	for b, want := range map[Behaviour]int{Succeed: runspec.ExitOK, NoImage: runspec.ExitNoImages} {
		name := "cv-" + string(b) + "-1"
		start(t, r, h.Job(name, b))
		if got := await(t, r, name); got.Phase != runner.Exited || got.Exit.Code != want || got.Exit.Killed {
			t.Errorf("%s: %+v, want exit code %d", b, got, want)
		}
	}
}

func startTwice(t *testing.T, h Harness) {
	r := h.Open()
	job := h.Job("cv-twice-1", Obey)
	start(t, r, job)
	start(t, r, job)
	start(t, h.Open(), job)
	if err := r.Interrupt(t.Context(), job.Name); err != nil {
		t.Fatal(err)
	}
	if got := await(t, r, job.Name); got.Exit.Code != runspec.ExitInterrupted {
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

func interrupt(t *testing.T, h Harness) {
	r := h.Open()
	job := h.Job("cv-obey-1", Obey)
	start(t, r, job)
	if got := status(t, r, job.Name); got.Phase != runner.Running {
		t.Fatalf("after start it is %+v, want running", got)
	}
	if err := r.Interrupt(t.Context(), job.Name); err != nil {
		t.Fatal(err)
	}
	if got := await(t, r, job.Name); got.Phase != runner.Exited || got.Exit.Code != runspec.ExitInterrupted || got.Exit.Killed {
		t.Errorf("ended as %+v, want exit code %d", got, runspec.ExitInterrupted)
	}
}

func kill(t *testing.T, h Harness) {
	r := h.Open()
	job := h.Job("cv-deaf-1", Deaf)
	start(t, r, job)
	if err := r.Interrupt(t.Context(), job.Name); err != nil {
		t.Fatal(err)
	}
	if got := status(t, r, job.Name); got.Phase != runner.Running {
		t.Fatalf("after an interrupt it is %+v, want running still", got)
	}
	if err := r.Kill(t.Context(), job.Name); err != nil {
		t.Fatal(err)
	}
	if got := await(t, r, job.Name); got.Phase != runner.Exited || !got.Exit.Killed || got.Exit.Code == 0 {
		t.Errorf("ended as %+v, want killed", got)
	}
	if err := r.Kill(t.Context(), job.Name); err != nil {
		t.Errorf("kill of an ended job: %v", err)
	}
}

func adopt(t *testing.T, h Harness) {
	job := h.Job("cv-adopt-1", Obey)
	start(t, h.Open(), job)
	second := h.Open()
	if got := status(t, second, job.Name); got.Phase != runner.Running {
		t.Fatalf("a second process sees %+v, want running", got)
	}
	if err := second.Interrupt(t.Context(), job.Name); err != nil {
		t.Fatal(err)
	}
	if got := await(t, second, job.Name); got.Exit.Code != runspec.ExitInterrupted {
		t.Errorf("a second process sees the end %+v", got)
	}
}

func remove(t *testing.T, h Harness) {
	r := h.Open()
	job := h.Job("cv-remove-1", Deaf)
	start(t, r, job)
	if err := r.Remove(t.Context(), job.Name); err == nil {
		t.Error("a running job was removed")
	}
	if err := r.Kill(t.Context(), job.Name); err != nil {
		t.Fatal(err)
	}
	await(t, r, job.Name)
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

// await waits for the job's end.
func await(t *testing.T, r runner.Runner, name string) runner.Status {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if st := status(t, r, name); st.Phase == runner.Exited || st.Phase == runner.Lost {
			return st
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s did not end within %s", name, patience)
		}
	}
}
