package runnertest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Script plays a trainer's part inside the test's process. ctx ends with Kill.
type Script func(ctx context.Context, job runner.Job) runner.Exit

// Fake is a runner whose trainers are scripts. It keeps the whole contract except that its jobs end with the process.
type Fake struct {
	script  Script
	slots   map[runspec.Kind]int
	changed chan struct{}

	mu   sync.Mutex
	jobs map[string]*fakeJob
	held *runner.Status // what new jobs wait with; nil: they run at once
	done sync.WaitGroup
}

type fakeJob struct {
	status runner.Status
	job    runner.Job
	kill   context.CancelFunc
	killed bool
}

// NewFake returns a runner that plays script for every job, slots[kind] at once.
func NewFake(script Script, slots map[runspec.Kind]int) *Fake {
	return &Fake{script: script, slots: slots, changed: make(chan struct{}, 1), jobs: map[string]*fakeJob{}}
}

// Start implements runner.Runner.
func (f *Fake) Start(_ context.Context, job runner.Job) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.jobs[job.Name]; ok {
		return nil
	}
	j := &fakeJob{job: job, status: runner.Status{Name: job.Name, Phase: runner.Running}}
	f.jobs[job.Name] = j
	if f.held != nil {
		j.status.Phase, j.status.Why, j.status.Stuck = runner.Waiting, f.held.Why, f.held.Stuck
		j.kill = func() { delete(f.jobs, job.Name) }
		return nil
	}
	f.play(j)
	return nil
}

// play runs the job's script; the lock is held.
func (f *Fake) play(j *fakeJob) {
	ctx, cancel := context.WithCancel(context.Background())
	j.kill = cancel
	f.done.Go(func() {
		exit := f.script(ctx, j.job)
		f.mu.Lock()
		if j.status.Phase == runner.Running {
			if j.killed {
				exit.Code, exit.Signal, exit.Cause = -1, "killed", runner.CauseKilled
			}
			exit.Ended = time.Now()
			j.status.Phase, j.status.Exit = runner.Exited, exit
		}
		f.mu.Unlock()
		cancel()
		f.notify()
	})
}

// Hold makes jobs that are started from now on wait, as in a full cluster.
func (f *Fake) Hold(why string, stuck bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = &runner.Status{Why: why, Stuck: stuck}
}

// Release lets waiting jobs run.
func (f *Fake) Release() {
	f.mu.Lock()
	f.held = nil
	for _, j := range f.jobs {
		if j.status.Phase == runner.Waiting {
			j.status = runner.Status{Name: j.job.Name, Phase: runner.Running}
			f.play(j)
		}
	}
	f.mu.Unlock()
	f.notify()
}

// Jobs lists the jobs that are not removed.
func (f *Fake) Jobs() []runner.Job {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []runner.Job
	for _, j := range f.jobs {
		out = append(out, j.job)
	}
	return out
}

// Lose makes a running job vanish, as when a machine goes down with it.
func (f *Fake) Lose(name string) {
	f.mu.Lock()
	if j, ok := f.jobs[name]; ok && j.status.Phase == runner.Running {
		j.status.Phase = runner.Lost
		j.kill()
	}
	f.mu.Unlock()
	f.notify()
}

func (f *Fake) notify() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// Status implements runner.Runner.
func (f *Fake) Status(_ context.Context, name string) (runner.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j, ok := f.jobs[name]
	if !ok {
		return runner.Status{}, fmt.Errorf("%w: %s", runner.ErrUnknown, name)
	}
	return j.status, nil
}

// Kill implements runner.Runner.
func (f *Fake) Kill(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if j, ok := f.jobs[name]; ok && (j.status.Phase == runner.Running || j.status.Phase == runner.Waiting) {
		j.killed = true
		j.kill()
	}
	return nil
}

// Remove implements runner.Runner.
func (f *Fake) Remove(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if j, ok := f.jobs[name]; ok && (j.status.Phase == runner.Running || j.status.Phase == runner.Waiting) {
		return fmt.Errorf("remove job %s: it is %s", name, j.status.Phase)
	}
	delete(f.jobs, name)
	return nil
}

// List implements runner.Runner.
func (f *Fake) List(context.Context) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name := range f.jobs {
		names = append(names, name)
	}
	return names, nil
}

// Slots implements runner.Runner.
func (f *Fake) Slots(kind runspec.Kind) int { return f.slots[kind] }

// Changed implements runner.Runner.
func (f *Fake) Changed() <-chan struct{} { return f.changed }

// Close kills every job and waits for its script to return.
func (f *Fake) Close() {
	f.mu.Lock()
	for _, j := range f.jobs {
		j.kill()
	}
	f.mu.Unlock()
	f.done.Wait()
}
