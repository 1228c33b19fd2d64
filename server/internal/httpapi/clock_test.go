package httpapi_test

import (
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// TestClockSetBack: a run that ended at a time which has not come yet is tried again all the same.
func TestClockSetBack(t *testing.T) {
	f := newFixture(t)
	const day = 24 * time.Hour
	f.script = func(tr *trainer) runner.Exit {
		tr.post("register", executor, []byte(`{"executor":"`+executor+`","version":"v1.2.3"}`))
		switch tr.spec.Attempt {
		case 1:
			return runner.Exit{Code: 1}
		case 2:
			f.now.advance(day)
			return runner.Exit{Code: 1}
		}
		return tr.finish()
	}
	run := f.run("alice", f.dataset("alice"))
	eventually(t, "the second attempt ends", func() bool {
		var r api.Run
		f.call("alice", "GET", "/api/v1/runs/"+run.Id, nil, 200, &r)
		return r.Attempt > 2 || r.Attempt == 2 && r.State == api.StateInterrupted
	})
	f.now.advance(-day)
	f.await("alice", run.Id, api.StateSucceeded)
}
