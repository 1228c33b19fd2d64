package httpapi

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/server/internal/tasks"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// eventsAtOnce bounds what is read from the database in one go.
const eventsAtOnce = 500

// events streams a task's events after Last-Event-ID and then live. The database is the only source: the broker says
// that there is something to read, and never what, so that nothing is missed, repeated or kept for slow readers.
// Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	id := mux.Vars(r)["id"]
	after := int64(0)
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		var err error
		if after, err = strconv.ParseInt(last, 10, 64); err != nil || after < 0 {
			s.fail(w, r, api.Errorf(api.CodeInvalid, "Last-Event-ID is %q, but must be the number of an event.", last))
			return
		}
	}
	if _, err := s.Store.Task(r.Context(), user(r.Context()), id); err != nil {
		s.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	st := stream{server: s, w: w, rc: http.NewResponseController(w), r: r, task: id, last: after}
	if err := st.send("retry: 2000\n\n"); err != nil {
		return
	}
	if err := st.run(); err != nil && r.Context().Err() == nil {
		s.Log.WarnContext(r.Context(), "event stream cut", "request_id", requestID(r.Context()), "task", id, "error", err)
	}
}

type stream struct {
	server *Server
	w      http.ResponseWriter
	rc     *http.ResponseController
	r      *http.Request
	task   string
	last   int64
}

func (st *stream) run() error {
	changed, done := st.server.Tasks.Watch(st.task)
	defer done()
	spread := 0.8 + 0.4*rand.Float64() //nolint:gosec // spreads reconnects, guards nothing
	life := time.NewTimer(time.Duration(float64(st.server.StreamLife) * spread))
	defer life.Stop()
	beat := time.NewTicker(st.server.Heartbeat)
	defer beat.Stop()
	for {
		wake := changed() // before reading: a change in between wakes at once
		over, err := st.replay()
		if over || err != nil {
			return err
		}
		select {
		case <-wake:
		case <-beat.C:
			if err := st.send(": still here\n\n"); err != nil {
				return err
			}
		case <-life.C:
			return nil
		case <-st.server.closing:
			return nil
		case <-st.r.Context().Done():
			return nil
		}
	}
}

// replay sends everything after last, and tells whether the task's story is over.
func (st *stream) replay() (over bool, err error) {
	who := user(st.r.Context())
	for {
		events, err := st.server.Store.Events(st.r.Context(), who, st.task, st.last, eventsAtOnce)
		if err != nil {
			return false, err
		}
		for _, e := range events {
			if err := st.write(e); err != nil {
				return false, err
			}
			st.last = e.ID
		}
		if len(events) < eventsAtOnce {
			break
		}
	}
	if err := st.flush(); err != nil {
		return false, err
	}
	t, err := st.server.Store.Task(st.r.Context(), who, st.task)
	if err != nil {
		return false, err // deleted meanwhile
	}
	return tasks.Terminal(t.State) && t.LastEvent <= st.last, nil
}

// message is api.Event with the record as it is stored.
type message struct {
	ID      int64           `json:"id"`
	Task    string          `json:"task"`
	Attempt int             `json:"attempt"`
	Record  json.RawMessage `json:"record"`
}

func (st *stream) write(e store.Event) error {
	data, err := json.Marshal(message{e.ID, st.task, e.Attempt, e.JSON})
	if err != nil {
		return fmt.Errorf("encode event %d: %w", e.ID, err)
	}
	return st.put(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.ID, eventName(e.Type), data))
}

// eventName keeps a type that some trainer made up from breaking the format.
func eventName(t runspec.Type) string {
	for _, c := range string(t) {
		if (c < 'a' || c > 'z') && c != '_' {
			return "record"
		}
	}
	return string(t)
}

func (st *stream) send(text string) error {
	if err := st.put(text); err != nil {
		return err
	}
	return st.flush()
}

// put writes with a deadline of its own: a reader that has stalled is cut, and reconnects when it is back.
func (st *stream) put(text string) error {
	if err := st.rc.SetWriteDeadline(time.Now().Add(st.server.WriteTimeout)); err != nil {
		return fmt.Errorf("write to stream: %w", err)
	}
	if _, err := st.w.Write([]byte(text)); err != nil {
		return fmt.Errorf("write to stream: %w", err)
	}
	return nil
}

func (st *stream) flush() error {
	if err := st.rc.SetWriteDeadline(time.Now().Add(st.server.WriteTimeout)); err != nil {
		return fmt.Errorf("write to stream: %w", err)
	}
	if err := st.rc.Flush(); err != nil {
		return fmt.Errorf("write to stream: %w", err)
	}
	return nil
}
