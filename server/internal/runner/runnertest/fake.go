package runnertest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Script plays a trainer's part inside the test's process. ctx ends with Kill; interrupted closes with Interrupt.
type Script func(ctx context.Context, job runner.Job, interrupted <-chan struct{}) runner.Exit

// Fake is a runner whose trainers are scripts. It keeps the whole contract except that its jobs end with the process.
type Fake struct {
	script  Script
	slots   map[runspec.Kind]int
	changed chan struct{}

	mu   sync.Mutex
	jobs map[string]*fakeJob
	done sync.WaitGroup
}

type fakeJob struct {
	status      runner.Status
	kill        context.CancelFunc
	killed      bool
	interrupted chan struct{}
	interrupt   sync.Once
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
	ctx, cancel := context.WithCancel(context.Background())
	j := &fakeJob{status: runner.Status{Name: job.Name, Phase: runner.Running}, kill: cancel, interrupted: make(chan struct{})}
	f.jobs[job.Name] = j
	f.done.Go(func() {
		exit := f.script(ctx, job, j.interrupted)
		f.mu.Lock()
		if j.status.Phase == runner.Running {
			exit.Killed = j.killed
			if j.killed {
				exit.Code, exit.Signal = -1, "killed"
			}
			exit.Ended = time.Now()
			j.status.Phase, j.status.Exit = runner.Exited, exit
		}
		f.mu.Unlock()
		cancel()
		f.notify()
	})
	return nil
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

// Interrupt implements runner.Runner.
func (f *Fake) Interrupt(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if j, ok := f.jobs[name]; ok {
		j.interrupt.Do(func() { close(j.interrupted) })
	}
	return nil
}

// Kill implements runner.Runner.
func (f *Fake) Kill(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if j, ok := f.jobs[name]; ok && j.status.Phase == runner.Running {
		j.killed = true
		j.kill()
	}
	return nil
}

// Remove implements runner.Runner.
func (f *Fake) Remove(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if j, ok := f.jobs[name]; ok && j.status.Phase == runner.Running {
		return fmt.Errorf("remove job %s: it is running", name)
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
