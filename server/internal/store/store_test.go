package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func open(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "odd name?#%.db"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// begun is a task of alice with one attempt under way.
func begun(t *testing.T, s *store.Store) store.Task {
	t.Helper()
	d, _, err := s.AddDataset(t.Context(), store.Dataset{ID: "d1", Owner: "alice", Name: "d", Digest: "x", Images: 1, Bytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	task, err := s.AddTask(t.Context(), store.Task{ID: "t1", Owner: "alice", Kind: runspec.Train, Dataset: d.ID, Recipe: runspec.Default(runspec.Quick)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Change(t.Context(), store.Change{Task: task.ID, From: api.StateQueued, To: api.StateStarting, TokenHash: "h"}); err != nil {
		t.Fatal(err)
	}
	return task
}

func lines(t *testing.T, from, to int64) []store.Line {
	t.Helper()
	var out []store.Line
	for seq := from; seq <= to; seq++ {
		r := runspec.Record{Seq: seq, Time: time.Now(), Type: runspec.TypeEpoch, Body: runspec.Epoch{Epoch: int(seq), ValAccuracy: runspec.Float(float64(seq%7) / 10)}}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, store.Line{Record: r, JSON: b})
	}
	return out
}

// TestRecordsFromManySidesAreStoredOnce: the callback and the reader of the spool store overlapping parts at once.
func TestRecordsFromManySidesAreStoredOnce(t *testing.T) {
	s := open(t)
	task := begun(t, s)
	const last = 200
	var all sync.WaitGroup
	for side := range 4 {
		all.Go(func() {
			for at := int64(1); at <= last; {
				acked, _, err := s.AddRecords(t.Context(), task.ID, 1, "e", lines(t, max(1, at-3), min(last, at+int64(5+side))))
				if err != nil {
					t.Error(err)
					return
				}
				at = acked + 1
			}
		})
	}
	all.Wait()
	events, err := s.Events(t.Context(), "alice", task.ID, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != last+2 {
		t.Fatalf("%d events, want %d records and 2 states", len(events), last)
	}
	for i, e := range events {
		var r runspec.Record
		if err := json.Unmarshal(e.JSON, &r); err != nil {
			t.Fatal(err)
		}
		if e.ID != int64(i+1) || i >= 2 && r.Seq != int64(i-1) {
			t.Fatalf("event %d is number %d with record %d", i+1, e.ID, r.Seq)
		}
	}
	got, err := s.Run(t.Context(), "alice", task.ID)
	if err != nil || *got.Epoch != last || *got.ValAccuracy != 0.6 || got.LastEvent != last+2 {
		t.Errorf("the run shows epoch %d, best %g, last event %d (%v)", *got.Epoch, *got.ValAccuracy, got.LastEvent, err)
	}
}

func TestOneExecutorOwnsAnAttempt(t *testing.T) {
	s := open(t)
	task := begun(t, s)
	var all sync.WaitGroup
	won := make(chan string, 10)
	for i := range 10 {
		all.Go(func() {
			name := fmt.Sprintf("e%d", i)
			switch err := s.Register(t.Context(), task.ID, 1, name); {
			case err == nil:
				won <- name
			case !errors.Is(err, store.ErrOtherExecutor):
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(won)
	if len(won) != 1 {
		t.Fatalf("%d executors own the attempt", len(won))
	}
	end := store.Change{Task: task.ID, From: api.StateStarting, To: api.StateRunning, Outcome: &store.Outcome{Attempt: 1, Executor: "another"}}
	if err := s.Change(t.Context(), end); !errors.Is(err, store.ErrConflict) {
		t.Errorf("another's artifacts were published: %v", err)
	}
	if got, err := s.Run(t.Context(), "alice", task.ID); err != nil || got.State != api.StateStarting {
		t.Errorf("a refused change left %s (%v)", got.State, err)
	}
	end.Outcome.Executor = <-won
	if err := s.Change(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.AddRecords(t.Context(), task.ID, 1, end.Outcome.Executor, lines(t, 1, 1)); !errors.Is(err, store.ErrEnded) {
		t.Errorf("a record after the end: %v", err)
	}
}

func TestOnlyOneOfTwoChangesWins(t *testing.T) {
	s := open(t)
	task := begun(t, s)
	var all sync.WaitGroup
	var mu sync.Mutex
	wins := 0
	for _, to := range []api.State{api.StateRunning, api.StateFailed, api.StateCancelled} {
		all.Go(func() {
			err := s.Change(t.Context(), store.Change{Task: task.ID, From: api.StateStarting, To: to})
			if err != nil && !errors.Is(err, store.ErrConflict) {
				t.Error(err)
			}
			if err == nil {
				mu.Lock()
				wins++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if wins != 1 {
		t.Errorf("%d of three changes from one state won", wins)
	}
}

// TestTwoPrincipals asks every method that serves a person for another's rows.
func TestTwoPrincipals(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	task := begun(t, s)
	if err := s.AddPack(ctx, "alice", "p1", 10, []store.Blob{{SHA256: "b1", Start: 0, Length: 10}}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddUpload(ctx, store.Upload{ID: "u1", Owner: "alice", Kind: "pack", Size: 5, Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	const who = "mallory"
	_, dataset := s.Dataset(ctx, who, "d1")
	_, run := s.Run(ctx, who, task.ID)
	_, any := s.Task(ctx, who, task.ID)
	_, upload := s.Upload(ctx, who, "u1")
	_, deleteRun := s.DeleteRun(ctx, who, task.ID)
	_, deleteDataset := s.DeleteDataset(ctx, who, "d1")
	for what, err := range map[string]error{
		"dataset": dataset, "run": run, "task": any, "upload": upload, "delete run": deleteRun, "delete dataset": deleteDataset,
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s of another: %v, want ErrNotFound", what, err)
		}
	}
	for what, err := range map[string]error{
		"stop": s.AskStop(ctx, who, task.ID), "cancel": s.AskCancel(ctx, who, task.ID),
		"advance":        s.AdvanceUpload(ctx, who, "u1", 3, time.Now()),
		"finish":         s.FinishUpload(ctx, who, "u1"),
		"finish dataset": s.FinishDataset(ctx, who, "d1", nil, 1, 1, nil),
	} {
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s of another: %v, want ErrConflict", what, err)
		}
	}
	_, err := s.AddTask(ctx, store.Task{ID: "t2", Owner: who, Kind: runspec.Train, Dataset: "d1", Recipe: runspec.Default(runspec.Quick)})
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a run on another's dataset: %v", err)
	}
	blobs, err1 := s.Blobs(ctx, who, []string{"b1"})
	events, err2 := s.Events(ctx, who, task.ID, 0, 10)
	artifacts, err3 := s.Artifacts(ctx, who, task.ID)
	datasets, err4 := s.Datasets(ctx, who, store.Page{Limit: 10})
	runs, err5 := s.Runs(ctx, who, store.Page{Limit: 10})
	if n := len(blobs) + len(events) + len(artifacts) + len(datasets) + len(runs); n != 0 {
		t.Errorf("%d rows of another", n)
	}
	if err := errors.Join(err1, err2, err3, err4, err5, s.DeleteUpload(ctx, who, "u1")); err != nil {
		t.Error(err)
	}
	if _, err := s.Upload(ctx, "alice", "u1"); err != nil {
		t.Errorf("alice's upload is gone: %v", err)
	}
	if got, err := s.Run(ctx, "alice", task.ID); err != nil || got.Stop || got.Cancel {
		t.Errorf("alice's run was changed: %+v, %v", got, err)
	}
}

func TestPacksSharedByDatasetsStay(t *testing.T) {
	s := open(t)
	ctx := t.Context()
	for _, p := range []string{"p1", "p2"} {
		if err := s.AddPack(ctx, "alice", p, 10, []store.Blob{{SHA256: "of-" + p, Length: 10}}); err != nil {
			t.Fatal(err)
		}
	}
	for id, packs := range map[string][]string{"d1": {"p1", "p2"}, "d2": {"p2"}} {
		if _, _, err := s.AddDataset(ctx, store.Dataset{ID: id, Owner: "alice", Name: id, Digest: id, Images: 1, Bytes: 1}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // again is no error
			if err := s.FinishDataset(ctx, "alice", id, nil, 1, 1, packs); err != nil {
				t.Fatal(err)
			}
		}
	}
	if gone, err := s.DeleteDataset(ctx, "alice", "d1"); err != nil || fmt.Sprint(gone) != "[p1]" {
		t.Errorf("packs gone: %v, %v; want p1", gone, err)
	}
	if left, err := s.Blobs(ctx, "alice", []string{"of-p1", "of-p2"}); err != nil || len(left) != 1 || left["of-p2"].Pack != "p2" {
		t.Errorf("images left: %v, %v", left, err)
	}
	if err := s.FinishDataset(ctx, "alice", "d2", nil, 1, 1, []string{"p1"}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a dataset on a deleted pack: %v", err)
	}
}
