package httpapi_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func TestCallback(t *testing.T) {
	f := newFixture(t)
	ready, done := make(chan *trainer, 1), make(chan struct{})
	f.script = func(tr *trainer) runner.Exit {
		ready <- tr
		<-done
		return tr.finish()
	}
	r := f.run("alice", f.dataset("alice"))
	tr := <-ready
	token, err := os.ReadFile(tr.spec.Callback.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(tr.spec.Callback.TokenFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("token file: %v, %v", info, err)
	}
	batch := func(from, to int64) []byte {
		var b []byte
		for seq := from; seq <= to; seq++ {
			b = append(b, epoch(seq, int(seq))...)
		}
		return b
	}
	for _, c := range []struct {
		name, url, token, executor string
		body                       []byte
		status                     int
		ack                        int64
	}{
		{"wrong token", "/records", "cv_wrong", executor, batch(1, 1), 401, 0},
		{"no token", "/records", "", executor, batch(1, 1), 401, 0},
		{"unusable executor", "/register", string(token), "", []byte(`{"executor":"../up","version":1}`), 400, 0},
		{"trainer from the future", "/register", string(token), "", []byte(`{"executor":"p1-1","version":99}`), 400, 0},
		{"register", "/register", string(token), "", []byte(`{"executor":"p1-1","version":1,"pid":7}`), 200, 0},
		{"register again", "/register", string(token), "", []byte(`{"executor":"p1-1","version":1,"pid":7}`), 200, 0},
		{"another executor registers", "/register", string(token), "", []byte(`{"executor":"p2-2","version":1}`), 409, 0},
		{"another executor writes", "/records", string(token), "p2-2", batch(1, 1), 409, 0},
		{"records", "/records", string(token), executor, batch(1, 3), 200, 3},
		{"the same again", "/records", string(token), executor, batch(1, 3), 200, 3},
		{"half known", "/records", string(token), executor, batch(2, 5), 200, 5},
		{"a hole", "/records", string(token), executor, batch(7, 9), 200, 5},
		{"the hole is filled", "/records", string(token), executor, batch(6, 9), 200, 9},
		{"nothing", "/records", string(token), executor, nil, 200, 9},
		{"a state is the server's to tell", "/records", string(token), executor, []byte(`{"seq":10,"time":"2026-01-01T00:00:00Z","type":"state","state":"succeeded"}`), 400, 0},
		{"not a record", "/records", string(token), executor, []byte("hello"), 400, 0},
		{"a record too large", "/records", string(token), executor, []byte(`{"seq":10,"time":"2026-01-01T00:00:00Z","type":"log","text":"` + strings.Repeat("x", runspec.MaxRecordBytes) + `"}`), 413, 0},
		{"a batch too large", "/records", string(token), executor, bytes.Repeat(epoch(1, 1), runspec.MaxBatchBytes/len(epoch(1, 1))+1), 413, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, ack := post(t.Context(), tr.spec.Callback.URL+c.url, c.token, c.executor, c.body)
			if status != c.status || ack.Ack != c.ack {
				t.Errorf("%d, ack %d; want %d, %d", status, ack.Ack, c.status, c.ack)
			}
		})
	}
	// The credential opens nothing but its own attempt, and people's names open nothing here.
	for _, url := range []string{strings.Replace(tr.spec.Callback.URL, r.Id, "other", 1), strings.TrimSuffix(tr.spec.Callback.URL, "1") + "2"} {
		if status, _ := post(t.Context(), url+"/records", string(token), executor, batch(1, 1)); status != 401 {
			t.Errorf("%s: %d", url, status)
		}
	}
	var got api.Run
	f.call("alice", "POST", "/api/v1/runs/"+r.Id+"/stop", nil, 200, &got)
	if _, ack := tr.post("records", executor, nil); ack.Command != "stop" {
		t.Errorf("command after stop: %q", ack.Command)
	}
	if _, err := os.Stat(tr.spec.Paths.Stop); err != nil || got.State != api.StateStopping {
		t.Errorf("after stop: %s, %v", got.State, err)
	}
	close(done)
	f.await("alice", r.Id, api.StateSucceeded)
	if status, _ := post(t.Context(), tr.spec.Callback.URL+"/records", string(token), executor, batch(10, 10)); status != 409 {
		t.Errorf("a record after the end: %d", status)
	}
	f.secretsStay(t, string(token))
}

// secretsStay looks for a token everywhere it has no business.
func (f *fixture) secretsStay(t *testing.T, token string) {
	t.Helper()
	if strings.Contains(f.log.String(), token) {
		t.Error("the token is in the log")
	}
	for _, name := range []string{"test.db", "test.db-wal"} {
		if b, _ := os.ReadFile(filepath.Join(f.dir, name)); bytes.Contains(b, []byte(token)) {
			t.Errorf("the token is in %s", name)
		}
	}
	specs, _ := filepath.Glob(filepath.Join(f.dir, "volume/users/*/tasks/*/spec.json"))
	for _, name := range specs {
		if b, _ := os.ReadFile(name); bytes.Contains(b, []byte(token)) {
			t.Errorf("the token is in %s", name)
		}
	}
	if len(specs) == 0 {
		t.Error("no spec was found to look into")
	}
}

// TestLostJobs loses the machine under a run again and again: each time it goes on, and at the eleventh it gives up.
func TestLostJobs(t *testing.T) {
	f := newFixture(t)
	f.script = func(tr *trainer) runner.Exit {
		tr.post("register", executor, []byte(`{"executor":"`+executor+`","version":1}`))
		<-tr.ctx.Done()
		return runner.Exit{}
	}
	r := f.run("alice", f.dataset("alice"))
	for n := 1; n <= 11; n++ {
		f.await("alice", r.Id, api.StateRunning)
		f.fake.Lose(fmt.Sprintf("cv-%s-%d", r.Id, n))
		if n <= 10 {
			eventually(t, "another attempt runs", func() bool {
				f.now.advance(10 * 1e9) // the rest between attempts
				f.call("alice", "GET", "/api/v1/runs/"+r.Id, nil, 200, &r)
				return r.Attempt == n+1 && r.State == api.StateRunning
			})
		}
	}
	got := f.await("alice", r.Id, api.StateFailed)
	if got.Attempt != 11 || !strings.Contains(*got.Reason, "vanished") {
		t.Errorf("run: attempt %d, %s", got.Attempt, *got.Reason)
	}
}
