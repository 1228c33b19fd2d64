package main_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
)

// TestServerKilledAtEachStep kills the server at each place where a crash could tear a row from its effect. Whatever was
// acknowledged is there after the next start, and the run ends as one that nobody disturbed: one attempt, each epoch once.
func TestServerKilledAtEachStep(t *testing.T) {
	for _, place := range []string{
		"task.added", "task.begun", "task.credential", "task.launched", "task.running", "task.records", "task.records:3",
		"task.concluding", "task.concluded",
	} {
		t.Run(place, func(t *testing.T) {
			m := newMachine(t, `{"epochs":4}`)
			d := m.upload()
			m.kill()
			m.dieAt(place)
			run := ""
			if r, err := m.client.CreateRun(t.Context(), api.RunCreate{Dataset: d.Id}); err == nil {
				run = r.Id
			}
			if err := m.server.Wait(); err == nil {
				t.Fatal("the server ended by itself")
			}
			m.start()
			if run == "" { // the answer was lost with the server; the run must be there all the same
				all, err := m.client.Runs(t.Context(), "")
				if err != nil || len(all.Runs) != 1 {
					t.Fatalf("runs after the restart: %+v, %v", all.Runs, err)
				}
				run = all.Runs[0].Id
			}
			s := m.watch(run)
			s.wait(t)
			equal(t, "epochs", s.epochs(), "1:1 1:2 1:3 1:4")
			equal(t, "states", s.states(), "queued starting running succeeded")
			files, err := m.client.Artifacts(t.Context(), run)
			if err != nil || len(files) != 2 {
				t.Errorf("files: %v, %v", files, err)
			}
			eventually(t, "the job is removed", func() bool {
				left, err := os.ReadDir(m.dir + "/jobs")
				return err == nil && len(left) == 0
			})
		})
	}
}

// TestUploadKilledAtEachStep kills the server within an upload. The sender only waits; nothing of what was acknowledged is lost,
// and what comes of it can be trained on.
func TestUploadKilledAtEachStep(t *testing.T) {
	for _, place := range []string{
		"ingest.chunk", "ingest.chunk:2", "ingest.advanced", "ingest.advanced:2", "ingest.adopted", "ingest.packed", "ingest.listed", "ingest.ready",
		"ingest.taken", "ingest.taken:2",
	} {
		t.Run(place, func(t *testing.T) {
			m := newMachine(t, `{"epochs":2}`)
			m.kill()
			m.dieAt(place)
			root, man := folder(t, 5)
			type outcome struct {
				set api.Dataset
				err error
			}
			sent := make(chan outcome, 1)
			sender := m.client
			go func() {
				set, err := sender.Upload(t.Context(), root, man, client.UploadOptions{Name: "things"})
				sent <- outcome{set, err}
			}()
			if err := m.server.Wait(); err == nil {
				t.Fatal("the server ended by itself")
			}
			m.wholesome()
			m.start()
			o := <-sent
			if o.err != nil || o.set.State != api.DatasetReady || o.set.Images != 10 {
				t.Fatalf("%+v, %v", o.set, o.err)
			}
			m.watch(m.run(o.set).Id).wait(t)
		})
	}
}

// TestDeletingKilled kills the server between the rows and the files of what is deleted: it is gone, and what is left is known as
// nobody's.
func TestDeletingKilled(t *testing.T) {
	for place, deletes := range map[string]func(m *machine, d api.Dataset, r api.Run) error{
		"ingest.deleted":   func(m *machine, d api.Dataset, _ api.Run) error { return m.ask(http.MethodDelete, "datasets/"+d.Id) },
		"ingest.forgotten": func(m *machine, _ api.Dataset, _ api.Run) error { return m.ask(http.MethodDelete, "me/data") },
		"task.deleted":     func(m *machine, _ api.Dataset, r api.Run) error { return m.client.DeleteRun(m.t.Context(), r.Id) },
		"ingest.dropped":   nil, // at the start
	} {
		t.Run(place, func(t *testing.T) {
			m := newMachine(t, `{"epochs":1}`)
			d := m.upload()
			r := m.run(d)
			m.watch(r.Id).wait(t)
			m.kill()
			if deletes == nil {
				m.change("DELETE FROM datasets", "UPDATE packs SET created = 0")
				m.server = m.command()
				m.server.Env = append(os.Environ(), "CULTIVAR_FAILPOINT="+place)
				if err := m.server.Start(); err != nil {
					t.Fatal(err)
				}
			} else {
				m.dieAt(place)
				if err := deletes(m, d, r); err == nil {
					t.Fatal("the server lived")
				}
			}
			if err := m.server.Wait(); err == nil {
				t.Fatal("the server ended by itself")
			}
			said, clean := m.fsck("--read-data")
			if !clean || !slices.ContainsFunc(said, func(f finding) bool { return f.Type == "stray" }) {
				t.Errorf("%t, %+v", clean, said)
			}
			m.start()
			m.watch(m.run(m.upload()).Id).wait(t) // all of it can be sent again
		})
	}
}

// ask makes a request that the client has no method for.
func (m *machine) ask(method, path string) error {
	m.t.Helper()
	web := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(m.dir, "server.sock"))
	}}}
	req, err := http.NewRequestWithContext(m.t.Context(), method, "http://localhost/api/v1/"+path, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// change executes statements on the database of a machine whose server is stopped.
func (m *machine) change(statements ...string) {
	m.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(m.dir, "cultivar.db")+"?_pragma=foreign_keys(1)")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(m.t.Context(), s); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		m.t.Fatal(err)
	}
}

// dieAt starts a server that kills itself at a place.
func (m *machine) dieAt(place string) {
	m.t.Helper()
	m.server = m.command()
	m.server.Stderr = m.log
	m.server.Env = append(os.Environ(), "CULTIVAR_FAILPOINT="+place)
	if err := m.server.Start(); err != nil {
		m.t.Fatal(err)
	}
	c, err := client.New(client.Options{Server: fmt.Sprintf("unix://%s/server.sock", m.dir)})
	if err != nil {
		m.t.Fatal(err)
	}
	m.client = c
	eventually(m.t, "the server answers", func() bool {
		_, err := c.Version(m.t.Context())
		return err == nil
	})
}
