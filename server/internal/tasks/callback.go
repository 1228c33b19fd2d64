package tasks

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Commands of the answer to a batch of records.
const (
	commandContinue = "continue"
	commandStop     = "stop"   // finish now with the best so far
	commandCancel   = "cancel" // give up
)

// Caller is an executor that calls back.
type Caller struct {
	Task     string
	Attempt  int
	Token    string
	Executor string
	Version  int // of its format; 0: not said
}

// Ack is the answer to a batch of records.
type Ack struct {
	Ack     int64  `json:"ack"` // highest seq stored, with all below it
	Command string `json:"command"`
}

func (s *Service) admit(ctx context.Context, c Caller) error {
	a, err := s.store.Attempt(ctx, c.Task, c.Attempt)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	ok := false
	if err == nil {
		if ok, err = s.credentials.Check(ctx, c, a); err != nil {
			return err
		}
	}
	// An unknown attempt answers as a wrong credential does: whoever has neither learns nothing.
	if !ok {
		return api.Errorf(api.CodeUnauthorized, "This is not the credential of attempt %d of task %q.", c.Attempt, c.Task)
	}
	if !executorForm.MatchString(c.Executor) {
		return api.Errorf(api.CodeInvalid, "The executor's name %q is not usable: 1 to 128 letters, digits, dots, dashes and underscores.", c.Executor)
	}
	if c.Version > runspec.Version {
		return api.Errorf(api.CodeInvalid, "The trainer speaks format version %d, this server up to %d: install server and trainer of the same release.", c.Version, runspec.Version)
	}
	return nil
}

// Register makes the caller the attempt's one executor. It answers conflict when another one is, or the attempt is over.
func (s *Service) Register(ctx context.Context, c Caller) error {
	if err := s.admit(ctx, c); err != nil {
		return err
	}
	if err := s.store.Register(ctx, c.Task, c.Attempt, c.Executor); err != nil {
		return refused(err)
	}
	return s.seen(ctx, c.Task)
}

// silent tells whether a task's executor has not called for a while; after a restart everyone is silent at first.
func (s *Service) silent(task string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Sub(s.heard[task]) >= silence
}

// seen notes that a task's executor showed itself, and moves the task from starting to running.
func (s *Service) seen(ctx context.Context, task string) error {
	s.mu.Lock()
	s.heard[task] = s.now()
	s.mu.Unlock()
	t, err := s.store.ActiveTask(ctx, task)
	if err != nil || t.State != api.StateStarting {
		return err
	}
	return s.markRunning(ctx, t)
}

// Records stores a batch of newline-separated records, each once, and tells how far the sequence goes and what to do.
func (s *Service) Records(ctx context.Context, c Caller, body io.Reader) (Ack, error) {
	if err := s.admit(ctx, c); err != nil {
		return Ack{}, err
	}
	lines, err := parseBatch(body)
	if err != nil {
		return Ack{}, err
	}
	acked, added, err := s.store.AddRecords(ctx, c.Task, c.Attempt, c.Executor, lines)
	if err != nil {
		return Ack{}, refused(err)
	}
	if added > 0 {
		s.broker.wake(c.Task)
	}
	failpoint.Hit("task.records")
	if err := s.seen(ctx, c.Task); err != nil {
		return Ack{}, err
	}
	t, err := s.store.ActiveTask(ctx, c.Task)
	if err != nil {
		return Ack{}, err
	}
	switch {
	case t.Cancel:
		return Ack{acked, commandCancel}, nil
	case t.Stop:
		return Ack{acked, commandStop}, nil
	}
	return Ack{acked, commandContinue}, nil
}

func refused(err error) error {
	if errors.Is(err, store.ErrOtherExecutor) || errors.Is(err, store.ErrEnded) {
		return api.Errorf(api.CodeConflict, "This executor may not write for the attempt: %v.", err)
	}
	return err
}

func parseBatch(body io.Reader) ([]store.Line, error) {
	var lines []store.Line
	sc := bufio.NewScanner(body)
	sc.Buffer(make([]byte, 0, 16<<10), runspec.MaxRecordBytes+2)
	for sc.Scan() {
		if len(sc.Bytes()) == 0 {
			continue
		}
		l, err := parseLine(sc.Bytes())
		if err != nil {
			return nil, api.Errorf(api.CodeInvalid, "Line %d of the batch cannot be stored: %v.", len(lines)+1, err)
		}
		if lines = append(lines, l); len(lines) > runspec.MaxBatchRecords {
			return nil, api.Errorf(api.CodeTooLarge, "A batch has at most %d records.", runspec.MaxBatchRecords)
		}
	}
	if errors.Is(sc.Err(), bufio.ErrTooLong) {
		return nil, api.Errorf(api.CodeTooLarge, "A record has at most %d bytes.", runspec.MaxRecordBytes)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read the batch: %w", err)
	}
	return lines, nil
}
