// Package runs is the screen with the list of trainings. It opens them and deletes finished ones; it follows none.
package runs

import (
	"fmt"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/frame"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// refresh is how often the list is asked for while a run is active.
const refresh = 3 * time.Second

// Model is the screen.
type Model struct {
	env    *screen.Env
	w, h   int
	runs   []api.Run
	next   string // cursor of the page after; empty: all are here
	loaded bool
	asking bool
	timed  bool // a refresh is due by itself
	failed error
	cursor int
}

// New makes the screen; it asks for the list when it is shown.
func New(env *screen.Env) *Model { return &Model{env: env} }

type loadedMsg struct {
	page   api.RunPage
	cursor string
	err    error
}

type dueMsg struct{}

type deletedMsg struct {
	id  string
	err error
}

// Shown asks for the newest runs.
func (m *Model) Shown() tea.Cmd { return m.load("") }

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

// Status tells the root how many runs there are, and that active ones go on.
func (m *Model) Status() screen.Status {
	st := screen.Status{Progress: -1}
	if m.loaded {
		st.Text = text.Some(len(m.runs), "run", "runs")
	}
	if n := m.active(); n > 0 {
		st.Leaving = text.Some(n, "training goes", "trainings go") + " on. See them with: cultivar runs"
	}
	return st
}

func (m *Model) active() int {
	n := 0
	for _, r := range m.runs {
		if !screen.Terminal(r.State) {
			n++
		}
	}
	return n
}

func (m *Model) load(cursor string) tea.Cmd {
	if m.env.Client == nil || m.asking {
		return nil
	}
	m.asking = true
	ctx, c := m.env.Ctx, m.env.Client
	return func() tea.Msg {
		page, err := c.Runs(ctx, cursor)
		return loadedMsg{page: page, cursor: cursor, err: err}
	}
}

// Update takes the list.
func (m *Model) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case screen.Connected:
		return m.load("")
	case dueMsg:
		m.timed = false
		return m.load("")
	case loadedMsg:
		return m.took(msg)
	case deletedMsg:
		if msg.err != nil {
			return screen.Send(screen.Toast{Text: msg.err.Error()})
		}
		m.runs = slices.DeleteFunc(m.runs, func(r api.Run) bool { return r.Id == msg.id })
		m.cursor = min(m.cursor, max(0, len(m.runs)-1))
	}
	return nil
}

func (m *Model) took(msg loadedMsg) tea.Cmd {
	m.asking = false
	if m.failed = msg.err; msg.err != nil {
		return screen.Send(screen.Trouble{Err: msg.err}) // Connected asks again
	}
	m.loaded = true
	if msg.cursor == "" {
		chosen := ""
		if m.cursor < len(m.runs) {
			chosen = m.runs[m.cursor].Id
		}
		m.merge(msg.page)
		if i := slices.IndexFunc(m.runs, func(r api.Run) bool { return r.Id == chosen }); i >= 0 && m.cursor > 0 {
			m.cursor = i
		}
	} else {
		m.runs = append(m.runs, msg.page.Runs...)
		m.next = value(msg.page.Next)
	}
	m.cursor = min(m.cursor, max(0, len(m.runs)-1))
	if m.active() == 0 || m.timed {
		return nil
	}
	m.timed = true
	return tea.Tick(refresh, func(time.Time) tea.Msg { return dueMsg{} })
}

// merge renews the newest page and keeps older pages that were asked for before.
func (m *Model) merge(page api.RunPage) {
	fresh := map[string]bool{}
	for _, r := range page.Runs {
		fresh[r.Id] = true
	}
	last := 0
	if n := len(page.Runs); n > 0 {
		last = page.Runs[n-1].Number
	}
	older := slices.DeleteFunc(m.runs, func(r api.Run) bool { return fresh[r.Id] || r.Number >= last })
	if len(older) == 0 || page.Next == nil {
		m.next, older = value(page.Next), nil
	}
	m.runs = append(append([]api.Run{}, page.Runs...), older...)
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// bindings is the one table of this screen's keys.
var bindings = []keys.Binding[*Model]{
	{Keys: []string{"enter", "right", "l"}, Short: "open", Help: "Open the run: its results, or live while it trains", When: (*Model).any, Do: (*Model).open},
	{Keys: []string{"w"}, Short: "curves", Help: "Show the run's curves and story", When: (*Model).any, Do: func(m *Model) tea.Cmd { return screen.Send(screen.OpenRun{Run: m.runs[m.cursor]}) }},
	{Keys: []string{"D"}, Short: "delete", Help: "Delete a finished run and its files", When: func(m *Model) bool { return m.any() && screen.Terminal(m.runs[m.cursor].State) }, Do: (*Model).askDelete},
	{Keys: []string{"r"}, Short: "refresh", Help: "Ask for the list again", Do: func(m *Model) tea.Cmd { return m.load("") }},
	{Keys: []string{"up", "k"}, Show: "up", Help: "Row up", Do: func(m *Model) tea.Cmd { return m.move(-1) }},
	{Keys: []string{"down", "j"}, Show: "down", Help: "Row down", Do: func(m *Model) tea.Cmd { return m.move(1) }},
	{Keys: []string{"pgup", "ctrl+u"}, Show: "pgup", Help: "Page up", Do: func(m *Model) tea.Cmd { return m.move(-10) }},
	{Keys: []string{"pgdown", "ctrl+d"}, Show: "pgdn", Help: "Page down", Do: func(m *Model) tea.Cmd { return m.move(10) }},
	{Keys: []string{"g", "home"}, Help: "First row", Do: func(m *Model) tea.Cmd { return m.move(-1 << 20) }},
	{Keys: []string{"G", "end"}, Help: "Last row", Do: func(m *Model) tea.Cmd { return m.move(1 << 20) }},
}

func (m *Model) any() bool { return m.cursor < len(m.runs) }

func (m *Model) open() tea.Cmd {
	r := m.runs[m.cursor]
	if r.State == api.StateSucceeded {
		return screen.Send(screen.OpenResults{Run: r})
	}
	return screen.Send(screen.OpenRun{Run: r})
}

// move goes to another row; at the last one it asks for the page after.
func (m *Model) move(by int) tea.Cmd {
	m.cursor = min(max(0, m.cursor+by), max(0, len(m.runs)-1))
	if m.cursor == len(m.runs)-1 && m.next != "" {
		return m.load(m.next)
	}
	return nil
}

func (m *Model) askDelete() tea.Cmd {
	r := m.runs[m.cursor]
	ctx, c := m.env.Ctx, m.env.Client
	return screen.Send(screen.Ask{
		Title: fmt.Sprintf("Delete %s #%d?", text.Safe(r.Name), r.Number), Verb: "Delete it",
		Text: "Its model files, curves and results are deleted at the server and cannot be had back. Files downloaded before stay.",
		Yes: func() tea.Cmd {
			return func() tea.Msg { return deletedMsg{id: r.Id, err: c.DeleteRun(ctx, r.Id)} }
		},
	})
}

// View draws the list.
func (m *Model) View() []string {
	t := m.env.Theme
	switch {
	case m.failed != nil && len(m.runs) == 0:
		return m.notice(t.Bad.Render(t.Glyphs.Cross+" ")+text.Safe(m.failed.Error()), "r asks again.")
	case m.env.Client == nil && m.env.Refused != nil:
		return m.notice(t.Bad.Render(t.Glyphs.Cross+" ")+text.Safe(m.env.Refused.Error()), "R tries to connect again.")
	case !m.loaded:
		return m.notice("Asking the server" + t.Glyphs.Ellipsis)
	case len(m.runs) == 0:
		return m.notice("Nothing was trained yet.", "Pick a folder of photos under 1 Data; it takes a few minutes from there.")
	}
	name := m.nameWidth()
	out := []string{t.Dim.Render(text.Fit("         #  "+text.Fit("name", name, "")+"  "+text.Fit("state", 18, "")+"  accuracy  "+m.tail("base", "started"), m.w, ""))}
	from, to := frame.Window(len(m.runs), m.cursor, m.h-2)
	for i := from; i < to; i++ {
		out = append(out, m.row(i, name))
	}
	if m.failed != nil {
		out = append(out, " "+t.Warn.Render(t.Glyphs.Warn+" "+text.Safe(m.failed.Error())))
	}
	return out
}

func (m *Model) notice(lines ...string) []string {
	out := make([]string, m.h/3)
	for _, l := range lines {
		for _, part := range text.Wrap(l, max(10, m.w-4)) {
			out = append(out, "  "+part)
		}
	}
	return out
}

func (m *Model) row(i, nameW int) string {
	t := m.env.Theme
	r := m.runs[i]
	glyph, words := m.state(r)
	label := text.Fit(text.Safe(r.Name), nameW, t.Glyphs.Ellipsis)
	cursor := "  "
	if i == m.cursor {
		cursor, label = t.Glyphs.Cursor+" ", t.Selected.Render(label)
	}
	if why := value(r.Reason); r.State == api.StateStarting && why != "" {
		head := " " + cursor + glyph + text.Right(fmt.Sprint(r.Number), 5) + "  " + label + "  "
		return head + text.Cut(words+": "+text.Safe(why), m.w-text.Width(head)-1, t.Glyphs.Ellipsis)
	}
	acc := t.Glyphs.Dash
	switch {
	case r.TestAccuracy != nil:
		acc = text.Percent(float64(*r.TestAccuracy), t.Glyphs)
	case r.ValAccuracy != nil:
		acc = "~" + text.Percent(float64(*r.ValAccuracy), t.Glyphs)
	}
	return " " + cursor + glyph + text.Right(fmt.Sprint(r.Number), 5) + "  " + label + "  " + text.Fit(words, 18, t.Glyphs.Ellipsis) + text.Right(acc, 10) +
		"  " + t.Dim.Render(m.tail(text.Safe(r.Recipe.Base), m.age(r.Created)))
}

// narrow is the width below which the base model is not shown.
const narrow = 90

func (m *Model) nameWidth() int {
	if m.w < narrow {
		return max(8, m.w-54)
	}
	return m.w - 74
}

func (m *Model) tail(base, when string) string {
	if m.w < narrow {
		return when
	}
	return text.Fit(base, 18, m.env.Theme.Glyphs.Ellipsis) + "  " + when
}

// state is a run's state as a glyph and in words.
func (m *Model) state(r api.Run) (glyph, words string) {
	t := m.env.Theme
	g := t.Glyphs
	switch r.State {
	case api.StateSucceeded:
		return t.Good.Render(g.Check), "done"
	case api.StateFailed:
		return t.Bad.Render(g.Cross), "failed"
	case api.StateCancelled:
		return t.Dim.Render(g.Cross), "cancelled"
	case api.StateQueued:
		if r.QueuePosition != nil {
			return t.Dim.Render(g.Wait), fmt.Sprintf("queued, place %d", *r.QueuePosition)
		}
		return t.Dim.Render(g.Wait), "queued"
	case api.StateInterrupted:
		return t.Warn.Render(g.Warn), "interrupted"
	}
	words = string(r.State)
	if r.State == api.StateRunning && r.Epoch != nil {
		words = fmt.Sprintf("training, epoch %d", *r.Epoch)
	} else if p := r.Progress; r.State == api.StateRunning && p != nil && p.Total > 0 {
		words = fmt.Sprintf("%s %d %%", text.Safe(p.Phase), 100*p.Done/p.Total)
	}
	return t.Accent.Render(g.Active), words
}

func (m *Model) age(at time.Time) string {
	d := m.env.Now().Sub(at)
	switch {
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return at.Local().Format("2006-01-02")
}

var _ screen.Screen = (*Model)(nil)
