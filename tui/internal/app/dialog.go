package app

import (
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/frame"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// dialog asks before something is done that cannot be undone. The safe answer has the cursor, or the field it asks for.
type dialog struct {
	ask    screen.Ask
	yes    bool             // cursor on the verb
	typing bool             // cursor in the field
	input  *textinput.Model // nil: it asks for no text
	wrong  string           // about the text
}

// ask opens a dialog.
func (m *Model) ask(a screen.Ask) tea.Cmd {
	d := &dialog{ask: a}
	m.dialog = d
	if a.Field == nil {
		return nil
	}
	in := textinput.New()
	in.Prompt = ""
	in.SetVirtualCursor(true)
	in.SetValue(a.Field.Value)
	in.CursorEnd()
	d.input, d.typing = &in, true
	return d.input.Focus()
}

func (m *Model) dialogKey(msg tea.KeyPressMsg) tea.Cmd {
	d := m.dialog
	key := msg.String()
	switch {
	case d.typing:
		return m.fieldKey(msg)
	case d.input != nil && (msg.Text != "" && key != "space" || key == "backspace"):
		return tea.Batch(d.enter(), d.fill(msg)) // text goes into the field, wherever the cursor is
	}
	switch key {
	case "left", "right", "h", "l":
		d.yes = !d.yes
	case "tab", "down":
		if d.yes && d.input != nil {
			d.yes = false
			return d.enter()
		}
		d.yes = !d.yes
	case "shift+tab", "up":
		if !d.yes && d.input != nil {
			return d.enter()
		}
		d.yes = !d.yes
	case "esc", "n", "q":
		m.dialog = nil
	case "enter", "space":
		return m.decide()
	}
	return nil
}

// decide does what the cursor stands on.
func (m *Model) decide() tea.Cmd {
	d := m.dialog
	if !d.yes {
		m.dialog = nil
		return nil
	}
	if d.input == nil {
		m.dialog = nil
		return d.ask.Yes()
	}
	if d.wrong = d.ask.Field.Wrong(d.input.Value()); d.wrong != "" {
		return d.enter()
	}
	m.dialog = nil
	return d.ask.Field.Give(d.input.Value())
}

// enter puts the cursor into the field.
func (d *dialog) enter() tea.Cmd {
	d.typing, d.yes = true, false
	return d.input.Focus()
}

// fieldKey takes a key while the cursor is in the field; enter only goes on to the verb.
func (m *Model) fieldKey(msg tea.KeyPressMsg) tea.Cmd {
	d := m.dialog
	switch key := msg.String(); key {
	case "esc":
		m.dialog = nil
	case "tab", "shift+tab", "up", "down", "enter":
		if d.wrong = d.ask.Field.Wrong(d.input.Value()); d.wrong != "" && key == "enter" {
			return nil
		}
		d.typing, d.yes = false, key == "enter" || key == "shift+tab" || key == "up"
		d.input.Blur()
	default:
		return d.fill(msg)
	}
	return nil
}

// fill gives the field what was typed or pasted.
func (d *dialog) fill(msg tea.Msg) tea.Cmd {
	in, cmd := d.input.Update(msg)
	*d.input, d.wrong = in, ""
	return cmd
}

func (m *Model) dialogBox() []string {
	t, w := m.env.Theme, min(62, m.width-4)
	d := m.dialog
	lines := append([]string{""}, text.Wrap(text.Safe(d.ask.Text), w-4)...)
	no, yes := " Go back ", " "+d.ask.Verb+" "
	switch {
	case d.typing:
		no, yes = t.Dim.Render(no), t.Dim.Render(yes)
	case d.yes:
		no, yes = t.Dim.Render(no), t.Selected.Render(yes)
	default:
		no, yes = t.Selected.Render(no), t.Dim.Render(yes)
	}
	keys := "tab changes, enter chooses, esc goes back"
	if d.input != nil {
		label := d.ask.Field.Label + ": "
		d.input.SetWidth(max(8, w-6-text.Width(label)))
		lines = append(lines, "", t.Title.Render(label)+d.input.View())
		for _, l := range text.Wrap(text.Safe(d.wrong), w-4) {
			lines = append(lines, t.Bad.Render(l))
		}
		keys = "enter goes on, tab changes, esc goes back"
	} else {
		lines = append(lines, "")
	}
	lines = append(lines, no+"   "+yes, "", t.Dim.Render(keys))
	return frame.Box(t, w, text.Safe(d.ask.Title), lines)
}
