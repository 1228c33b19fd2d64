package app

import (
	"net"
	"net/url"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/frame"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// The smallest terminal in which every screen still says what it must.
const (
	minWidth  = 60
	minHeight = 18
)

// View draws the frame and the active screen into it.
func (m *Model) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	v.ReportFocus = true
	if m.mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	st := m.screens[m.active].Status()
	v.WindowTitle = "cultivar"
	if st.Text != "" {
		v.WindowTitle = st.Text + " " + m.env.Theme.Glyphs.Dash + " cultivar"
	}
	v.ProgressBar = m.progress()
	return v
}

// progress reports the longest work under way, shown or not.
func (m *Model) progress() *tea.ProgressBar {
	for _, name := range []screen.Name{screen.Train, screen.Run} {
		st := m.screens[name].Status()
		switch {
		case st.Failed:
			return tea.NewProgressBar(tea.ProgressBarError, 100)
		case st.Working && st.Progress >= 0:
			return tea.NewProgressBar(tea.ProgressBarDefault, st.Progress)
		case st.Working:
			return tea.NewProgressBar(tea.ProgressBarIndeterminate, 0)
		}
	}
	return nil
}

func (m *Model) lines() []string {
	if m.width == 0 || m.height == 0 {
		return nil
	}
	if m.width < minWidth || m.height < minHeight {
		return m.tooSmall()
	}
	t := m.env.Theme
	g := t.Glyphs
	out := []string{m.header()}
	for _, line := range text.Block(m.screens[m.active].View(), m.width-2, m.height-3, g.Ellipsis) {
		out = append(out, m.edge(line, true)+line+m.edge(line, false))
	}
	out = append(out, t.Border.Render(g.BottomLeft+strings.Repeat(g.Horizontal, m.width-2)+g.BottomRight), m.footer())
	switch {
	case m.dialog != nil:
		out = frame.Over(out, m.dialogBox(), m.width, m.height)
	case m.list != nil:
		out = frame.Over(out, m.listBox(), m.width, m.height)
	}
	return out
}

// edge is the frame beside a line; where a rule meets it, it branches.
func (m *Model) edge(line string, left bool) string {
	g := m.env.Theme.Glyphs
	bare := ansi.Strip(line)
	s := g.Vertical
	switch {
	case left && strings.HasPrefix(bare, g.Horizontal+g.Horizontal), left && strings.HasPrefix(bare, g.Horizontal+" "):
		s = g.TeeLeft
	case !left && strings.HasSuffix(bare, g.Horizontal):
		s = g.TeeRight
	}
	return m.env.Theme.Border.Render(s)
}

func (m *Model) tooSmall() []string {
	lines := []string{text.Cut("This window is too small.", m.width, ""), text.Cut("Enlarge it, or make the letters smaller.", m.width, "")}
	if st := m.screens[screen.Run].Status(); st.Working {
		lines = append(lines, text.Cut(st.Text, m.width, ""))
	}
	return text.Block(lines, m.width, m.height, "")
}

// spot is a piece of the screen that can be clicked.
type spot struct {
	y, from, to int
	run         func() tea.Cmd
}

func (m *Model) header() string {
	t := m.env.Theme
	g := t.Glyphs
	left := t.Border.Render(g.TopLeft+g.Horizontal) + " "
	for i, tab := range tabs {
		label := string(rune('1'+i)) + " " + tab.title
		switch {
		case tab.name == m.active, tab.name == screen.Runs && m.active == screen.Run:
			left += t.Accent.Underline(true).Render(label)
		default:
			left += t.Dim.Render(label)
		}
		left += " "
	}
	room := m.width - text.Width(left) - 3
	right := m.where(room - 2)
	fill := room - text.Width(right) - 1
	return left + t.Border.Render(strings.Repeat(g.Horizontal, max(0, fill))) + " " + right + " " + t.Border.Render(g.Horizontal+g.TopRight)
}

// where says what the screen is about and how the connection is. Where there is no room for both, the latter stays whole.
func (m *Model) where(w int) string {
	ell := m.env.Theme.Glyphs.Ellipsis
	st := m.screens[m.active].Status()
	link := m.how()
	if st.Link != "" && m.link != signedOut {
		link = st.Link
	}
	if name := text.Cut(st.Text, w-text.Width(link)-1, ell); name != "" {
		link = name + " " + link
	}
	return text.Cut(link, w, ell)
}

// how is the state of the connection.
func (m *Model) how() string {
	t := m.env.Theme
	g := t.Glyphs
	switch m.link {
	case connecting:
		return t.Dim.Render(g.Wait + " connecting")
	case refused:
		return t.Bad.Render(g.Cross + " no server")
	case away:
		return t.Warn.Render(g.Warn + " unavailable")
	case signedOut:
		return t.Bad.Render(g.Cross + " not signed in")
	case connected:
	}
	return t.Good.Render(g.Active) + " " + m.server()
}

// server is what the server is called: the name of its machine when that is another one.
func (m *Model) server() string {
	u, err := url.Parse(m.env.Client.Server())
	if err != nil || u.Scheme == "unix" || u.Hostname() == "localhost" {
		return "ready"
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsLoopback() {
		return "ready"
	}
	return text.Safe(u.Host)
}

func (m *Model) footer() string {
	t := m.env.Theme
	if m.toast != "" {
		return text.Fit(" "+t.Accent.Render(m.toast), m.width, t.Glyphs.Ellipsis)
	}
	s := " "
	for _, a := range m.shown() {
		s += t.Key.Render(a.Show) + " " + t.Dim.Render(a.Short) + "  "
	}
	return text.Fit(strings.TrimRight(s, " "), m.width, t.Glyphs.Ellipsis)
}

// shown are the actions that fit into the footer; the list of all of them is always the last. While text is typed, other
// keys than these two are text.
func (m *Model) shown() []keys.Action {
	if m.screens[m.active].Typing() {
		press := func(code rune) func() tea.Cmd {
			return func() tea.Cmd { return m.key(tea.KeyPressMsg{Code: code}) }
		}
		return []keys.Action{{Show: "enter", Short: "take it", Run: press(tea.KeyEnter)}, {Show: "esc", Short: "leave it", Run: press(tea.KeyEscape)}}
	}
	global := keys.Actions(m.global(), m)
	help := global[0]
	all := append(slices.DeleteFunc(global[1:], func(a keys.Action) bool { return a.Short == "" }), m.screens[m.active].Actions()...)
	room := m.width - 2 - len(help.Show+help.Short) - 1
	var out []keys.Action
	for _, a := range all {
		n := text.Width(a.Show+a.Short) + 3
		before := slices.ContainsFunc(out, func(b keys.Action) bool { return b.Show == a.Show }) // a global key goes first
		if a.Short == "" || n > room || before {
			continue
		}
		room -= n
		out = append(out, a)
	}
	return append(out, help)
}

// spots are computed from the same words that header and footer draw.
func (m *Model) spots() []spot {
	var out []spot
	x := 3
	for i, tab := range tabs {
		n := len(tab.title) + 2
		out = append(out, spot{y: 0, from: x, to: x + n, run: func() tea.Cmd { return m.show(tabs[i].name) }})
		x += n + 1
	}
	x = 1
	for _, a := range m.shown() {
		n := text.Width(a.Show+a.Short) + 1
		out = append(out, spot{y: m.height - 1, from: x, to: x + n, run: a.Run})
		x += n + 2
	}
	return out
}
