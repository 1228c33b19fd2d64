package train

import (
	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
)

// bindings is the one table of this screen's keys.
var bindings = []keys.Binding[*Model]{
	{Keys: []string{"n"}, Short: "start training", Help: "Send the photos and start training", When: func(m *Model) bool { return m.cancel == nil }, Do: (*Model).start},
	{Keys: []string{"S", "esc"}, Short: "stop upload", Help: "Stop the upload; what arrived is kept", When: func(m *Model) bool { return m.cancel != nil }, Do: (*Model).askStop},
	{Keys: []string{"enter", "space"}, Short: "choose", Help: "Choose the base model, or change the value", When: (*Model).idle, Do: (*Model).choose},
	{Keys: []string{"right", "l"}, Show: "right", Help: "Next value of the list", When: (*Model).idle, Do: func(m *Model) tea.Cmd { return m.step(1) }},
	{Keys: []string{"left", "h"}, Show: "left", Help: "Value before in the list", When: (*Model).idle, Do: func(m *Model) tea.Cmd { return m.step(-1) }},
	{Keys: []string{"p"}, Short: "preset", Help: "Go to the next preset: quick, balanced, best", When: (*Model).idle, Do: func(m *Model) tea.Cmd {
		next := map[runspec.Preset]runspec.Preset{runspec.Quick: runspec.Balanced, runspec.Balanced: runspec.Best, runspec.Best: runspec.Quick}
		m.usePreset(next[m.recipe.Preset])
		return nil
	}},
	{Keys: []string{"a"}, Short: "all settings", Help: "Show or hide the advanced settings", When: (*Model).idle, Do: func(m *Model) tea.Cmd {
		m.advanced = !m.advanced
		return m.move(0)
	}},
	{Keys: []string{"d", "delete"}, Short: "default", Help: "Give the value under the cursor its preset's value back", When: (*Model).changed, Do: (*Model).reset},
	{Keys: []string{"y"}, Short: "copy command", Help: "Copy the equivalent command line", Do: func(m *Model) tea.Cmd {
		return tea.Batch(tea.SetClipboard(m.command()), screen.Send(screen.Toast{Text: "Copied: " + m.command()}))
	}},
	{Keys: []string{"up", "k"}, Show: "up", Help: "Row up", Do: func(m *Model) tea.Cmd { return m.move(-1) }},
	{Keys: []string{"down", "j"}, Show: "down", Help: "Row down", Do: func(m *Model) tea.Cmd { return m.move(1) }},
	{Keys: []string{"g", "home"}, Help: "First row", Do: func(m *Model) tea.Cmd { return m.move(-1 << 20) }},
	{Keys: []string{"G", "end"}, Help: "Last row", Do: func(m *Model) tea.Cmd { return m.move(1 << 20) }},
}

func (m *Model) idle() bool { return m.cancel == nil }

func (m *Model) changed() bool {
	if m.extra() != noExtra {
		return m.wished()
	}
	f, ok := m.field()
	return ok && f.Name != "preset" && f.Get(m.recipe) != f.Default(m.recipe.Preset)
}
