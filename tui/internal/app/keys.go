package app

import (
	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
)

// tabs are the screens with a number, in order.
var tabs = []struct {
	name  screen.Name
	title string
}{{screen.Data, "Data"}, {screen.Train, "Train"}, {screen.Runs, "Runs"}, {screen.Results, "Results"}}

// global is the key table that holds on every screen.
func (m *Model) global() []keys.Binding[*Model] {
	table := []keys.Binding[*Model]{
		{Keys: []string{"?"}, Short: "all keys", Help: "Search everything that can be done here", Do: (*Model).openList},
		{Keys: []string{"q"}, Help: "Quit; what trains goes on", Do: (*Model).quit},
		{Keys: []string{"R"}, Short: "connect again", Help: "Connect to the server again", When: (*Model).broken, Do: (*Model).reconnect},
		{Keys: []string{"m"}, Help: "Switch the mouse between clicking and selecting text", Do: (*Model).toggleMouse},
		{Keys: []string{"ctrl+l"}, Help: "Draw the screen again", Do: func(*Model) tea.Cmd { return tea.ClearScreen }},
		{Keys: []string{"ctrl+z"}, Help: "Suspend; `fg` returns", Do: func(*Model) tea.Cmd { return tea.Suspend }},
	}
	for i, tab := range tabs {
		table = append(table, keys.Binding[*Model]{
			Keys: []string{string(rune('1' + i))}, Help: "Go to " + tab.title,
			Do: func(m *Model) tea.Cmd { return m.show(tab.name) },
		})
	}
	return table
}

// globalKey runs a global key unless a text field has the focus.
func (m *Model) globalKey(msg tea.KeyPressMsg) (tea.Cmd, bool) {
	if m.screens[m.active].Typing() {
		return nil, false
	}
	return keys.Dispatch(m.global(), m, msg.String())
}

func (m *Model) quit() tea.Cmd {
	for _, s := range m.screens {
		if st := s.Status(); st.Keeps {
			m.dialog = &dialog{ask: screen.Ask{
				Title: "Quit during the upload?",
				Text:  "What was sent is kept: the upload goes on from there when you train this folder again. No training has started yet.",
				Verb:  "Quit", Yes: func() tea.Cmd { return tea.Quit },
			}}
			return nil
		}
	}
	return tea.Quit
}

// broken tells whether connecting anew may help.
func (m *Model) broken() bool { return m.link != connecting && m.link != connected }

func (m *Model) reconnect() tea.Cmd {
	m.link, m.env.Refused = connecting, nil
	return m.connect()
}

func (m *Model) toggleMouse() tea.Cmd {
	m.mouse = !m.mouse
	if m.mouse {
		return m.say("The mouse clicks again.")
	}
	return m.say("The mouse selects text; m gives clicking back.")
}
