package app

import (
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/tui/internal/widget/frame"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// actionList is the searchable list of everything that can be done now.
type actionList struct {
	query  textinput.Model
	all    []keys.Action
	cursor int
}

func (m *Model) openList() tea.Cmd {
	q := textinput.New()
	q.Prompt = "/ "
	q.Placeholder = "type to search"
	q.SetVirtualCursor(true)
	l := &actionList{query: q, all: append(m.screens[m.active].Actions(), keys.Actions(m.global(), m)...)}
	m.list = l
	return l.query.Focus()
}

func (l *actionList) found() []keys.Action { return keys.Filter(l.all, l.query.Value()) }

func (l *actionList) update(msg tea.Msg) tea.Cmd {
	var cmd tea.Cmd
	l.query, cmd = l.query.Update(msg)
	l.cursor = min(l.cursor, max(0, len(l.found())-1))
	return cmd
}

func (m *Model) listKey(msg tea.KeyPressMsg) tea.Cmd {
	l := m.list
	found := l.found()
	switch msg.String() {
	case "esc":
		m.list = nil
	case "up", "ctrl+p":
		l.cursor = max(0, l.cursor-1)
	case "down", "ctrl+n":
		l.cursor = min(max(0, len(found)-1), l.cursor+1)
	case "enter":
		m.list = nil
		if l.cursor < len(found) {
			return found[l.cursor].Run()
		}
	default:
		return l.update(msg)
	}
	return nil
}

func (m *Model) listBox() []string {
	t, w := m.env.Theme, min(76, m.width-4)
	h := min(16, m.height-8)
	m.list.query.SetWidth(max(4, w-10))
	lines := []string{m.list.query.View(), ""}
	found := m.list.found()
	from, to := frame.Window(len(found), m.list.cursor, h)
	for i := from; i < to; i++ {
		key := text.Fit(found[i].Show, 10, t.Glyphs.Ellipsis)
		row := text.Fit(" "+key+" "+found[i].Help, w-4, t.Glyphs.Ellipsis)
		if i == m.list.cursor {
			row = t.Selected.Render(row)
		} else {
			row = " " + t.Key.Render(key) + " " + found[i].Help
		}
		lines = append(lines, row)
	}
	for i := to - from; i < h; i++ {
		lines = append(lines, "")
	}
	if len(found) == 0 {
		lines[2] = t.Dim.Render(" Nothing here is called so. Backspace widens the search.")
	}
	lines = append(lines, "", t.Dim.Render("enter runs it, esc closes     cultivar "+m.options.Version))
	return frame.Box(t, w, "What can be done here", lines)
}
