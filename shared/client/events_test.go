package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const patience = 30 * time.Second // of a test that waits for something that must come

// connect returns a client of a server that is closed with the test.
func connect(t *testing.T, h http.Handler, silence time.Duration) *client.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	c, err := client.New(client.Options{Server: srv.URL, Token: "cv_test"})
	if err != nil {
		t.Fatal(err)
	}
	return c.Hurry(silence, patience)
}

// story is a task whose events are served over connections that each go wrong in their own way.
type story struct {
	mu      sync.Mutex
	total   int64
	conns   int
	asked   []string // Last-Event-ID of each connection
	perConn func(conn int, from int64, w *eventWriter)
	state   api.State
}

type eventWriter struct {
	http.ResponseWriter
	total int64
}

// send writes events from…to, the last one of the story being its terminal state.
func (w *eventWriter) send(from, to int64) {
	for id := from; id <= to; id++ {
		fmt.Fprintf(w, "id: %d\nevent: log\ndata: %s\n\n", id, w.event(id))
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *eventWriter) event(id int64) []byte {
	r := runspec.Record{Seq: id, Time: time.Unix(id, 0), Type: runspec.TypeLog, Body: runspec.Log{Level: "info", Text: fmt.Sprint(id)}}
	if id == w.total {
		r.Type, r.Body = runspec.TypeState, runspec.State{State: "succeeded", Attempt: 1}
	}
	b, err := json.Marshal(api.Event{Id: id, Task: "t", Attempt: 1, Record: r})
	if err != nil {
		panic(err)
	}
	return b
}

// cut breaks the connection in the middle of what it says.
func cut(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func (s *story) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/api/v1/tasks/t" {
		_ = json.NewEncoder(w).Encode(api.Task{Id: "t", Kind: "train", State: s.state, LastEvent: s.total})
		return
	}
	s.mu.Lock()
	s.conns++
	conn := s.conns
	s.asked = append(s.asked, r.Header.Get("Last-Event-ID"))
	s.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer cv_test" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	from, _ := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	s.perConn(conn, from, &eventWriter{w, s.total})
}

func collect(t *testing.T, c *client.Client, after int64, onLink func(client.Link)) ([]int64, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var ids []int64
	for e, err := range c.Events(ctx, "t", after, onLink) {
		if err != nil {
			return ids, err
		}
		ids = append(ids, e.Id)
	}
	return ids, ctx.Err()
}

func upTo(from, to int64) []int64 {
	var out []int64
	for ; from <= to; from++ {
		out = append(out, from)
	}
	return out
}

func TestEventsOnceAndInOrder(t *testing.T) {
	for name, perConn := range map[string]func(int, int64, *eventWriter){
		"straight": func(_ int, from int64, w *eventWriter) { w.send(from+1, w.total) },
		"cut between events": func(_ int, from int64, w *eventWriter) {
			w.send(from+1, min(from+3, w.total))
			cut(w)
		},
		"cut inside an event": func(_ int, from int64, w *eventWriter) {
			w.send(from+1, min(from+2, w.total))
			if from+2 < w.total {
				fmt.Fprintf(w, "id: %d\nevent: log\ndata: {\"id\":%d,", from+3, from+3)
			}
			cut(w)
		},
		"cut before the blank line": func(_ int, from int64, w *eventWriter) {
			w.send(from+1, min(from+1, w.total))
			fmt.Fprintf(w, "id: %d\ndata: %s\n", min(from+2, w.total), w.event(min(from+2, w.total)))
		},
		"repeats": func(_ int, from int64, w *eventWriter) {
			w.send(max(1, from-4), min(from+3, w.total))
			w.send(max(1, from-1), min(from+2, w.total))
		},
		"closed in good order": func(_ int, from int64, w *eventWriter) { w.send(from+1, min(from+4, w.total)) },
		"busy now and then": func(conn int, from int64, w *eventWriter) {
			if conn%2 == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			w.send(from+1, min(from+4, w.total))
		},
		"comments and other fields": func(_ int, from int64, w *eventWriter) {
			fmt.Fprint(w, ": ping\r\n\r\nretry: 10\n\nevent: hello\n\n")
			w.send(from+1, w.total)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{total: 23, state: api.StateRunning, perConn: perConn}
			ids, err := collect(t, connect(t, s, 5*time.Second), 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(ids, upTo(1, 23)) {
				t.Errorf("got %v", ids)
			}
			if s.asked[0] != "" {
				t.Errorf("the first connection asked for what comes after %q", s.asked[0])
			}
		})
	}
}

func TestEventsAfter(t *testing.T) {
	s := &story{total: 9, state: api.StateRunning, perConn: func(_ int, from int64, w *eventWriter) { w.send(from+1, w.total) }}
	ids, err := collect(t, connect(t, s, 5*time.Second), 6, nil)
	if err != nil || !slices.Equal(ids, upTo(7, 9)) || s.asked[0] != "6" {
		t.Errorf("got %v, %v; asked %q", ids, err, s.asked)
	}
}

func TestEventsOfAnEndedTaskEnd(t *testing.T) {
	s := &story{total: 9, state: api.StateSucceeded, perConn: func(int, int64, *eventWriter) {}}
	ids, err := collect(t, connect(t, s, 5*time.Second), 9, nil)
	if err != nil || len(ids) != 0 {
		t.Errorf("got %v, %v", ids, err)
	}
}

func TestEventsSilenceIsDeath(t *testing.T) {
	s := &story{total: 4, state: api.StateRunning}
	gone := make(chan struct{})
	s.perConn = func(conn int, from int64, w *eventWriter) {
		if conn == 1 {
			w.send(1, 2)
			<-gone // says nothing more, as behind a dead link
			return
		}
		w.send(from+1, w.total)
	}
	c := connect(t, s, 50*time.Millisecond)
	t.Cleanup(func() { close(gone) }) // before the server closes
	var states []client.LinkState
	var why error
	ids, err := collect(t, c, 0, func(l client.Link) {
		states = append(states, l.State)
		if l.Err != nil {
			why = l.Err
		}
	})
	if err != nil || !slices.Equal(ids, upTo(1, 4)) {
		t.Fatalf("got %v, %v", ids, err)
	}
	if !slices.Equal(states, []client.LinkState{client.Live, client.Reconnecting, client.Live}) {
		t.Errorf("link states %v", states)
	}
	if !errors.Is(why, client.ErrUnreachable) || api.Code(why) != api.CodeUnavailable || !strings.Contains(why.Error(), "nothing came for") {
		t.Errorf("reconnecting because %v", why)
	}
}

func TestEventsFinalErrors(t *testing.T) {
	for status, code := range map[int]api.ErrorCode{401: api.CodeUnauthorized, 403: api.CodeForbidden, 404: api.CodeNotFound, 400: api.CodeInvalid} {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		_, err := collect(t, connect(t, h, time.Second), 0, nil)
		if api.Code(err) != code {
			t.Errorf("HTTP %d: %v", status, err)
		}
	}
}

func TestEventsConsumerLeaves(t *testing.T) {
	s := &story{total: 9, state: api.StateRunning, perConn: func(_ int, from int64, w *eventWriter) { w.send(from+1, w.total) }}
	c := connect(t, s, 5*time.Second)
	var n int
	for range c.Events(t.Context(), "t", 0, nil) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 || s.conns != 1 {
		t.Errorf("%d events over %d connections", n, s.conns)
	}
}

func TestEventsContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := &story{total: 9, state: api.StateRunning}
	s.perConn = func(_ int, _ int64, w *eventWriter) { w.send(1, 2); cut(w) }
	var n int
	for _, err := range connect(t, s, 5*time.Second).Events(ctx, "t", 0, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 2 {
			cancel()
		}
	}
	if n != 2 {
		t.Errorf("%d events", n)
	}
}

func FuzzEventStream(f *testing.F) {
	f.Add([]byte("id: 1\ndata: {\"id\":1,\"record\":{\"type\":\"log\"}}\n\n: x\n\n"))
	f.Add([]byte("data: a\r\ndata: b\r\n\r\nid\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "events") {
				_, _ = w.Write(in)
				return
			}
			_ = json.NewEncoder(w).Encode(api.Task{Id: "t", State: api.StateFailed})
		})
		last := int64(0)
		for e, err := range connect(t, h, 5*time.Second).Events(t.Context(), "t", 0, nil) {
			if err == nil && e.Id <= last {
				t.Fatalf("event %d after %d", e.Id, last)
			}
			last = e.Id
		}
	})
}
