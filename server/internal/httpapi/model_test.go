package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// quickWith is a training that is right on so many of the test photos.
func quickWith(t *trainer, accuracy float64) runner.Exit {
	t.post("register", executor, []byte(`{"executor":"`+executor+`","version":1}`))
	right := runspec.Float(accuracy)
	b, err := json.Marshal(runspec.Record{Seq: 1, Time: time.Now(), Type: runspec.TypeResult, Body: runspec.Result{State: "succeeded", TestAccuracy: &right}})
	if err != nil {
		panic(err) // a struct of ours
	}
	t.post("records", executor, append(b, '\n'))
	return t.finish()
}

// model is the number of the run that a name means; 0: none.
func (f *fixture) model(user, name string) int {
	f.t.Helper()
	resp := f.do(user, "GET", "/api/v1/models/"+name, nil)
	if resp.StatusCode == 404 {
		return 0
	}
	var m api.NamedModel
	f.decode(resp, 200, &m)
	return m.Run.Number
}

func TestModelNames(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice", "a", "b")
	if got := f.model("alice", "things@best"); got != 0 {
		t.Errorf("before there is a model: #%d", got)
	}
	accuracies := []float64{0.5, 0.875, 0.75, 0}
	n := 0
	f.script = func(tr *trainer) runner.Exit {
		n++
		return quickWith(tr, accuracies[n-1])
	}
	var runs []api.Run
	for _, want := range []api.State{api.StateSucceeded, api.StateSucceeded, api.StateSucceeded, api.StateFailed} {
		if want == api.StateFailed {
			f.script = func(*trainer) runner.Exit { return runner.Exit{Code: 12} }
		}
		r := f.run("alice", d)
		f.await("alice", r.Id, want)
		runs = append(runs, r)
	}
	name := func(model, run string, want int) api.Error {
		t.Helper()
		var e api.Error
		f.call("alice", "PUT", "/api/v1/models/"+model, api.ModelPin{Run: run}, want, &e)
		return e
	}
	name("things@shop", runs[0].Id, 200)
	for _, c := range []struct {
		model string
		want  int
	}{{"things@best", 2}, {"things@latest", 3}, {"things@shop", 1}, {"things@none", 0}, {"other@best", 0}} {
		if got := f.model("alice", c.model); got != c.want {
			t.Errorf("%s is #%d, want #%d", c.model, got, c.want)
		}
		if got := f.model("bob", c.model); got != 0 {
			t.Errorf("%s is #%d to bob", c.model, got)
		}
	}
	name("things@shop", runs[1].Id, 200)
	if got := f.model("alice", "things@shop"); got != 2 {
		t.Errorf("given again it is #%d", got)
	}
	name("things@shop", runs[3].Id, 409)
	name("things@shop", "nothing", 404)
	for _, wrong := range []string{"things@best", "things@", "@shop", "shop", "things@SHOP"} {
		if e := name(wrong, runs[0].Id, 400); !strings.Contains(e.Message, "label") {
			t.Errorf("%s: %q", wrong, e.Message)
		}
	}
	var list api.ModelList
	f.call("alice", "GET", "/api/v1/models", nil, 200, &list)
	var names []string
	for _, m := range list.Models {
		names = append(names, m.Name)
	}
	if got := strings.Join(names, " "); got != "things@best things@latest things@shop" {
		t.Errorf("listed: %s", got)
	}
	f.decode(f.do("alice", "DELETE", "/api/v1/models/things@shop", nil), 204, nil)
	f.decode(f.do("alice", "DELETE", "/api/v1/models/things@shop", nil), 404, nil)
	name("things@shop", runs[1].Id, 200)
	f.decode(f.do("alice", "DELETE", "/api/v1/runs/"+runs[1].Id, nil), 204, nil)
	if got := f.model("alice", "things@shop"); got != 0 {
		t.Errorf("of a run that was deleted it is #%d", got)
	}
	if got := f.model("alice", "things@best"); got != 3 {
		t.Errorf("the best of those left is #%d", got)
	}
	f.wholesome()
}
