package cli

import (
	"fmt"
	"time"
)

// How often progress is said: in a terminal the line is redrawn, elsewhere a line is added. What is quick says nothing.
const (
	redrawEvery = 250 * time.Millisecond
	lineSoon    = 2 * time.Second  // at least, between lines
	lineEvery   = 10 * time.Second // at most, when less than lineStep was done
	lineStep    = 5                // percent
)

// meter shows how far a long work is, on standard error.
type meter struct {
	c       *command
	label   string
	last    time.Time // when the line was said, or the work began
	percent int       // said then
	drawn   bool      // a line is on the screen, without its end
}

// set says that done of total is reached; total 0: not known.
func (m *meter) set(label string, done, total int64, detail string) {
	if m.c.quiet || m.c.json {
		return
	}
	now, percent := m.c.Now(), -1
	if total > 0 {
		percent = int(100 * done / total)
	}
	if label != m.label {
		m.end()
		m.label, m.last, m.percent = label, now, 0
		return
	}
	if !m.due(now.Sub(m.last), percent) {
		return
	}
	m.last, m.percent = now, percent
	text := label
	if percent >= 0 {
		text += fmt.Sprintf(" %3d %%", percent)
	}
	if detail != "" {
		text += "  " + detail
	}
	if m.c.ErrTerminal {
		_, _ = fmt.Fprintf(m.c.Err, "\r\x1b[K%s", text)
		m.drawn = true
		return
	}
	_, _ = fmt.Fprintln(m.c.Err, text)
}

func (m *meter) due(since time.Duration, percent int) bool {
	if m.c.ErrTerminal {
		return since >= redrawEvery
	}
	return since >= lineEvery || since >= lineSoon && percent >= m.percent+lineStep
}

// end wipes the line, so that other text can take its place.
func (m *meter) end() {
	if m.drawn {
		_, _ = fmt.Fprint(m.c.Err, "\r\x1b[K")
		m.drawn = false
	}
	m.label = ""
}
