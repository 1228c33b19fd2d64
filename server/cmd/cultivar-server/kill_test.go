package main_test

import (
	"fmt"
	"os"
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
