package httpapi_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// learner is an order for a run that learns from another.
func learner(d api.Dataset, teacher string) api.RunCreate {
	r := runspec.Default(runspec.Quick)
	r.Teacher = teacher
	return api.RunCreate{Dataset: d.Id, Recipe: &r}
}

// A run that learns from another is told where that one's model is, and what it was before the validation photos.
func TestTeacher(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice")
	teacher := f.run("alice", d)
	f.await("alice", teacher.Id, api.StateSucceeded)
	started := make(chan *trainer, 2)
	f.script = func(tr *trainer) runner.Exit {
		started <- tr
		return quick(tr)
	}
	for name, word := range map[string]string{"by id": teacher.Id, "by number": strconv.Itoa(teacher.Number), "by #": "#" + strconv.Itoa(teacher.Number)} {
		t.Run(name, func(t *testing.T) {
			var r api.Run
			f.call("alice", "POST", "/api/v1/runs", learner(d, word), 201, &r)
			if r.Recipe.Teacher != teacher.Id {
				t.Errorf("the recipe names %q", r.Recipe.Teacher)
			}
			tr := <-started
			spec := tr.spec.Teacher
			if spec == nil || spec.Run != teacher.Id || spec.Digest != d.Digest || spec.Recipe.Seed != 1 {
				t.Fatalf("teacher %+v", spec)
			}
			if _, err := os.Stat(spec.Model); err != nil || filepath.Base(spec.Model) != "model.h5" {
				t.Errorf("model %s: %v", spec.Model, err)
			}
			seen := slices.ContainsFunc(tr.mounts, func(m runner.Mount) bool {
				return !m.Write && strings.Contains(spec.Model, "/"+m.Name+"/")
			})
			if !seen {
				t.Errorf("the model is in none of %+v that may only be read", tr.mounts)
			}
			f.await("alice", r.Id, api.StateSucceeded)
			if spec.Unrefit != "" {
				t.Errorf("there is %s", spec.Unrefit)
			}
			// From now on, as trainers leave it.
			if err := os.WriteFile(filepath.Join(filepath.Dir(filepath.Dir(spec.Model)), runspec.UnrefitFile), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			f.call("alice", "POST", "/api/v1/runs", learner(d, word), 201, &r)
			tr = <-started
			if spec = tr.spec.Teacher; spec.Unrefit == "" {
				t.Error("what it was before is not named")
			} else if err := os.Remove(spec.Unrefit); err != nil {
				t.Error(err)
			}
			f.await("alice", r.Id, api.StateSucceeded)
		})
	}
}

// A plan for photos that are here is made with the teacher at hand, and refuses one that the run would refuse.
func TestPlanWithTeacher(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice")
	teacher := f.run("alice", d)
	f.await("alice", teacher.Id, api.StateSucceeded)
	specs := make(chan runspec.Spec, 1)
	f.script = func(tr *trainer) runner.Exit {
		specs <- tr.spec
		return quick(tr)
	}
	f.call("alice", "POST", "/api/v1/runs/plan", api.PlanCreate{Dataset: &d.Id, Recipe: learner(d, "1").Recipe}, 202, nil)
	var spec runspec.Spec
	eventually(t, "the plan to begin", func() bool {
		select {
		case spec = <-specs:
			return true
		default:
			return false
		}
	})
	if spec.Kind != runspec.Planning || spec.Teacher == nil || spec.Teacher.Run != teacher.Id || spec.Recipe.Teacher != teacher.Id {
		t.Errorf("the plan's spec: %+v", spec)
	}
	f.call("alice", "POST", "/api/v1/runs/plan", api.PlanCreate{Dataset: &d.Id, Recipe: learner(d, "7").Recipe}, 400, nil)
}

func TestTeacherIsRefused(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice")
	teacher := f.run("alice", d)
	f.await("alice", teacher.Id, api.StateSucceeded)
	wide := f.run("alice", f.dataset("alice", "a", "b", "z"))
	f.await("alice", wide.Id, api.StateSucceeded)
	f.script = func(tr *trainer) runner.Exit { // makes no file that can be read
		tr.post("register", executor, []byte(`{"executor":"`+executor+`","version":1}`))
		b, err := json.Marshal(runspec.Finish{Version: runspec.Version, Executor: executor, Result: runspec.Result{State: "succeeded"}})
		if errors.Join(err, os.WriteFile(filepath.Join(tr.dir, runspec.ResultFile), b, 0o600)) != nil {
			return runner.Exit{Code: 1}
		}
		return runner.Exit{}
	}
	empty := f.run("alice", d)
	f.await("alice", empty.Id, api.StateSucceeded)
	release := make(chan struct{})
	defer close(release)
	f.script = func(*trainer) runner.Exit {
		<-release
		return runner.Exit{}
	}
	running := f.run("alice", d)
	f.awaitBegun("alice", running.Id)
	others := f.dataset("alice", "a", "c")
	more := f.dataset("alice", "a", "b", "c")
	bob := f.dataset("bob")
	var e api.Error
	f.call("alice", "POST", "/api/v1/runs", learner(d, empty.Id), 409, &e)
	if !strings.Contains(e.Message, "made no h5 or keras file") {
		t.Error(e.Message)
	}
	for _, c := range []struct {
		name, user, teacher string
		d                   api.Dataset
		want                string
	}{
		{"another's", "bob", teacher.Id, bob, "There is no run"},
		{"another's number", "bob", "1", bob, "There is no run \"1\""},
		{"none", "alice", "99\x1b[2J", d, "There is no run"},
		{"not ended", "alice", running.Id, d, "only a run that succeeded"},
		{"other classes", "alice", teacher.Id, others, "does not know the class c"},
		{"a class without photos", "alice", wide.Id, d, "it has the class z"},
		{"fewer classes", "alice", teacher.Id, more, "does not know the class c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e api.Error
			f.call(c.user, "POST", "/api/v1/runs", learner(c.d, c.teacher), 400, &e)
			if !strings.Contains(e.Message, c.want) || e.Fields == nil || (*e.Fields)["recipe.distill_teacher"] == "" || strings.Contains(e.Message, "\x1b") {
				t.Errorf("%q, %v", e.Message, e.Fields)
			}
		})
	}
}

// A teacher that goes away while its student waits ends the student with a sentence.
func TestTeacherIsGone(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice")
	teacher := f.run("alice", d)
	f.await("alice", teacher.Id, api.StateSucceeded)
	release := make(chan struct{})
	f.script = func(tr *trainer) runner.Exit {
		<-release
		return quick(tr)
	}
	before := f.run("alice", d) // takes the only place
	f.awaitBegun("alice", before.Id)
	var r api.Run
	f.call("alice", "POST", "/api/v1/runs", learner(d, teacher.Id), 201, &r)
	f.call("alice", "DELETE", "/api/v1/runs/"+teacher.Id, nil, 204, nil)
	close(release)
	if r = f.await("alice", r.Id, api.StateFailed); r.Reason == nil || !strings.Contains(*r.Reason, "has been deleted") {
		t.Errorf("reason %v", r.Reason)
	}
}
