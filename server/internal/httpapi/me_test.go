package httpapi_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/api"
)

func (f *fixture) me(user string) api.Me {
	f.t.Helper()
	var me api.Me
	f.call(user, "GET", "/api/v1/me", nil, 200, &me)
	return me
}

func TestMe(t *testing.T) {
	f := newFixture(t)
	if me := f.me("alice+read"); me.User != "alice" || strings.Join(me.Scopes, " ") != "read" || me.Bytes != 0 || me.QuotaBytes != nil {
		t.Errorf("%+v", me)
	}
	f.run("alice", f.dataset("alice", "a", "b"))
	f.createUpload("alice", "pack", "", 1000)
	f.dataset("bob", "a", "b")
	me, bob := f.me("alice"), f.me("bob")
	if me.Datasets != 1 || me.Runs != 1 || me.Bytes != bob.Bytes+1000 || bob.Runs != 0 {
		t.Errorf("%+v, bob %+v", me, bob)
	}
}

// At the limit photos are taken, one byte beyond they are not; what is deleted makes room, and others are not concerned.
func TestQuota(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice", "a", "b")
	used := f.me("alice").Bytes
	f.quota = used + 1000
	f.restart()
	if me := f.me("alice"); me.QuotaBytes == nil || *me.QuotaBytes != used+1000 {
		t.Errorf("%+v", me)
	}
	var e api.Error
	f.decode(f.do("alice", "POST", "/api/v1/uploads", nil, tusHeaders("pack", "", 1001)...), 413, &e)
	if !strings.Contains(e.Message, "You may keep") || !strings.Contains(e.Message, "1001 B") {
		t.Errorf("says %q", e.Message)
	}
	zip := zipped(t, 3, "a", "b")
	f.decode(f.do("alice", "POST", "/api/v1/datasets/zip", bytes.NewReader(zip)), 413, nil)
	f.createUpload("bob", "pack", "", 1001)
	path := f.createUpload("alice", "pack", "", 1000)
	f.decode(f.do("alice", "POST", "/api/v1/uploads", nil, tusHeaders("pack", "", 1)...), 413, nil) // what is on its way counts
	f.decode(f.do("alice", "DELETE", path, nil, "Tus-Resumable", "1.0.0"), 204, nil)
	f.createUpload("alice", "pack", "", 500)
	f.decode(f.do("alice", "DELETE", "/api/v1/datasets/"+d.Id, nil), 204, nil)
	f.createUpload("alice", "pack", "", int(used)+500)
}

func TestForgetEverything(t *testing.T) {
	f := newFixture(t)
	gate := make(chan struct{})
	f.script = func(tr *trainer) runner.Exit {
		<-gate
		return quick(tr)
	}
	done := f.run("alice", f.dataset("alice", "a", "b"))
	bob := f.run("bob", f.dataset("bob", "a", "b"))
	f.createUpload("alice", "pack", "", 10)
	f.decode(f.do("alice+upload", "DELETE", "/api/v1/me/data", nil), 403, nil)
	var e api.Error
	f.decode(f.do("alice", "DELETE", "/api/v1/me/data", nil), 409, &e)
	if !strings.Contains(e.Message, "has not ended") {
		t.Errorf("says %q", e.Message)
	}
	close(gate)
	f.await("alice", done.Id, api.StateSucceeded)
	f.await("bob", bob.Id, api.StateSucceeded)
	f.decode(f.do("alice", "DELETE", "/api/v1/me/data", nil), 204, nil)
	if me := f.me("alice"); me.Bytes != 0 || me.Datasets != 0 || me.Runs != 0 {
		t.Errorf("left: %+v", me)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "volume", "users", "alice")); err == nil {
		t.Error("her folder is still there")
	}
	f.decode(f.do("alice", "GET", "/api/v1/runs/"+done.Id, nil), 404, nil)
	f.await("bob", bob.Id, api.StateSucceeded)
	f.wholesome()
	f.run("alice", f.dataset("alice", "a", "b")) // and she may begin again
}
