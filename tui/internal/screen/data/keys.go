package data

import (
	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// dataKeys is the key table while photos are shown.
var dataKeys = []keys.Binding[*Model]{
	{Keys: []string{"n"}, Short: "next: train", Help: "Go on to the training settings", When: func(m *Model) bool { ok, _ := m.trainable(); return ok }, Do: func(m *Model) tea.Cmd {
		return screen.Send(screen.OpenTrain{Dataset: m.dataset()})
	}},
	{Keys: []string{"up", "k"}, Show: "up", Help: "Row up", Do: func(m *Model) tea.Cmd { return m.move(-1) }},
	{Keys: []string{"down", "j"}, Show: "down", Help: "Row down", Do: func(m *Model) tea.Cmd { return m.move(1) }},
	{Keys: []string{"tab", "shift+tab"}, Show: "tab", Short: "classes / problems", Help: "Go between classes and problems", Do: (*Model).switchPane},
	{Keys: []string{"right", "l"}, Show: "right", Short: "more photos", Help: "Next page of photos", When: (*Model).hasPages, Do: func(m *Model) tea.Cmd { return m.turn(1) }},
	{Keys: []string{"left", "h"}, Show: "left", Help: "Page of photos before", When: (*Model).hasPages, Do: func(m *Model) tea.Cmd { return m.turn(-1) }},
	{Keys: []string{"enter"}, Short: "files", Help: "List the files of a problem", When: (*Model).canOpen, Do: (*Model).openGroup},
	{Keys: []string{"x"}, Short: "leave out", Help: "Leave the file, or all files of the problem, out of the training; again takes them back", When: (*Model).canLeave, Do: (*Model).leave},
	{Keys: []string{"o"}, Short: "other folder", Help: "Pick another folder", Do: func(m *Model) tea.Cmd {
		m.stopScan()
		if m.stage == scanning {
			m.manifest, m.root = nil, ""
		}
		return m.browse(m.env.WorkDir)
	}},
	{Keys: []string{"r"}, Help: "Scan the folder again", When: func(m *Model) bool { return m.stage == ready }, Do: func(m *Model) tea.Cmd { return m.scan(m.root) }},
	{Keys: []string{"esc"}, Help: "One level back", When: func(m *Model) bool { return m.group >= 0 || m.stage == scanning }, Do: func(m *Model) tea.Cmd {
		if m.group >= 0 {
			m.group = -1
			return nil
		}
		return m.giveUp()
	}},
	{Keys: []string{"pgup", "ctrl+u"}, Show: "pgup", Help: "Page up", Do: func(m *Model) tea.Cmd { return m.move(-10) }},
	{Keys: []string{"pgdown", "ctrl+d"}, Show: "pgdn", Help: "Page down", Do: func(m *Model) tea.Cmd { return m.move(10) }},
	{Keys: []string{"g", "home"}, Help: "First row", Do: func(m *Model) tea.Cmd { return m.move(-1 << 20) }},
	{Keys: []string{"G", "end"}, Help: "Last row", Do: func(m *Model) tea.Cmd { return m.move(1 << 20) }},
}

func (m *Model) move(by int) tea.Cmd {
	clamp := func(v, n int) int { return min(max(0, v+by), max(0, n-1)) }
	switch {
	case m.pane == classPane:
		before := m.class
		if m.class = clamp(m.class, len(m.rows())); m.class != before {
			m.page = 0
		}
		return m.loadThumb()
	case m.group >= 0:
		m.file = clamp(m.file, len(m.groups[m.group].problems))
	default:
		m.problem = clamp(m.problem, len(m.groups))
	}
	return nil
}

func (m *Model) switchPane() tea.Cmd {
	if m.pane == classPane && len(m.groups) > 0 {
		m.pane = problemPane
	} else {
		m.pane = classPane
	}
	return nil
}

func (m *Model) hasPages() bool { return m.pages() > 1 }

func (m *Model) turn(by int) tea.Cmd {
	m.page = min(max(0, m.page+by), m.pages()-1)
	return m.loadThumb()
}

func (m *Model) canOpen() bool { return m.pane == problemPane && m.group < 0 && len(m.groups) > 0 }

func (m *Model) openGroup() tea.Cmd {
	m.group, m.file = m.problem, 0
	return nil
}

// touched are the images that x would leave out or take back.
func (m *Model) touched() []string {
	if m.pane != problemPane || m.problem >= len(m.groups) || m.manifest == nil {
		return nil
	}
	problems := m.groups[m.problem].problems
	if m.group >= 0 {
		problems = m.groups[m.group].problems[m.file : m.file+1]
	}
	used := map[string]bool{}
	for _, im := range m.manifest.Images {
		used[im.Path] = true
	}
	var out []string
	for _, p := range problems {
		if p.Path != "" && used[p.Path] {
			out = append(out, p.Path)
		}
	}
	return out
}

func (m *Model) canLeave() bool { return len(m.touched()) > 0 }

func (m *Model) leave() tea.Cmd {
	paths := m.touched()
	back := true
	for _, p := range paths {
		back = back && m.left[p]
	}
	for _, p := range paths {
		if back {
			delete(m.left, p)
		} else {
			m.left[p] = true
		}
	}
	words := text.Some(len(paths), "file is", "files are") + " left out; the originals stay as they are."
	if back {
		words = text.Some(len(paths), "file is", "files are") + " used again."
	}
	return screen.Send(screen.Toast{Text: words})
}
