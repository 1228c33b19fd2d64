package httpapi_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// TestPlan: a dataset that is here is planned for by its manifest, whether it was named or described; one that is not, by
// its numbers. Neither is a run.
func TestPlan(t *testing.T) {
	f := newFixture(t)
	here, mine := f.dataset("alice"), "alice"
	m, _ := photos([]string{"a", "b"}, 5)
	described := api.Photos{Digest: manifest.Digest(m.Images), Images: 10, KnownImages: 10, Bytes: 100, Classes: 2}
	elsewhere := described
	elsewhere.Digest, elsewhere.Images, elsewhere.KnownImages = strings.Repeat("0", 64), 12, 7
	recipe := runspec.Default(runspec.Best)
	for _, c := range []struct {
		name  string
		user  string
		order api.PlanCreate
		known bool
	}{
		{"by its id", mine, api.PlanCreate{Dataset: &here.Id, Recipe: &recipe}, true},
		{"by its digest", mine, api.PlanCreate{Photos: &described, Recipe: &recipe}, true},
		{"not here", mine, api.PlanCreate{Photos: &elsewhere, Recipe: &recipe}, false},
		{"here, but somebody else's", "bob", api.PlanCreate{Photos: &described, Recipe: &recipe}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := make(chan runspec.Spec, 1)
			f.script = func(tr *trainer) runner.Exit {
				if tr.spec.Dataset.Manifest != "" {
					if _, err := os.Stat(tr.spec.Dataset.Manifest); err != nil {
						t.Error(err)
					}
				}
				tr.post("register", executor, []byte(`{"executor":"`+executor+`","version":"v1.2.3"}`))
				select {
				case seen <- tr.spec:
				default:
				}
				return tr.finish()
			}
			var task api.Task
			f.call(c.user, "POST", "/api/v1/runs/plan", c.order, 202, &task)
			spec := <-seen
			if spec.Kind != runspec.Planning || task.Kind != api.Plan || spec.Recipe.Preset != runspec.Best {
				t.Errorf("task %+v, spec %+v", task, spec)
			}
			switch {
			case c.known && (spec.Photos != nil || spec.Dataset.Digest != here.Digest || len(spec.Dataset.Classes) != 2):
				t.Errorf("spec: %+v", spec)
			case !c.known && (spec.Photos == nil || spec.Photos.Images != c.order.Photos.Images || spec.Photos.Known != c.order.Photos.KnownImages || spec.Dataset.Manifest != ""):
				t.Errorf("spec: %+v, photos %+v", spec, spec.Photos)
			}
			eventually(t, "the plan ended", func() bool {
				f.call(c.user, "GET", "/api/v1/tasks/"+task.Id, nil, 200, &task)
				return task.State == api.StateSucceeded
			})
			f.call(c.user, "GET", "/api/v1/runs/"+task.Id, nil, 404, nil)
		})
	}
}

// TestPlansAreForgotten: nobody deletes plans, so they go by themselves, but not while somebody may still be reading.
func TestPlansAreForgotten(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice")
	ask := func() string {
		var task api.Task
		f.call("alice", "POST", "/api/v1/runs/plan", api.PlanCreate{Dataset: &d.Id}, 202, &task)
		eventually(t, "the plan ended", func() bool {
			f.call("alice", "GET", "/api/v1/tasks/"+task.Id, nil, 200, &task)
			return task.State == api.StateSucceeded
		})
		return task.Id
	}
	folder := func(id string) string {
		return filepath.Join(f.dir, "volume", filepath.FromSlash(runspec.TaskDir("alice", id)))
	}
	first := ask()
	f.now.advance(30 * time.Minute)
	second := ask()
	f.now.advance(40 * time.Minute)
	ask()
	f.call("alice", "GET", "/api/v1/tasks/"+first, nil, 404, nil)
	if _, err := os.Stat(folder(first)); !os.IsNotExist(err) {
		t.Errorf("the folder of the first plan: %v", err)
	}
	f.call("alice", "GET", "/api/v1/tasks/"+second, nil, 200, nil)
	if _, err := os.Stat(folder(second)); err != nil {
		t.Errorf("the folder of the second plan: %v", err)
	}
}
