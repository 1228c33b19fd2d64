package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// LinkState is how an event stream's connection is.
type LinkState int

// Live: events arrive as they happen. Reconnecting: the connection was lost and is tried again after Wait.
const (
	Live LinkState = iota
	Reconnecting
)

// Link tells about an event stream's connection. The training goes on whatever it says.
type Link struct {
	State LinkState
	Err   error         // why, when Reconnecting
	Wait  time.Duration // until the next try
}

// maxLine bounds one line of a stream: a record is at most runspec.MaxRecordBytes before its envelope.
const maxLine = 4 * runspec.MaxRecordBytes

// Events yields every event of a task after the number `after`, once and in order, and reconnects by itself. It ends
// after the task's terminal state, when ctx ends, or after yielding a final error (unknown task, sign-in needed).
// onLink may be nil; it is called from the consumer's goroutine.
// Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
func (c *Client) Events(ctx context.Context, task string, after int64, onLink func(Link)) iter.Seq2[api.Event, error] {
	return func(yield func(api.Event, error) bool) {
		s := stream{c: c, task: task, last: after, yield: yield, onLink: onLink}
		if s.onLink == nil {
			s.onLink = func(Link) {}
		}
		s.run(ctx)
	}
}

// stream is one consumer's position in a task's events.
type stream struct {
	c      *Client
	task   string
	last   int64
	yield  func(api.Event, error) bool
	onLink func(Link)
	wait   backoff
	ended  bool // the consumer left, or the terminal state was yielded
}

func (s *stream) run(ctx context.Context) {
	for {
		err := s.connect(ctx)
		if s.ended || ctx.Err() != nil {
			return
		}
		if err == nil { // a clean end: the server's limit on a stream's life, or nothing more to come
			over, taskErr := s.over(ctx)
			if over {
				return
			}
			err = taskErr
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !passing(err) {
			s.yield(api.Event{}, err)
			return
		}
		d := s.wait.next(s.c.timing)
		if err != nil {
			s.onLink(Link{State: Reconnecting, Err: err, Wait: d})
		}
		if pause(ctx, d) != nil {
			return
		}
	}
}

// over asks whether the task has ended and everything of it was yielded.
func (s *stream) over(ctx context.Context) (bool, error) {
	t, err := s.c.Task(ctx, s.task)
	if err != nil {
		return false, err
	}
	return Terminal(t.State) && t.LastEvent <= s.last, nil
}

// connect reads one connection to its end; nil means that the server closed it in good order.
func (s *stream) connect(ctx context.Context) error {
	ctx, dog, cancel := guard(ctx, s.c.timing.silence)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.c.url("tasks", s.task, "events"), http.NoBody)
	if err != nil {
		return fmt.Errorf("watch task %s: %w", s.task, err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if s.last > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(s.last, 10))
	}
	resp, err := s.c.send(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return s.c.refusal(resp)
	}
	s.onLink(Link{State: Live})
	err = readMessages(watched{resp.Body, dog}, s.handle)
	if err == nil || s.ended {
		return nil
	}
	var said *api.Error
	if errors.As(err, &said) {
		return err
	}
	return s.c.linkError(ctx, err)
}

// errEnded stops readMessages after the consumer left or the story was over.
var errEnded = errors.New("stream ended")

func (s *stream) handle(m message) error {
	if m.data == "" {
		return nil
	}
	var e api.Event
	if err := json.Unmarshal([]byte(m.data), &e); err != nil {
		return s.c.garbled(fmt.Errorf("event %s: %w", m.id, err))
	}
	if e.Id <= s.last { // sent again after a reconnect
		return nil
	}
	s.last = e.Id
	s.wait = backoff{}
	if !s.yield(e, nil) {
		s.ended = true
		return errEnded
	}
	if st, ok := e.Record.Body.(runspec.State); ok && Terminal(api.State(st.State)) {
		s.ended = true
		return errEnded
	}
	return nil
}

// message is one server-sent event.
type message struct{ id, event, data string }

// readMessages calls handle for each message; nil at a clean end of the stream. A message cut off by the end is dropped,
// as the format wants.
func readMessages(r io.Reader, handle func(message) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 16<<10), maxLine)
	lines.Split(splitLines)
	var m message
	var data []string
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			m.data = strings.Join(data, "\n")
			if err := handle(m); err != nil {
				return err
			}
			m, data = message{}, data[:0]
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			data = append(data, value)
		}
	}
	return lines.Err()
}

// splitLines is bufio.ScanLines, but drops a last line without its newline: it was cut off.
func splitLines(data []byte, atEOF bool) (int, []byte, error) {
	n, line, err := bufio.ScanLines(data, false)
	if n == 0 && err == nil && atEOF {
		return len(data), nil, nil
	}
	return n, line, err
}
