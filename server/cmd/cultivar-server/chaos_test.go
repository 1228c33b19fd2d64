package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
)

// places are where the server is killed at random, besides at any moment: those that a day of uploads, trainings and deletions
// passes.
var places = []string{
	"task.added", "task.begun", "task.credential", "task.launched", "task.running", "task.records", "task.concluding", "task.concluded", "task.deleted",
	"ingest.chunk", "ingest.advanced", "ingest.adopted", "ingest.packed", "ingest.listed", "ingest.ready", "ingest.taken", "ingest.deleted",
}

// kills is how many times TestChaos kills: CULTIVAR_KILLS, else a few or fifty.
func kills(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("CULTIVAR_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return 5
	}
	return 50
}

// TestChaos kills the server again and again on one data folder while photos are sent, trained on and deleted, at named places and
// at any moment. After each time the invariants hold; after the next start what was acknowledged is there, and what was begun ends.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CULTIVAR_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	m := newMachine(t, `{"epochs":3}`)
	m.kill()
	met, sent, begun, deleted := 0, 0, 0, 0
	defer func() {
		t.Logf("killed at a place %d times; %d datasets were sent, %d runs begun, %d deleted", met, sent, begun, deleted)
	}()
	for cycle := range kills(t) {
		place := fmt.Sprintf("%s:%d", places[r.IntN(len(places))], 1+r.IntN(2))
		moment := time.Duration(1+r.IntN(600)) * time.Millisecond
		if r.IntN(3) == 0 {
			place = "none"
		}
		m.gone = nil
		m.dieAt(place)
		ctx, cancel := context.WithTimeout(t.Context(), moment)
		d := &day{m: m, salt: fmt.Sprint(seed, cycle), finish: r.IntN(2) == 0}
		d.live(ctx)
		cancel()
		select {
		case <-m.ended():
			met++
		case <-time.After(10 * time.Millisecond): // it was not met
			_ = m.server.Process.Kill()
			<-m.ended()
		}
		sent, begun, deleted = sent+count(d.dataset != nil), begun+count(d.run != nil), deleted+count(d.deleted)
		if said, clean := m.fsck("--read-data"); !clean {
			t.Fatalf("cycle %d, killed at %s or after %s: %+v", cycle, place, moment, said)
		}
		m.start()
		d.check(t)
		m.kill()
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ended tells when the server's process has.
func (m *machine) ended() <-chan struct{} {
	if m.gone == nil {
		gone := make(chan struct{})
		server := m.server
		go func() {
			_ = server.Wait()
			close(gone)
		}()
		m.gone = gone
	}
	return m.gone
}

// day is what somebody does with a server that may die under them, and what they were told of it.
type day struct {
	m       *machine
	salt    string
	finish  bool // delete it in the end
	dataset *api.Dataset
	run     *api.Run
	asked   bool // for the run to be deleted
	deleted bool // which was acknowledged
}

// live does it until the time is over; whatever goes wrong is for check to judge.
func (d *day) live(ctx context.Context) {
	root, man := folderOf(d.m.t, 3, d.salt)
	set, err := d.m.client.Upload(ctx, root, man, client.UploadOptions{Name: "day"})
	if err != nil {
		return
	}
	d.dataset = &set
	run, err := d.m.client.CreateRun(ctx, api.RunCreate{Dataset: set.Id})
	if err != nil {
		return
	}
	d.run = &run
	for _, err := range d.m.client.Events(ctx, run.Id, 0, nil) {
		if err != nil {
			return
		}
	}
	if !d.finish {
		return
	}
	d.asked = true
	if d.m.client.DeleteRun(ctx, run.Id) == nil {
		d.deleted = true
		_ = d.m.ask("DELETE", "datasets/"+set.Id) // it may die of it
	}
}

// check holds the server to what it acknowledged.
func (d *day) check(t *testing.T) {
	t.Helper()
	if d.deleted {
		if _, err := d.m.client.Run(t.Context(), d.run.Id); api.Code(err) != api.CodeNotFound {
			t.Fatalf("a run that was deleted: %v", err)
		}
		return
	}
	if d.asked { // it may be gone or not
		if _, err := d.m.client.Run(t.Context(), d.run.Id); api.Code(err) == api.CodeNotFound {
			return
		}
	}
	if d.run != nil {
		s := d.m.watch(d.run.Id)
		s.wait(t)
		if states := s.states(); states[len(states)-1] != "succeeded" {
			t.Fatalf("the run ended as %v", states)
		}
	}
	if d.dataset == nil {
		return
	}
	root, man := folderOf(t, 3, d.salt)
	set, err := d.m.client.Upload(t.Context(), root, man, client.UploadOptions{Name: "day"})
	if err != nil || set.Id != d.dataset.Id {
		t.Fatalf("the dataset %s is %+v now, %v", d.dataset.Id, set, err)
	}
}
