// Package run is the live screen of one run: how far it is, its curves, what they mean, and its story line by line. It
// starts no training and shows no results; it points to them.
package run

import (
	"context"
	"fmt"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/tui/internal/outbox"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// Model is the screen.
type Model struct {
	env     *screen.Env
	w, h    int
	run     api.Run // empty Id: none chosen
	classes int
	story   story
	link    client.Link
	linked  bool // the stream has answered once
	failed  error
	box     *outbox.Box // share links and mails of the ended run
	cancel  context.CancelFunc
	busy    string // an order under way: "stopping"
	log     bool   // logarithmic Y
	tall    bool   // the story has most of the room
	up      int    // lines scrolled up from the story's end
}

// New makes the screen; it is empty until it is given a run.
func New(env *screen.Env) *Model {
	return &Model{env: env, box: outbox.New(env, screen.Run, "Take the model home: n, then d")}
}

// Shown looks at deliveries only: the stream runs whether the screen is visible or not.
func (m *Model) Shown() tea.Cmd { return m.box.Shown() }

// Resize sets the room for View.
func (m *Model) Resize(w, h int) { m.w, m.h = w, h }

// Typing is never true: the screen has no text field.
func (m *Model) Typing() bool { return false }

// Actions lists what can be done now.
func (m *Model) Actions() []keys.Action { return keys.Actions(bindings, m) }

// Key runs a key of the table.
func (m *Model) Key(msg tea.KeyPressMsg) (tea.Cmd, bool) {
	return keys.Dispatch(bindings, m, msg.String())
}

// state is the newest known state: the stream's, or the list's before the stream spoke.
func (m *Model) state() api.State {
	if m.story.state != "" {
		return m.story.state
	}
	return m.run.State
}

func (m *Model) active() bool { return m.run.Id != "" && !screen.Terminal(m.state()) }

func (m *Model) label() string {
	return fmt.Sprintf("%s #%d", text.Safe(m.run.Name), m.run.Number)
}

// Status tells the root about the run.
func (m *Model) Status() screen.Status {
	if m.run.Id == "" {
		return screen.Status{Progress: -1}
	}
	st := screen.Status{Text: m.label(), Working: m.active(), Progress: -1, Failed: m.state() == api.StateFailed, Link: m.linkText()}
	if i := order(m.story.phase); st.Working && i < len(phases) {
		st.Text += " " + phases[i].short
	}
	if share, ok := m.story.share(); ok {
		st.Progress = int(100 * share)
		if st.Working {
			st.Text += fmt.Sprintf(" %d %%", st.Progress)
		}
	}
	if st.Working {
		st.Leaving = fmt.Sprintf("Training of %s goes on. See it with: cultivar watch %d", m.label(), m.run.Number)
	}
	return st
}

func (m *Model) linkText() string {
	t := m.env.Theme
	switch {
	case !m.active(), m.failed != nil:
		return ""
	case !m.linked:
		return t.Dim.Render(t.Glyphs.Wait + " connecting")
	case m.link.State == client.Reconnecting:
		if m.w < wide {
			return t.Warn.Render(t.Glyphs.Warn + " reconnecting")
		}
		return t.Warn.Render(t.Glyphs.Warn + " reconnecting, training goes on")
	}
	return t.Good.Render(t.Glyphs.Active) + " live"
}
