package httpapi_test

import (
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/tasks"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// awaitReason polls a run until its reason has the text, and returns it.
func (f *fixture) awaitReason(user, run, text string) api.Run {
	f.t.Helper()
	var r api.Run
	eventually(f.t, "the reason "+text, func() bool {
		f.call(user, "GET", "/api/v1/runs/"+run, nil, 200, &r)
		return r.Reason != nil && strings.Contains(*r.Reason, text)
	})
	return r
}

func TestAWaitingJobSaysWhy(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice")
	f.fake.Hold("0/1 nodes are available: 1 Insufficient \x1b[31mcpu.", false)
	r := f.run("alice", d)
	got := f.awaitReason("alice", r.Id, "Insufficient")
	if got.State != api.StateStarting || strings.Contains(*got.Reason, "\x1b") {
		t.Errorf("while it waits: %s, %q", got.State, *got.Reason)
	}
	f.fake.Release()
	if got := f.await("alice", r.Id, api.StateSucceeded); got.Reason != nil {
		t.Errorf("at its end it still says %q", *got.Reason)
	}
	var reasons int
	stream := f.connect(r.Id, 0)
	for e, ok := stream.next(); ok; e, ok = stream.next() {
		if b, ok := e.Record.Body.(runspec.State); ok && b.State == "starting" && b.Reason != "" {
			reasons++
		}
	}
	if reasons != 1 {
		t.Errorf("the stream has the reason %d times, want once", reasons)
	}
}

func TestAStuckJobFailsWithItsReason(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice")
	f.fake.Hold("ImagePullBackOff: no such image", true)
	r := f.run("alice", d)
	if got := f.await("alice", r.Id, api.StateFailed); !strings.Contains(*got.Reason, "no such image") {
		t.Errorf("reason: %q", *got.Reason)
	}
	eventually(f.t, "the job to be removed", func() bool { return len(f.fake.Jobs()) == 0 })
}

func TestAWaitingJobCanBeCancelled(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice")
	f.fake.Hold("the queue is full", false)
	r := f.run("alice", d)
	f.awaitReason("alice", r.Id, "queue is full")
	f.call("alice", "POST", "/api/v1/runs/"+r.Id+"/cancel", nil, 200, nil)
	f.await("alice", r.Id, api.StateCancelled)
	eventually(f.t, "the job to be gone", func() bool { return len(f.fake.Jobs()) == 0 })
}

func TestABigDatasetIsReadInParts(t *testing.T) {
	for _, c := range []struct {
		name string
		exit runner.Exit
	}{
		{"all parts are read", runner.Exit{}},
		{"a part fails, and the run reads the rest", runner.Exit{Code: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.close()
			f.scaleOut = tasks.ScaleOut{Images: 2, Parts: 4}
			var kinds []string
			f.script = func(tr *trainer) runner.Exit {
				kinds = append(kinds, string(tr.spec.Kind))
				if tr.spec.Kind != runspec.Features {
					return quick(tr)
				}
				if tr.spec.Parts != 4 || tr.spec.Callback.URL != "" {
					t.Errorf("spec of the parts: %+v", tr.spec)
				}
				return c.exit
			}
			f.start()
			r := f.run("alice", f.dataset("alice"))
			f.await("alice", r.Id, api.StateSucceeded)
			again := f.run("alice", api.Dataset{Id: r.Dataset})
			f.await("alice", again.Id, api.StateSucceeded)
			if got, want := strings.Join(kinds, " "), "features train train"; got != want {
				t.Errorf("ran %q, want %q", got, want)
			}
		})
	}
}

func TestAScaledOutRunCanBeCancelled(t *testing.T) {
	f := newFixture(t)
	f.close()
	f.scaleOut = tasks.ScaleOut{Images: 2, Parts: 4}
	f.script = func(tr *trainer) runner.Exit {
		<-tr.ctx.Done()
		return runner.Exit{}
	}
	f.start()
	r := f.run("alice", f.dataset("alice"))
	f.awaitReason("alice", r.Id, "0 of 4 parts")
	f.call("alice", "POST", "/api/v1/runs/"+r.Id+"/cancel", nil, 200, nil)
	f.await("alice", r.Id, api.StateCancelled)
	eventually(f.t, "the parts to be gone", func() bool { return len(f.fake.Jobs()) == 0 })
}
