package app

import (
	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/frame"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// dialog asks before something is lost. The safe answer has the cursor.
type dialog struct {
	ask screen.Ask
	yes bool // cursor on the verb
}

func (m *Model) dialogKey(msg tea.KeyPressMsg) tea.Cmd {
	d := m.dialog
	switch msg.String() {
	case "left", "right", "tab", "shift+tab", "h", "l":
		d.yes = !d.yes
	case "esc", "n", "q":
		m.dialog = nil
	case "enter", "space":
		m.dialog = nil
		if d.yes {
			return d.ask.Yes()
		}
	}
	return nil
}

func (m *Model) dialogBox() []string {
	t, w := m.env.Theme, min(62, m.width-4)
	lines := append([]string{""}, text.Wrap(text.Safe(m.dialog.ask.Text), w-4)...)
	no, yes := " Go back ", " "+m.dialog.ask.Verb+" "
	if m.dialog.yes {
		no, yes = t.Dim.Render(no), t.Selected.Render(yes)
	} else {
		no, yes = t.Selected.Render(no), t.Dim.Render(yes)
	}
	lines = append(lines, "", no+"   "+yes, "", t.Dim.Render("tab changes, enter chooses, esc goes back"))
	return frame.Box(t, w, text.Safe(m.dialog.ask.Title), lines)
}
