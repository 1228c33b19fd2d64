package main_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver named "sqlite"
)

// finding is what fsck says of something.
type finding struct {
	Type      string `json:"message_type"`
	Invariant string `json:"invariant"`
	What      string `json:"what"`
	Text      string `json:"text"`
	Name      string `json:"name"`
	Packs     int    `json:"packs"`
	Files     int    `json:"files"`
}

// fsck runs the command and returns what it says.
func (m *machine) fsck(extra ...string) (said []finding, clean bool) {
	m.t.Helper()
	cmd := exec.Command(serverBinary, append([]string{"fsck", "--json", "--data", m.dir}, extra...)...) //nolint:gosec // built by this test
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	for line := range strings.Lines(out.String()) {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			m.t.Fatalf("%q: %v", line, err)
		}
		said = append(said, f)
	}
	if len(said) == 0 {
		m.t.Fatalf("fsck: %v: %s", err, &complaint)
	}
	return said, err == nil
}

// wholesome fails the test when an invariant is broken.
func (m *machine) wholesome() {
	m.t.Helper()
	if said, clean := m.fsck("--read-data"); !clean {
		m.t.Errorf("invariants are broken: %+v", said)
	}
}

// only is the one file that a pattern below the machine's folder names.
func (m *machine) only(pattern string) string {
	m.t.Helper()
	found, err := filepath.Glob(filepath.Join(m.dir, "volume", filepath.FromSlash(pattern)))
	if err != nil || len(found) != 1 {
		m.t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

// finished is a machine with a run that succeeded, and the server stopped.
func finished(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t, `{"epochs":2}`)
	r := m.run(m.upload())
	m.watch(r.Id).wait(t)
	said, clean := m.fsck("--read-data") // beside the server
	if last := said[len(said)-1]; !clean || last.Packs != 1 || last.Files != 2 {
		t.Fatalf("%+v", said)
	}
	m.stop()
	return m
}

func TestFsckFindsDamage(t *testing.T) {
	m := finished(t)
	m.damaged = true
	database := filepath.Join(m.dir, "cultivar.db")
	rows := func(query string) func(*testing.T) {
		return func(t *testing.T) {
			db, err := sql.Open("sqlite", "file:"+database)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.ExecContext(t.Context(), query); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	file := func(pattern string, change func([]byte) []byte) func(*testing.T) {
		return func(t *testing.T) {
			name := m.only(pattern)
			content, err := os.ReadFile(name)
			if err == nil {
				err = os.Remove(name)
			}
			if content = change(content); err == nil && content != nil {
				err = os.WriteFile(name, content, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	gone := func([]byte) []byte { return nil }
	cut := func(b []byte) []byte { return b[:len(b)-1] }
	bit := func(b []byte) []byte { b[len(b)-5] ^= 1; return b }
	const packs, manifests, models = "users/*/packs/*/*.pack", "users/*/datasets/*/manifest.jsonl", "users/*/tasks/*/attempts/*/*/artifacts/model.h5"
	whole := snapshot(t, m.dir)
	for name, c := range map[string]struct {
		damage func(*testing.T)
		want   string
		read   bool // found only by reading everything
	}{
		"pack gone":            {file(packs, gone), "I1", false},
		"pack cut":             {file(packs, cut), "I1", false},
		"bit of a pack":        {file(packs, bit), "I1", true},
		"manifest gone":        {file(manifests, gone), "I2", false},
		"manifest cut":         {file(manifests, func(b []byte) []byte { return b[:len(b)/2] }), "I2", false},
		"image elsewhere":      {rows("UPDATE blobs SET start = start + 1"), "I2", false},
		"no packs":             {rows("DELETE FROM dataset_packs"), "I2", false},
		"two attempts":         {rows("UPDATE tasks SET state = 'running', ended = NULL; UPDATE attempts SET ended = NULL; INSERT INTO attempts SELECT task, 2, '', '', 0, started, NULL, '' FROM attempts; DELETE FROM artifacts"), "I3", false},
		"attempt goes on":      {rows("UPDATE attempts SET ended = NULL"), "I3", false},
		"end without a state":  {rows("UPDATE tasks SET state = 'running'; DELETE FROM artifacts"), "I4", false},
		"alive after its end":  {rows(`UPDATE events SET body = '{"seq":1,"type":"state","state":"succeeded"}' WHERE id = 1`), "I4", false},
		"files of two":         {rows("UPDATE artifacts SET attempt = 2 WHERE position = 0"), "I5", false},
		"files of a stranger":  {rows("UPDATE artifacts SET executor = 'x'"), "I5", false},
		"model gone":           {file(models, gone), "I5", false},
		"bit of a model":       {file(models, bit), "I5", true},
		"mail forgotten":       {rows(`UPDATE tasks SET notify = '{"email":"a@b"}'`), "I6", false},
		"event lost":           {rows("DELETE FROM events WHERE id = 3"), "I7", false},
		"last event lost":      {rows("DELETE FROM events WHERE id = (SELECT last FROM streams)"), "I7", false},
		"image of another":     {rows("UPDATE blobs SET owner = 'mallory'"), "I8", false},
		"dataset of another":   {rows("UPDATE datasets SET owner = 'mallory'"), "I8", false},
		"named by another":     {rows("INSERT INTO pins SELECT 'mallory', 'd', 'x', id, 0 FROM tasks"), "I8", false},
		"acknowledged and not": {rows("INSERT INTO uploads VALUES ('u', 'local-0', 'pack', '', 10, 5, 0, 0, 9000000000000000)"), "I1", false},
	} {
		t.Run(name, func(t *testing.T) {
			restore(t, m.dir, whole)
			c.damage(t)
			found := func(args ...string) bool {
				said, clean := m.fsck(args...)
				has := slices.ContainsFunc(said, func(f finding) bool { return f.Invariant == c.want })
				if has == clean {
					t.Errorf("exit code and findings differ: %+v", said)
				}
				return has
			}
			if found() == c.read {
				t.Errorf("found without reading everything: %t", !c.read)
			}
			if !found("--read-data") {
				t.Error("not found")
			}
		})
	}
	t.Run("strays", func(t *testing.T) {
		restore(t, m.dir, whole)
		if err := os.WriteFile(filepath.Join(filepath.Dir(m.only(packs)), strings.Repeat("0", 64)+".pack"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		said, clean := m.fsck()
		if !clean || len(said) != 2 || said[0].Type != "stray" {
			t.Errorf("%t, %+v", clean, said)
		}
	})
}

// snapshot is the content of all files below a folder.
func snapshot(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		out[name], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// restore makes the files below a folder those of a snapshot.
func restore(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name := range snapshot(t, dir) {
		if _, ok := files[name]; !ok {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, content := range files {
		_ = os.Remove(name) // what is read-only, too
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
