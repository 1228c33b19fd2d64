package httpapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// reader is one connection to a task's stream.
type reader struct {
	t    *testing.T
	resp *http.Response
	scan *bufio.Scanner
	beat int // comments seen
}

func (f *fixture) connect(task string, last int64) *reader {
	f.t.Helper()
	resp := f.do("alice", "GET", "/api/v1/tasks/"+task+"/events", nil, "Last-Event-ID", strconv.FormatInt(last, 10))
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		f.t.Fatalf("stream: %s %v", resp.Status, resp.Header)
	}
	return &reader{t: f.t, resp: resp, scan: bufio.NewScanner(resp.Body)}
}

// next returns the next event; ok is false at the stream's end.
func (r *reader) next() (e api.Event, ok bool) {
	r.t.Helper()
	var id, kind string
	for r.scan.Scan() {
		field, value, _ := strings.Cut(r.scan.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "":
			if value != "" {
				r.beat++
			}
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				r.t.Fatal(err)
			}
			if strconv.FormatInt(e.Id, 10) != id || string(e.Record.Type) != kind {
				r.t.Fatalf("message %s (%s) carries event %d (%s)", id, kind, e.Id, e.Record.Type)
			}
			return e, true
		}
	}
	return api.Event{}, false
}

func (r *reader) close() { _ = r.resp.Body.Close() }

// stepped is a training whose epochs come when the test says so.
func stepped(steps <-chan int) func(*trainer) runner.Exit {
	return func(tr *trainer) runner.Exit {
		tr.post("register", executor, []byte(`{"executor":"`+executor+`","version":1}`))
		for n := range steps {
			if status, _ := tr.post("records", executor, epoch(int64(n), n)); status != 200 {
				return runner.Exit{Code: 1}
			}
		}
		return tr.finish()
	}
}

// TestReconnectAnywhere cuts the stream after each single event, once also with the server: every event comes once and in order.
func TestReconnectAnywhere(t *testing.T) {
	f := newFixture(t)
	steps := make(chan int, 20)
	f.script = stepped(steps)
	r := f.run("alice", f.dataset("alice"))
	for n := 1; n <= 10; n++ {
		steps <- n
	}
	var got []api.Event
	last := int64(0)
	for cut := range 1000 {
		stream := f.connect(r.Id, last)
		e, ok := stream.next()
		stream.close()
		if !ok {
			t.Fatalf("the stream after event %d is empty", last)
		}
		got = append(got, e)
		last = e.Id
		if cut == 8 {
			f.restart() // the running script goes on, but its callback has moved: it ends as crashed and is tried again
			close(steps)
		}
		if s, isState := e.Record.Body.(runspec.State); isState && (s.State == "succeeded" || s.State == "failed") {
			break
		}
	}
	for i, e := range got {
		if e.Id != int64(i+1) {
			t.Fatalf("event %d has number %d", i+1, e.Id)
		}
	}
	over := f.connect(r.Id, last)
	if e, ok := over.next(); ok {
		t.Errorf("after the end came %+v", e)
	}
}

// TestLiveReaders has several readers connected from different places while records arrive.
func TestLiveReaders(t *testing.T) {
	f := newFixture(t)
	steps := make(chan int)
	f.script = stepped(steps)
	r := f.run("alice", f.dataset("alice"))
	const readers, epochs = 8, 40
	var all sync.WaitGroup
	stories := make([]string, readers)
	for i := range readers {
		stream := f.connect(r.Id, 0)
		all.Go(func() {
			var b strings.Builder
			for {
				e, ok := stream.next()
				if !ok {
					break
				}
				fmt.Fprintf(&b, "%d ", e.Id)
			}
			stories[i] = b.String()
		})
	}
	for n := 1; n <= epochs; n++ {
		steps <- n
	}
	close(steps)
	all.Wait()
	var want strings.Builder
	for id := 1; id <= epochs+4; id++ { // queued, starting, running, epochs, succeeded
		fmt.Fprintf(&want, "%d ", id)
	}
	for i, s := range stories {
		if s != want.String() {
			t.Errorf("reader %d saw %s", i, s)
		}
	}
}

func TestQuietStreamBeats(t *testing.T) {
	f := newFixture(t)
	steps := make(chan int)
	f.script = stepped(steps)
	r := f.run("alice", f.dataset("alice"))
	f.await("alice", r.Id, api.StateRunning)
	stream := f.connect(r.Id, 3)
	for stream.beat < 3 && stream.scan.Scan() { // comments come although nothing happens
		if strings.HasPrefix(stream.scan.Text(), ": ") {
			stream.beat++
		}
	}
	if stream.beat < 3 {
		t.Errorf("%d comments before the stream ended: %v", stream.beat, stream.scan.Err())
	}
	stream.close()
	close(steps)
	f.await("alice", r.Id, api.StateSucceeded)
}

func TestBadLastEventID(t *testing.T) {
	f := newFixture(t)
	r := f.run("alice", f.dataset("alice"))
	f.decode(f.do("alice", "GET", "/api/v1/tasks/"+r.Id+"/events", nil, "Last-Event-ID", "x1"), 400, nil)
}
