package main_test

import (
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/api"
)

// tool runs a command of the server's program and returns what it says.
func tool(t *testing.T, args ...string) (said string, ok bool) {
	t.Helper()
	out, err := exec.Command(serverBinary, args...).CombinedOutput() //nolint:gosec // built by the tests
	return string(out), err == nil
}

// The drill: back up beside a running server with a training under way, lose everything, restore, and go on.
func TestRestoreDrill(t *testing.T) {
	m := newMachine(t, `{"epochs":4,"hold_before":3}`)
	d := m.upload()
	first := m.run(d)
	m.watch(first.Id).wait(t) // nothing is held yet
	m.hold()
	second := m.run(d)
	eventually(t, "the second training is under way", func() bool {
		r, err := m.client.Run(t.Context(), second.Id)
		return err == nil && r.Epoch != nil && *r.Epoch == 2
	})
	copies := t.TempDir()
	if said, ok := tool(t, "backup", copies, "--data", m.dir); !ok || !strings.Contains(said, "1 datasets, 2 tasks, ") {
		t.Fatalf("backup: %s", said)
	}
	said, ok := tool(t, "backup", copies, "--data", m.dir, "--read-data")
	if !ok || !strings.Contains(said, "0 of them were new") {
		t.Fatalf("the second backup: %s", said)
	}
	if said, ok := tool(t, "restore", copies, "--data", m.dir); ok || !strings.Contains(said, "a server runs on this data folder") {
		t.Fatalf("restored under a running server: %s", said)
	}
	m.kill()
	m.release()
	m.leave()
	if said, ok := tool(t, "restore", copies, "--data", m.dir); ok || !strings.Contains(said, "there is a database") {
		t.Fatalf("restored over a database: %s", said)
	}
	m.lose("cultivar.db", "cultivar.db-wal", "cultivar.db-shm", "volume", "jobs")
	if said, ok := tool(t, "restore", copies, "--data", m.dir); !ok || !strings.Contains(said, "restored snapshot") {
		t.Fatalf("restore: %s", said)
	}
	m.start()
	r, err := m.client.Run(t.Context(), first.Id)
	if err != nil || r.State != api.StateSucceeded {
		t.Fatalf("the first run: %+v, %v", r, err)
	}
	files, err := m.client.Artifacts(t.Context(), first.Id)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.client.Download(t.Context(), first.Id, files[0], filepath.Join(t.TempDir(), "model.h5"), nil); err != nil {
		t.Error(err)
	}
	again := m.watch(second.Id)
	again.wait(t) // numbers without a hole
	if states := again.states(); states[len(states)-1] != "succeeded" {
		t.Errorf("the second run: %v", states)
	}
	if again := m.upload(); again.Id != d.Id {
		t.Errorf("the dataset is another one: %+v", again)
	}
}

// lose removes what the machine keeps.
func (m *machine) lose(names ...string) {
	m.t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(m.dir, name)); err != nil {
			m.t.Fatal(err)
		}
	}
}

// leave waits until the trainers that outlived the server have ended.
func (m *machine) leave() {
	m.t.Helper()
	eventually(m.t, "all trainers have ended", func() bool {
		begun, err := filepath.Glob(filepath.Join(m.dir, "jobs", "*", "job.json"))
		if err != nil {
			m.t.Fatal(err)
		}
		for _, name := range begun {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), "exit.json")); err != nil {
				return false
			}
		}
		return true
	})
}

// unfinishedUpload gives the machine, whose server is stopped, an upload of which half has come.
func (m *machine) unfinishedUpload() {
	m.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(m.dir, "cultivar.db"))
	if err != nil {
		m.t.Fatal(err)
	}
	_, err = db.ExecContext(m.t.Context(), "INSERT INTO uploads SELECT 'half', owner, 'pack', '', 10, 5, 0, 0, 9000000000000000 FROM packs")
	if err = errors.Join(err, db.Close()); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(m.only("users/*/uploads")), "uploads", "half.part"), []byte("12345"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.wholesome()
}

// What is damaged on the way is found; old snapshots go with what only they name.
func TestBackupIsChecked(t *testing.T) {
	m := finished(t)
	m.unfinishedUpload()
	copies := t.TempDir()
	if said, ok := tool(t, "backup", copies, "--data", m.dir); !ok {
		t.Fatal(said)
	}
	packs, err := filepath.Glob(filepath.Join(copies, "volume", "users", "*", "packs", "*", "*"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("%q, %v", packs, err)
	}
	content, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	if err := os.Chmod(packs[0], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(packs[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	if said, ok := tool(t, "backup", copies, "--data", m.dir, "--read-data"); ok || !strings.Contains(said, "not whole") {
		t.Errorf("a damaged copy: %s", said)
	}
	if said, ok := tool(t, "restore", copies, "--data", t.TempDir()); ok || !strings.Contains(said, "I1") {
		t.Errorf("restored a damaged copy: %s", said)
	}
	if err := os.Remove(packs[0]); err != nil {
		t.Fatal(err)
	}
	m.start()
	runs, err := m.client.Runs(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.client.DeleteRun(t.Context(), runs.Runs[0].Id); err != nil {
		t.Fatal(err)
	}
	if said, ok := tool(t, "backup", copies, "--data", m.dir, "--keep", "1"); !ok {
		t.Fatal(said)
	}
	left, err := filepath.Glob(filepath.Join(copies, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	models, err := filepath.Glob(filepath.Join(copies, "volume", "users", "*", "tasks", "*"))
	if err != nil || len(models) > 0 || len(left) != 2 {
		t.Errorf("left: %q, %q, %v", left, models, err)
	}
}
