package app

import (
	"errors"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/theme"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// toastTime is how long a remark stays: long enough to read a sentence.
const toastTime = 5 * time.Second

type toastOverMsg struct{ id int }

// Update routes: resize, then dialog, then a focused text field, then global keys, then the active screen. A message
// that is no user input goes to every screen; each knows its own, shown or not.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.resize()
		return m, m.broadcast(msg) // what depends on the size, such as thumbnails, is loaded anew
	case tea.BackgroundColorMsg:
		m.retheme(theme.Options{Light: !msg.IsDark(), NoColor: !m.env.Theme.Colour})
	case tea.ColorProfileMsg:
		m.retheme(theme.Options{Light: !m.env.Theme.Dark, NoColor: m.options.NoColor || msg.Profile <= colorprofile.Ascii})
	case tea.KeyPressMsg:
		return m, m.key(msg)
	case tea.MouseMsg:
		return m, m.pointer(msg)
	case tea.PasteMsg:
		return m, m.paste(msg)
	case connectedMsg:
		return m, m.answered(msg)
	case toastOverMsg:
		if msg.id == m.toastID {
			m.toast = ""
		}
	case abilitiesMsg:
		return m, m.able(msg)
	case recheckMsg:
		if m.timed = false; m.link == away {
			return m, m.abilities()
		}
	default:
		return m, m.request(msg)
	}
	return m, nil
}

// request does what a screen asks the root for; all else goes to the screens.
func (m *Model) request(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case screen.Toast:
		return m.say(msg.Text)
	case screen.Ask:
		return m.ask(msg)
	case screen.Trouble:
		return m.trouble(msg.Err)
	case screen.Mailed:
		m.env.Mail = msg.Address
	case screen.Back:
		return m.back()
	case screen.Open:
		return m.show(msg.To)
	case screen.OpenTrain:
		m.env.Dataset = &msg.Dataset
		return m.hand(screen.Train, msg)
	case screen.OpenRun:
		return m.hand(screen.Run, msg)
	case screen.OpenResults:
		return m.hand(screen.Results, msg)
	default:
		return m.broadcast(msg)
	}
	return nil
}

func (m *Model) resize() {
	for _, s := range m.screens {
		s.Resize(max(0, m.width-2), max(0, m.height-3))
	}
}

func (m *Model) retheme(o theme.Options) {
	o.ASCII = m.options.ASCII
	m.env.Theme = theme.New(o)
}

func (m *Model) broadcast(msg tea.Msg) tea.Cmd {
	var cmds []tea.Cmd
	for _, s := range m.screens {
		cmds = append(cmds, s.Update(msg))
	}
	return tea.Batch(cmds...)
}

// hand gives a screen its new subject and shows it.
func (m *Model) hand(to screen.Name, msg tea.Msg) tea.Cmd {
	first := m.screens[to].Update(msg)
	return tea.Batch(first, m.show(to))
}

func (m *Model) show(to screen.Name) tea.Cmd {
	if _, ok := m.screens[to]; !ok || to == m.active {
		return nil
	}
	if m.history = append(m.history, m.active); len(m.history) > 16 {
		m.history = m.history[1:]
	}
	return m.turnTo(to)
}

func (m *Model) back() tea.Cmd {
	if len(m.history) == 0 {
		return nil
	}
	to := m.history[len(m.history)-1]
	m.history = m.history[:len(m.history)-1]
	return m.turnTo(to)
}

// turnTo makes a screen the visible one. What the server can do is asked for anew, which tells too whether it is there.
func (m *Model) turnTo(to screen.Name) tea.Cmd {
	m.active, m.env.Active = to, to
	return tea.Batch(m.abilities(), m.screens[to].Shown())
}

// able takes what the server can do; one of an older release does not say.
func (m *Model) able(msg abilitiesMsg) tea.Cmd {
	m.asking = false
	if msg.from != m.env.Client {
		return m.abilities()
	}
	if msg.err != nil && api.Code(msg.err) != api.CodeNotFound {
		return m.trouble(msg.err)
	}
	was := m.link
	m.link = connected
	var cmds []tea.Cmd
	if msg.err == nil {
		m.env.Abilities = &msg.abilities
		cmds = append(cmds, m.broadcast(screen.AbilitiesKnown{}))
	}
	if was != connecting && was != connected {
		cmds = append(cmds, m.broadcast(screen.Connected{}))
	}
	return tea.Batch(cmds...)
}

// trouble says in the top line that the server is away, and asks until it answers. One that does not know the user is
// not asked again: a token does not mend itself, and who tries wrong ones is locked out.
func (m *Model) trouble(err error) tea.Cmd {
	switch code := api.Code(err); {
	case m.env.Client == nil:
	case code == api.CodeUnauthorized && m.link == signedOut:
	case code == api.CodeUnauthorized:
		m.link = signedOut
		return m.say("Sign in again in another terminal with `cultivar login`, then press R.")
	case code == api.CodeUnavailable, errors.Is(err, client.ErrUnreachable):
		if m.link = away; m.timed {
			return nil
		}
		m.timed = true
		return tea.Tick(recheck, func(time.Time) tea.Msg { return recheckMsg{} })
	case m.link == connecting:
		m.link = connected
	}
	return nil
}

func (m *Model) answered(msg connectedMsg) tea.Cmd {
	if msg.err != nil {
		m.link, m.env.Refused = refused, msg.err
		return m.broadcast(screen.Connected{})
	}
	m.link, m.env.Client, m.env.Refused, m.env.Abilities = connecting, msg.client, nil, nil
	return tea.Batch(m.abilities(), m.broadcast(screen.Connected{}))
}

func (m *Model) say(words string) tea.Cmd {
	m.toastID++
	m.toast = text.Safe(words)
	id := m.toastID
	return tea.Tick(toastTime, func(time.Time) tea.Msg { return toastOverMsg{id} })
}

func (m *Model) paste(msg tea.PasteMsg) tea.Cmd {
	switch {
	case m.dialog != nil && m.dialog.input != nil:
		return tea.Batch(m.dialog.enter(), m.dialog.fill(msg))
	case m.dialog != nil:
		return nil
	case m.list != nil:
		return m.list.update(msg)
	}
	return m.screens[m.active].Update(msg)
}

func (m *Model) key(msg tea.KeyPressMsg) tea.Cmd {
	if msg.String() == "ctrl+c" {
		return tea.Quit
	}
	if m.dialog != nil {
		return m.dialogKey(msg)
	}
	if m.list != nil {
		return m.listKey(msg)
	}
	if cmd, ok := m.globalKey(msg); ok {
		return cmd
	}
	if cmd, ok := m.screens[m.active].Key(msg); ok {
		return cmd
	}
	if msg.String() == "esc" {
		return m.back()
	}
	return nil
}

// pointer makes the mouse press what it points at: tabs, footer, and the wheel moves the cursor.
func (m *Model) pointer(msg tea.MouseMsg) tea.Cmd {
	p := msg.Mouse()
	switch msg.(type) {
	case tea.MouseWheelMsg:
		code := tea.KeyDown
		if p.Button == tea.MouseWheelUp {
			code = tea.KeyUp
		}
		return m.key(tea.KeyPressMsg{Code: code})
	case tea.MouseClickMsg:
		if m.dialog != nil || m.list != nil || p.Button != tea.MouseLeft {
			return nil
		}
		for _, spot := range m.spots() {
			if spot.y == p.Y && p.X >= spot.from && p.X < spot.to {
				return spot.run()
			}
		}
	}
	return nil
}
