// Package attempt runs one attempt of a task as its spec says: it keeps the journal, hears commands and signals, calls
// the packages that do the work in order, and leaves a result. How the work is done is theirs.
package attempt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/durable"
	"github.com/cultivar-ml/cultivar/trainer/internal/journal"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// Failure is an end that people can do something about, with the exit code that says so to the server.
type Failure struct {
	Code int
	Text string // a sentence: what happened, why, what to do
}

func (f *Failure) Error() string { return f.Text }

func fail(code int, format string, values ...any) *Failure {
	return &Failure{Code: code, Text: fmt.Sprintf(format, values...)}
}

// Why an attempt ended before its work was done.
var (
	ErrInterrupted = errors.New("told to leave; another attempt can go on from here")
	ErrCancelled   = errors.New("cancelled")
)

const (
	drain         = 10 * time.Second // for the last records to reach the server
	watchInterval = 5 * time.Second
	stopPoll      = time.Second
)

// Attempt is a running attempt.
type Attempt struct {
	spec     runspec.Spec
	version  string // of this program
	executor string
	dir      string // of this executor
	journal  *journal.Journal
	started  time.Time
	stopped  atomic.Bool
	stopping chan struct{} // closed when told to stop
	once     sync.Once

	artifacts []runspec.Artifact
	result    runspec.Result
	ledger    ledger
}

// Options of Run.
type Options struct {
	Version string          // of this program
	Stop    <-chan struct{} // closed or sent to: finish now with the best so far; nil: never
	Part    int             // of a features task in several parts: which one, from 0
}

// Run does the task of a spec and returns its result, with the error that ended it when it did not succeed. The cause
// of ctx says why it ends: ErrInterrupted leaves a checkpoint and no result.
func Run(ctx context.Context, spec runspec.Spec, o Options) (runspec.Result, error) {
	a := &Attempt{spec: spec, version: o.Version, started: time.Now(), stopping: make(chan struct{})}
	if err := a.open(); err != nil {
		return runspec.Result{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	posting, endPosting := context.WithCancel(context.WithoutCancel(ctx))
	defer endPosting()
	poster := &journal.Poster{Journal: a.journal, Spool: a.path(runspec.RecordsFile), Callback: spec.Callback,
		Executor: a.executor, Version: o.Version, Command: func(command string) { a.command(command, cancel) }}
	finish, posted := make(chan struct{}), make(chan error, 1)
	go func() {
		err := poster.Run(posting, finish)
		if errors.Is(err, journal.ErrNotOwner) {
			cancel(err)
		}
		posted <- err
	}()
	var background sync.WaitGroup
	watching, endWatching := context.WithCancel(ctx)
	background.Go(func() { a.journal.Watch(watching, watchInterval) })
	background.Go(func() { a.awaitStop(watching, o.Stop) })

	err := a.work(ctx, o)
	endWatching()
	background.Wait()
	err = a.end(ctx, err)
	if closed := a.journal.Close(); err == nil {
		err = closed
	}
	close(finish)
	limit := time.AfterFunc(drain, endPosting)
	defer limit.Stop()
	// Whatever is not posted by now is on the spool.
	if post := <-posted; errors.Is(post, journal.ErrNotOwner) {
		err = post
	}
	return a.result, err
}

// open makes the executor's folder and its journal.
func (a *Attempt) open() error {
	executor, err := journal.Executor()
	if err != nil {
		return fail(runspec.ExitBadSpec, "%v", err)
	}
	a.executor, a.dir = executor, filepath.Join(a.spec.Paths.Attempt, executor)
	if err := os.MkdirAll(a.path(runspec.ArtifactsDir), 0o755); err != nil {
		return fmt.Errorf("make the attempt's folder: %w", err)
	}
	a.journal, err = journal.Open(a.path(runspec.RecordsFile), time.Now)
	return err
}

func (a *Attempt) path(name string) string { return filepath.Join(a.dir, name) }

func (a *Attempt) work(ctx context.Context, o Options) error {
	switch a.spec.Kind {
	case runspec.Train:
		return a.train(ctx)
	case runspec.Features:
		return a.extract(ctx, o.Part)
	case runspec.Evaluate:
		return a.evaluateModel(ctx)
	case runspec.Predict:
		return a.predict(ctx)
	case runspec.Planning:
		return a.plan(ctx)
	}
	return fail(runspec.ExitBadSpec, "the spec asks for %q, which this trainer does not know; install server and trainer of the same release", a.spec.Kind)
}

// command follows a server's command.
func (a *Attempt) command(command string, cancel context.CancelCauseFunc) {
	switch command {
	case journal.Stop:
		a.stop()
	case journal.Cancel:
		cancel(ErrCancelled)
	}
}

func (a *Attempt) stop() {
	a.once.Do(func() {
		a.stopped.Store(true)
		close(a.stopping)
	})
}

// awaitStop watches for the two ways of saying stop without a server: a signal and the flag file.
func (a *Attempt) awaitStop(ctx context.Context, signal <-chan struct{}) {
	tick := time.NewTicker(stopPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-signal:
			a.stop()
			return
		case <-tick.C:
			if a.spec.Paths.Stop == "" {
				continue
			}
			if _, err := os.Stat(a.spec.Paths.Stop); err == nil {
				a.stop()
				return
			}
		}
	}
}

// end writes the result of work that ended with err, unless another attempt is to go on from here.
func (a *Attempt) end(ctx context.Context, err error) error {
	// What failed because ctx ended shows the cause, however deep it was wrapped.
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = a.journal.Err()
	}
	err = outOfSpace(err)
	a.result.Seconds = runspec.Float(time.Since(a.started).Seconds())
	a.result.PeakMemoryBytes = journal.PeakMemory()
	if a.spec.Kind == runspec.Train {
		a.result.Spent = a.spent()
	}
	var failure *Failure
	switch {
	case err == nil:
		a.result.State = "succeeded"
	case errors.Is(err, ErrInterrupted), errors.Is(err, journal.ErrNotOwner):
		return err
	case errors.Is(err, ErrCancelled):
		a.result.State, a.result.Reason = "cancelled", "Cancelled."
	case errors.As(err, &failure):
		a.result.State, a.result.Reason = "failed", failure.Text
		a.journal.Log("error", failure.Text)
	default: // may be tried again: no result
		a.journal.Log("error", err.Error())
		return err
	}
	if written := a.writeResult(); written != nil {
		return errors.Join(err, written)
	}
	a.journal.Add(runspec.TypeResult, a.result)
	return err
}

func (a *Attempt) writeResult() error {
	finish := runspec.Finish{Version: runspec.Version, Executor: a.executor, Result: a.result, Artifacts: a.artifacts}
	if finish.Artifacts == nil {
		finish.Artifacts = []runspec.Artifact{}
	}
	content, err := json.MarshalIndent(finish, "", "  ")
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if err := durable.WriteBytes(a.path(runspec.ResultFile), append(content, '\n')); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// ExitCode is the process' exit code for the error of Run.
func ExitCode(err error) int {
	var failure *Failure
	switch {
	case err == nil:
		return runspec.ExitOK
	case errors.As(err, &failure):
		return failure.Code
	case errors.Is(err, ErrInterrupted):
		return runspec.ExitInterrupted
	case errors.Is(err, ErrCancelled):
		return runspec.ExitCancelled
	}
	return runspec.ExitError
}

// phase announces a phase and returns its progress reporter, which passes on at most 4 calls a second and the last.
func (a *Attempt) phase(name string, total int) func(done, total int) {
	tf.Release() // what the phase before needed
	a.begin(name, total)
	const apart = 250 * time.Millisecond
	start, at, last := time.Now(), -1, time.Time{}
	return func(done, total int) {
		now := time.Now()
		if at < 0 {
			at, start = done, now // what was there before tells nothing about the rate
		}
		if done < total && now.Sub(last) < apart {
			return
		}
		last = now
		p := runspec.Progress{Phase: name, Done: done, Total: total}
		if elapsed := now.Sub(start).Seconds(); elapsed > 0 && done > at {
			p.Rate = runspec.Float(float64(done-at) / elapsed)
			p.ETASeconds = runspec.Float(float64(total-done) / float64(p.Rate))
		}
		a.journal.Add(runspec.TypeProgress, p)
	}
}
