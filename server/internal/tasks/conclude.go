package tasks

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

const (
	// maxResult bounds result.json, which a trainer writes and the server reads whole.
	maxResult = 1 << 20
	// logTail is how much of a trainer's log is searched for its last words, and lastWords how much of it is told.
	logTail   = 4 << 10
	lastWords = 300 // cells of a terminal
)

// conclude takes in what an ended attempt left and changes the task accordingly, in one transaction.
func (s *Service) conclude(ctx context.Context, t store.Task, status runner.Status) error {
	if t.Kind == runspec.Features {
		return s.concludeFeatures(ctx, t, status)
	}
	a, err := s.store.Attempt(ctx, t.ID, t.Attempt)
	if err != nil {
		return err
	}
	a, err = s.drain(ctx, t, a)
	if errors.Is(err, errDamaged) {
		s.log.ErrorContext(ctx, "records lost", "task", t.ID, "attempt", t.Attempt, "stored", a.Acked, "error", err)
	} else if err != nil {
		return err
	}
	e := ending{phase: status.Phase, exit: status.Exit, lastWords: s.lastWords(t)}
	var artifacts []runspec.Artifact
	e.result, artifacts, e.resultErr = s.result(t, a)
	if t, err = s.store.ActiveTask(ctx, t.ID); err != nil { // a cancel may have come while the artifacts were read
		return err
	}
	if e.lastWords == "" && e.exit.Cause == "" && e.exit.Detail != "" {
		e.lastWords = lastWordsText(e.exit.Detail)
	}
	v := judge(t, e)
	if v.to == api.StateSucceeded && t.State == api.StateStarting { // it was done before anybody saw it run
		if err := s.markRunning(ctx, t); err != nil {
			return err
		}
		t.State = api.StateRunning
	}
	if v.to != api.StateSucceeded {
		artifacts = nil
	}
	failpoint.Hit("task.concluding")
	err = s.change(ctx, store.Change{Task: t.ID, From: t.State, To: v.to, Reason: v.reason, Outcome: &store.Outcome{
		Attempt: t.Attempt, Executor: a.Executor, Text: describe(status), Crash: v.crash, Interrupted: v.interrupted, Artifacts: artifacts,
	}})
	if err != nil {
		return err
	}
	failpoint.Hit("task.concluded")
	s.forget(t, a)
	if t.Kind == runspec.Predict && Terminal(v.to) {
		s.report(ctx, "remove the images of a prediction", s.volume.Remove(path.Join(runspec.TaskDir(t.Owner, t.ID), inputsFile)))
	}
	s.log.InfoContext(ctx, "attempt ended", "task", t.ID, "attempt", t.Attempt, "how", describe(status), "state", v.to)
	s.Poke() // a slot is free, or the task waits for its next attempt
	return s.runner.Remove(ctx, jobName(t))
}

func describe(st runner.Status) string {
	switch {
	case st.Phase == runner.Lost:
		return "lost"
	case st.Exit.Cause != "":
		return strings.TrimSuffix(fmt.Sprintf("%s: %s", st.Exit.Cause, st.Exit.Detail), ": ")
	case st.Exit.Signal != "":
		return "signal " + st.Exit.Signal
	}
	return fmt.Sprintf("exit code %d", st.Exit.Code)
}

// result reads what the executor says of its end, and checks every artifact it names. Without a valid answer the result
// is nil and the error says why.
func (s *Service) result(t store.Task, a store.Attempt) (*runspec.Result, []runspec.Artifact, error) {
	if a.Executor == "" {
		return nil, nil, errors.New("it never said that it had begun")
	}
	dir, err := s.volume.Path(path.Join(attemptDir(t, a.Attempt), a.Executor))
	if err != nil {
		return nil, nil, err
	}
	out, err := readFinish(filepath.Join(dir, runspec.ResultFile), a.Executor)
	if err != nil {
		return nil, nil, err
	}
	if api.State(out.Result.State) != api.StateSucceeded {
		return &out.Result, nil, nil
	}
	seen := map[string]bool{}
	for _, f := range out.Artifacts {
		if seen[f.Name] {
			return nil, nil, fmt.Errorf("the result lists the artifact %q twice", f.Name)
		}
		seen[f.Name] = true
		if err := verify(filepath.Join(dir, runspec.ArtifactsDir), f); err != nil {
			return nil, nil, err
		}
	}
	return &out.Result, out.Artifacts, nil
}

func readFinish(name, executor string) (runspec.Finish, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return runspec.Finish{}, errors.New("there is no result file")
	}
	if err != nil {
		return runspec.Finish{}, fmt.Errorf("read the result: %w", err)
	}
	defer func() { _ = f.Close() }()
	var out runspec.Finish
	if err := json.NewDecoder(io.LimitReader(f, maxResult)).Decode(&out); err != nil {
		return runspec.Finish{}, fmt.Errorf("the result file is damaged: %w", err)
	}
	if out.Version > runspec.Version || out.Executor != executor {
		return runspec.Finish{}, fmt.Errorf("the result file is of format version %d and executor %q", out.Version, out.Executor)
	}
	if !Terminal(api.State(out.Result.State)) {
		return runspec.Finish{}, fmt.Errorf("the result file has the state %q", out.Result.State)
	}
	return out, nil
}

// verify compares a file with what is said of it. Names come from a trainer: one that is more than a file's name, or is a
// link, is refused.
func verify(dir string, a runspec.Artifact) error {
	if a.Name == "" || strings.HasPrefix(a.Name, ".") || len(a.Name) > 255 || strings.ContainsAny(a.Name, "/\\\x00") {
		return fmt.Errorf("an artifact has the unusable name %q", a.Name)
	}
	name := filepath.Join(dir, a.Name)
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("the artifact %s is not there", a.Name)
	}
	if info.Size() != a.Bytes {
		return fmt.Errorf("the artifact %s has %d bytes instead of %d", a.Name, info.Size(), a.Bytes)
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("read artifact: %w", err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("read artifact: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != a.SHA256 {
		return fmt.Errorf("the artifact %s hashes to %s instead of %s", a.Name, got, a.SHA256)
	}
	return nil
}

// lastWords is the last line of the trainer's log as a sentence to append; empty when there is none.
func (s *Service) lastWords(t store.Task) string {
	name, err := s.volume.Path(path.Join(attemptDir(t, t.Attempt), "trainer.log"))
	if err != nil {
		return ""
	}
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Size() > logTail {
		if _, err := f.Seek(-logTail, io.SeekEnd); err != nil {
			return ""
		}
	}
	last := ""
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if l := strings.TrimSpace(lines.Text()); l != "" {
			last = l
		}
	}
	if last == "" {
		return ""
	}
	return lastWordsText(last)
}

func lastWordsText(text string) string {
	return " Its last words: " + safe.Text(text).Cut(lastWords).String()
}

// ArtifactPath is where a published file of a user's run lies, with what is known of it.
func (s *Service) ArtifactPath(ctx context.Context, user, run, name string) (string, runspec.Artifact, error) {
	rel, a, err := s.artifact(ctx, user, run, name)
	if err != nil {
		return "", runspec.Artifact{}, err
	}
	p, err := s.volume.Path(rel)
	return p, a, err
}

// artifact is the name on the volume of a published file, with what is known of it.
func (s *Service) artifact(ctx context.Context, user, run, name string) (string, runspec.Artifact, error) {
	t, err := s.store.Run(ctx, user, run)
	if err != nil {
		return "", runspec.Artifact{}, err
	}
	all, err := s.store.Artifacts(ctx, user, run)
	if err != nil {
		return "", runspec.Artifact{}, err
	}
	for _, a := range all {
		if a.Name == name {
			return path.Join(attemptDir(t, a.Attempt), a.Executor, runspec.ArtifactsDir, a.Name), a.Artifact, nil
		}
	}
	return "", runspec.Artifact{}, api.Errorf(api.CodeNotFound, "Run #%d has no file %q.", t.Number, name)
}
