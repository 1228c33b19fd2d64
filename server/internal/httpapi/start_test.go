package httpapi_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// TestStartFrom: a run goes on from one of the user's own that succeeded, by its number or its id; its trainer is told the
// folder of the executor that made it, and a prediction with it needs that no more.
func TestStartFrom(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice")
	seen := make(chan runspec.Spec, 4)
	f.script = func(tr *trainer) runner.Exit {
		tr.post("register", executor, []byte(`{"executor":"`+executor+`","version":"v1.2.3"}`))
		seen <- tr.spec
		return tr.finish()
	}
	first := f.run("alice", d)
	f.await("alice", first.Id, api.StateSucceeded)
	if spec := <-seen; spec.Paths.Start != "" {
		t.Errorf("a run from nothing starts from %q", spec.Paths.Start)
	}
	folder := filepath.Join(f.dir, "volume", filepath.FromSlash(runspec.TaskDir("alice", first.Id)), "attempts", "1", executor)
	order := func(from string) api.RunCreate {
		r := runspec.Default(runspec.Quick)
		r.StartFrom = from
		return api.RunCreate{Dataset: d.Id, Recipe: &r}
	}
	var second api.Run
	for _, name := range []string{first.Id, "1", "#1"} {
		f.call("alice", "POST", "/api/v1/runs", order(name), 201, &second)
		f.await("alice", second.Id, api.StateSucceeded)
		if spec := <-seen; spec.Paths.Start != folder || spec.Recipe.StartFrom != first.Id || second.Recipe.StartFrom != first.Id {
			t.Errorf("from %q: the run has %q, the spec %q at %q", name, second.Recipe.StartFrom, spec.Recipe.StartFrom, spec.Paths.Start)
		}
	}
	var plan api.Task
	f.call("alice", "POST", "/api/v1/runs/plan", api.PlanCreate{Dataset: &d.Id, Recipe: order("1").Recipe}, 202, &plan)
	if spec := <-seen; spec.Paths.Start != folder || spec.Kind != runspec.Planning {
		t.Errorf("the plan's spec: %+v", spec)
	}

	f.call("alice", "DELETE", "/api/v1/runs/"+first.Id, nil, 204, nil)
	m, blobs := photos([]string{"z"}, 3)
	f.decode(f.do("alice", "POST", "/api/v1/runs/"+second.Id+"/predict", bytes.NewReader(packOf(t, m, blobs))), 202, nil)
	if spec := <-seen; spec.Kind != runspec.Predict || spec.Paths.Start != "" {
		t.Errorf("the prediction's spec: %+v", spec)
	}
	f.call("alice", "POST", "/api/v1/runs/"+second.Id+"/retry", nil, 201, &second)
	if r := f.await("alice", second.Id, api.StateFailed); r.Reason == nil || !strings.Contains(*r.Reason, "was deleted") {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the folder of the deleted run: %v", err)
	}
}

// TestStartFromRefusals: what cannot be gone on from is said before anything is queued.
func TestStartFromRefusals(t *testing.T) {
	f := newFixture(t)
	d, bobs := f.dataset("alice"), f.dataset("bob")
	theirs := f.run("bob", bobs)
	f.await("bob", theirs.Id, api.StateSucceeded)
	f.script = func(*trainer) runner.Exit { return runner.Exit{Code: runspec.ExitNoImages} }
	failed := f.run("alice", d)
	f.await("alice", failed.Id, api.StateFailed)
	for name, c := range map[string]struct {
		from, message string
		status        int
	}{
		"none":                  {"nothing", "names no run", 400},
		"no such number":        {"#99", "names no run", 400},
		"somebody's":            {theirs.Id, "names no run", 400},
		"failed":                {failed.Id, "only a run that succeeded", 409},
		"failed, by its number": {"1", "only a run that succeeded", 409},
	} {
		for _, path := range []string{"/api/v1/runs", "/api/v1/runs/plan"} {
			var e api.Error
			r := runspec.Default(runspec.Quick)
			r.StartFrom = c.from
			f.call("alice", "POST", path, api.RunCreate{Dataset: d.Id, Recipe: &r}, c.status, &e)
			if !strings.Contains(e.Message, c.message) {
				t.Errorf("%s, %s: %+v", name, path, e)
			}
		}
	}
}
