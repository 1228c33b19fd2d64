package data

import (
	"os"
	"path/filepath"
	"strings"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
)

// picker is the list of folders to choose from.
type picker struct {
	input   textinput.Model
	dir     string
	entries []entry
	recent  []string
	cursor  int
	err     error // why the folder cannot be listed
	refused error // why the last scan failed
}

// entry is one row: a folder, the one above, or one used before.
type entry struct {
	path   string
	kind   kind
	survey survey
	looked bool
}

type kind int

const (
	sub kind = iota
	above
	here
	recent
)

func (m *Model) chosen() *entry {
	if m.pick.cursor < len(m.pick.entries) {
		return &m.pick.entries[m.pick.cursor]
	}
	return nil
}

// pickKeys is the key table of the folder list.
var pickKeys = []keys.Binding[*Model]{
	{Keys: []string{"enter"}, Short: "open", Help: "Scan the folder, or look into it when it is no dataset", Do: (*Model).enter},
	{Keys: []string{"/", "i"}, Short: "type a path", Help: "Type or paste the path of a folder", Do: func(m *Model) tea.Cmd { return m.pick.input.Focus() }},
	{Keys: []string{"right", "l"}, Show: "right", Short: "look inside", Help: "Look into the folder", Do: func(m *Model) tea.Cmd { return m.into() }},
	{Keys: []string{"left", "h", "backspace"}, Show: "left", Short: "up", Help: "Go to the folder above", Do: func(m *Model) tea.Cmd { return m.browse(filepath.Dir(m.pick.dir)) }},
	{Keys: []string{"s"}, Short: "scan", Help: "Scan the folder whatever it looks like", Do: func(m *Model) tea.Cmd {
		if e := m.chosen(); e != nil {
			return m.scan(e.path)
		}
		return nil
	}},
	{Keys: []string{"up", "k"}, Show: "up", Help: "Row up", Do: func(m *Model) tea.Cmd { return m.movePick(-1) }},
	{Keys: []string{"down", "j"}, Show: "down", Help: "Row down", Do: func(m *Model) tea.Cmd { return m.movePick(1) }},
	{Keys: []string{"pgup", "ctrl+u"}, Show: "pgup", Help: "Page up", Do: func(m *Model) tea.Cmd { return m.movePick(-10) }},
	{Keys: []string{"pgdown", "ctrl+d"}, Show: "pgdn", Help: "Page down", Do: func(m *Model) tea.Cmd { return m.movePick(10) }},
	{Keys: []string{"g", "home"}, Help: "First row", Do: func(m *Model) tea.Cmd { return m.movePick(-1 << 20) }},
	{Keys: []string{"G", "end"}, Help: "Last row", Do: func(m *Model) tea.Cmd { return m.movePick(1 << 20) }},
	{Keys: []string{"esc"}, Help: "Back to the photos", When: func(m *Model) bool { return m.manifest != nil }, Do: func(m *Model) tea.Cmd { m.stage = ready; return m.loadThumb() }},
}

func (m *Model) movePick(by int) tea.Cmd {
	m.pick.cursor = min(max(0, m.pick.cursor+by), max(0, len(m.pick.entries)-1))
	return nil
}

func (m *Model) enter() tea.Cmd {
	e := m.chosen()
	switch {
	case e == nil:
		return nil
	case e.kind == recent, e.survey.classes >= 2, e.kind == here:
		return m.scan(e.path)
	}
	return m.browse(e.path)
}

func (m *Model) into() tea.Cmd {
	if e := m.chosen(); e != nil {
		return m.browse(e.path)
	}
	return nil
}

// typed edits the path field.
func (m *Model) typed(msg tea.KeyPressMsg) tea.Cmd {
	switch msg.String() {
	case "esc":
		m.pick.input.Blur()
		return nil
	case "enter":
		path := cleanPath(m.pick.input.Value())
		m.pick.input.Blur()
		if path == "" {
			return nil
		}
		return m.goTo(path)
	}
	var cmd tea.Cmd
	m.pick.input, cmd = m.pick.input.Update(msg)
	return cmd
}

// cleanPath understands what terminals make of a folder dragged into them: quotes, escaped spaces, file:// and ~.
func cleanPath(s string) string {
	s = strings.TrimSpace(s)
	if n := len(s); n >= 2 && (s[0] == '\'' || s[0] == '"') && s[n-1] == s[0] {
		s = s[1 : n-1]
	} else if os.PathSeparator == '/' {
		s = unescape(s)
	}
	s = strings.TrimPrefix(s, "file://")
	if rest, ok := strings.CutPrefix(s, "~"); ok && (rest == "" || rest[0] == '/') {
		if dir, err := os.UserHomeDir(); err == nil {
			s = dir + rest
		}
	}
	return s
}

// unescape drops the backslash before a character, as a shell does.
func unescape(s string) string {
	var b strings.Builder
	escaped := false
	for _, r := range s {
		if r == '\\' && !escaped {
			escaped = true
			continue
		}
		escaped = false
		b.WriteRune(r)
	}
	return b.String()
}
