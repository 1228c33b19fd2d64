package cli

import (
	"fmt"
	"time"
)

// How often progress is said: in a terminal the line is redrawn, elsewhere a line is added.
const (
	redrawEvery = 250 * time.Millisecond
	lineEvery   = 10 * time.Second
	lineStep    = 5 // percent
)

// meter shows how far a long work is, on standard error.
type meter struct {
	c       *command
	label   string
	last    time.Time
	percent int
	drawn   bool // a line is on the screen, without its end
}

// set says that done of total is reached; total 0: not known.
func (m *meter) set(label string, done, total int64, detail string) {
	if m.c.quiet || m.c.json {
		return
	}
	now, pct := m.c.Now(), -1
	if total > 0 {
		pct = int(100 * done / total)
	}
	fresh := label != m.label
	if fresh {
		m.end()
	}
	since := now.Sub(m.last)
	if m.c.ErrTerminal {
		if !fresh && since < redrawEvery && pct < 100 {
			return
		}
	} else if !fresh && since < lineEvery && (pct < 0 || pct < m.percent+lineStep) {
		return
	}
	if !fresh && pct == m.percent && pct == 100 {
		return
	}
	m.label, m.last, m.percent = label, now, pct
	text := label
	if pct >= 0 {
		text += fmt.Sprintf(" %3d %%", pct)
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

// end leaves the line, so that other text can follow.
func (m *meter) end() {
	if m.drawn {
		_, _ = fmt.Fprintln(m.c.Err)
		m.drawn = false
	}
	m.label, m.percent = "", -1
}
