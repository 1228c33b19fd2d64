package tasks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

// silence is how long an executor may not call before its spool is read instead.
const silence = 2 * time.Second

// sweepEvery is how many ticks pass between two looks for what is left over: jobs that no task knows, features past the limit.
const sweepEvery = 60

// Run supervises every task until ctx ends: at each event, and once a tick whether there was one or not, because events
// get lost and the database does not. Attempts go on after it returns; the next Run adopts them.
func (s *Service) Run(ctx context.Context) {
	s.sweepFolders(ctx)
	ticker := time.NewTicker(s.tick)
	defer ticker.Stop()
	for ticks := 0; ; {
		if ticks%sweepEvery == 0 {
			s.report(ctx, "look for forgotten jobs", s.sweepJobs(ctx))
			s.report(ctx, "make room on the disk", s.evictAll(ctx))
			ticks++
		}
		s.report(ctx, "supervise tasks", s.Reconcile(ctx))
		select {
		case <-ctx.Done():
			return
		case <-s.poke:
		case <-s.runner.Changed():
		case <-ticker.C:
			ticks++
		}
	}
}

func (s *Service) report(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, what, "error", err)
	}
}

// Reconcile brings every active task one step further. It is safe to repeat at any time.
func (s *Service) Reconcile(ctx context.Context) error {
	active, err := s.store.Active(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range active {
		if t.State == api.StateQueued {
			continue
		}
		if err := s.step(ctx, t); err != nil && !errors.Is(err, store.ErrConflict) {
			errs = append(errs, fmt.Errorf("task %s: %w", t.ID, err))
		}
	}
	for _, kind := range []runspec.Kind{runspec.Features, runspec.Train, runspec.Evaluate, runspec.Predict, runspec.Planning} {
		waiting := func(t store.Task) bool {
			return t.Kind == kind && (t.State == api.StateQueued || t.State == api.StateInterrupted)
		}
		if slices.ContainsFunc(active, waiting) { // what joins the queue now pokes, and is seen at the next look
			errs = append(errs, s.schedule(ctx, kind))
		}
	}
	return errors.Join(errs...)
}

// schedule starts queued tasks of a kind while there are slots.
func (s *Service) schedule(ctx context.Context, kind runspec.Kind) error {
	for {
		active, err := s.store.Active(ctx)
		if err != nil {
			return err
		}
		starts, err := s.store.LastStarts(ctx)
		if err != nil {
			return err
		}
		queue := fair(active, kind, starts)
		slots := s.runner.Slots(kind)
		if len(queue) == 0 || slots > 0 && taken(active, kind) >= slots {
			return nil
		}
		t, ready, err := s.first(ctx, queue, active)
		if err != nil || !ready {
			return err
		}
		if t.Cancel {
			err = s.change(ctx, store.Change{Task: t.ID, From: t.State, To: api.StateCancelled, Reason: cancelled})
		} else {
			s.report(ctx, "make room on the disk", s.evict(t.Owner, active))
			err = s.begin(ctx, t)
		}
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("task %s: %w", t.ID, err)
		}
	}
}

// first is the first task of a queue that may begin. Those before it wait for something of their own, and hold up nobody.
func (s *Service) first(ctx context.Context, queue, active []store.Task) (t store.Task, ready bool, err error) {
	for _, t := range queue {
		if t.Kind == runspec.Features {
			run, err := s.store.ActiveTask(ctx, t.ModelOf)
			t.Cancel = err == nil && Terminal(run.State)
			return t, true, err
		}
		if t.Kind != runspec.Train {
			return t, true, nil
		}
		if ready, err := s.divide(ctx, t, active); ready || err != nil {
			return t, ready, err
		}
	}
	return store.Task{}, false, nil
}

// begin gives a queued task a slot: first the row, then the process.
func (s *Service) begin(ctx context.Context, t store.Task) error {
	token := auth.NewToken()
	err := s.change(ctx, store.Change{Task: t.ID, From: api.StateQueued, To: api.StateStarting, TokenHash: auth.Hash(token)})
	if err != nil {
		return err
	}
	failpoint.Hit("task.begun")
	if t, err = s.store.ActiveTask(ctx, t.ID); err != nil {
		return err
	}
	return s.launch(ctx, t)
}

func jobName(t store.Task) string { return "cv-" + t.ID + "-" + strconv.Itoa(t.Attempt) }

func attemptDir(t store.Task, attempt int) string {
	return path.Join(runspec.TaskDir(t.Owner, t.ID), "attempts", strconv.Itoa(attempt))
}

// step looks at one task that is not queued and does what is next.
func (s *Service) step(ctx context.Context, t store.Task) error {
	if t.State == api.StateInterrupted {
		return s.requeue(ctx, t)
	}
	status, err := s.runner.Status(ctx, jobName(t))
	unknown := errors.Is(err, runner.ErrUnknown)
	if err != nil && !unknown {
		return err
	}
	if t.Kind == runspec.Features {
		if t, err = s.followRun(ctx, t, status); err != nil {
			return err
		}
	}
	switch {
	case (unknown || status.Phase == runner.Pending) && t.Cancel && t.State == api.StateStarting:
		return s.change(ctx, store.Change{
			Task: t.ID, From: t.State, To: api.StateCancelled, Reason: cancelled,
			Outcome: &store.Outcome{Attempt: t.Attempt, Text: "cancelled before it began"},
		})
	case (unknown || status.Phase == runner.Pending) && t.State == api.StateStarting:
		return s.launch(ctx, t)
	case unknown || status.Phase == runner.Pending:
		return s.conclude(ctx, t, runner.Status{Phase: runner.Lost})
	case status.Phase == runner.Waiting:
		return s.await(ctx, t, status)
	case status.Phase == runner.Running:
		return s.attend(ctx, t)
	}
	return s.conclude(ctx, t, status)
}

// requeue lets an interrupted task wait for its next attempt: at once the first time, then longer and longer, so that what
// is broken for a while (a full disk) is not tried to death.
func (s *Service) requeue(ctx context.Context, t store.Task) error {
	if t.Cancel {
		return s.change(ctx, store.Change{Task: t.ID, From: t.State, To: api.StateCancelled, Reason: cancelled})
	}
	a, err := s.store.Attempt(ctx, t.ID, t.Attempt)
	if err != nil {
		return err
	}
	if a.Ended != nil {
		rested := s.now().Sub(*a.Ended) // below 0 when the clock was set back: then nobody knows, and it goes on
		if rested >= 0 && rested < pause(t.Crashes+t.Interruptions) {
			return nil
		}
	}
	return s.change(ctx, store.Change{Task: t.ID, From: t.State, To: api.StateQueued, Reason: t.Reason})
}

// pause is how long a task rests after its nth interruption.
func pause(n int) time.Duration {
	if n <= 1 {
		return 0
	}
	return min(time.Second<<min(n-2, 6), time.Minute)
}

// await looks after an attempt that was accepted but does not execute yet.
func (s *Service) await(ctx context.Context, t store.Task, status runner.Status) error {
	why := safe.Text(status.Why).Cut(lastWords).String()
	switch {
	case t.Cancel:
		return s.runner.Kill(ctx, jobName(t))
	case status.Stuck:
		err := s.change(ctx, store.Change{
			Task: t.ID, From: t.State, To: api.StateFailed,
			Reason:  fmt.Sprintf("No machine began the training in time: %s. Whoever runs the server can see why with: cultivar-server doctor", why),
			Outcome: &store.Outcome{Attempt: t.Attempt, Text: "stuck: " + status.Why},
		})
		if err != nil {
			return err
		}
		return s.runner.Kill(ctx, jobName(t)) // cut off here, the next sweep does it
	case why == "" || t.State != api.StateStarting:
		return nil
	}
	reason := waitingFor(status.Why)
	if reason == t.Reason {
		return nil
	}
	if err := s.store.Say(ctx, t.ID, t.State, reason); err != nil {
		return err
	}
	s.broker.wake(t.ID)
	return nil
}

// waitingFor is the reason of what waits, in a sentence.
func waitingFor(why string) string {
	return "Waiting for a machine: " + safe.Text(why).Cut(lastWords).String()
}

// attend looks after an attempt that is under way.
func (s *Service) attend(ctx context.Context, t store.Task) error {
	if t.Cancel {
		return s.runner.Kill(ctx, jobName(t))
	}
	if t.State == api.StateStarting {
		if err := s.markRunning(ctx, t); err != nil {
			return err
		}
		t.State = api.StateRunning
	}
	if t.Stop && t.State == api.StateRunning {
		if err := s.raiseStop(t); err != nil {
			return err
		}
		err := s.change(ctx, store.Change{Task: t.ID, From: t.State, To: api.StateStopping, Reason: "Finishing with the best so far."})
		if err != nil {
			return err
		}
	}
	a, err := s.store.Attempt(ctx, t.ID, t.Attempt)
	if err != nil || !s.silent(t.ID) {
		return err
	}
	if _, err = s.drain(ctx, t, a); errors.Is(err, errDamaged) {
		return nil // told once, at the attempt's end
	}
	return err
}

func (s *Service) markRunning(ctx context.Context, t store.Task) error {
	err := s.change(ctx, store.Change{Task: t.ID, From: api.StateStarting, To: api.StateRunning})
	if errors.Is(err, store.ErrConflict) {
		return nil // the executor registered at the same moment
	}
	failpoint.Hit("task.running")
	return err
}

// sweepJobs ends and removes jobs that no active task calls its current attempt. The list of jobs is taken first: a job
// that is on it and on no task's mind was never started by this process.
func (s *Service) sweepJobs(ctx context.Context) error {
	names, err := s.runner.List(ctx)
	if err != nil {
		return err
	}
	active, err := s.store.Active(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, t := range active {
		if executing(t.State) {
			known[jobName(t)] = true
		}
	}
	var errs []error
	for _, name := range names {
		if known[name] {
			continue
		}
		status, err := s.runner.Status(ctx, name)
		if err == nil && (status.Phase == runner.Running || status.Phase == runner.Waiting) {
			errs = append(errs, s.runner.Kill(ctx, name)) // removed at the next sweep
			continue
		}
		errs = append(errs, s.runner.Remove(ctx, name))
	}
	return errors.Join(errs...)
}

// sweepFolders removes task folders without a row: what a crash left between files and rows.
func (s *Service) sweepFolders(ctx context.Context) {
	users, err := s.users()
	s.report(ctx, "look for forgotten folders", err)
	for _, user := range users {
		dir := path.Join(runspec.UserDir(user), "tasks")
		abs, err := s.volume.Path(dir)
		if err != nil {
			continue
		}
		tasks, err := os.ReadDir(abs)
		if err != nil {
			continue
		}
		for _, t := range tasks {
			has, err := s.store.HasTask(ctx, user, t.Name())
			if err == nil && !has && !strings.HasPrefix(t.Name(), ".") {
				s.report(ctx, "remove a forgotten folder", s.volume.Remove(path.Join(dir, t.Name())))
			}
		}
	}
}
