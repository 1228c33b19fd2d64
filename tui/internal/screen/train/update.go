package train

import (
	"context"
	"errors"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
)

// Update takes what the server told, and asks anew what a training takes when that has changed.
func (m *Model) Update(msg tea.Msg) tea.Cmd {
	cmd := m.take(msg)
	return tea.Batch(cmd, m.foresee())
}

func (m *Model) take(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case screen.OpenTrain:
		if m.cancel == nil {
			m.dataset, m.problem = &msg.Dataset, nil
		}
	case screen.Connected:
		if m.forecast.failed != nil {
			m.forecast.asked, m.forecast.failed = "", nil
		}
		return tea.Batch(m.loadBases(), m.loadRuns())
	case screen.AbilitiesKnown:
		m.able()
	case basesLoadedMsg:
		m.asking = false
		if m.failed = msg.err; msg.err != nil {
			return screen.Send(screen.Trouble{Err: msg.err})
		}
		m.bases, m.basesOK = msg.bases, true
		m.cursor = min(m.cursor, max(0, m.rows()-1))
	case runsLoadedMsg:
		m.takeRuns(msg.runs)
	case sendMsg:
		return m.sentSome(msg)
	case planMsg:
		return m.foreseen(msg)
	case tea.PasteMsg:
		if m.editing {
			var cmd tea.Cmd
			m.input, cmd = m.input.Update(msg)
			m.validate()
			return cmd
		}
	}
	return nil
}

func (m *Model) sentSome(msg sendMsg) tea.Cmd {
	if m.cancel == nil { // stopped meanwhile
		msg.feed.Stop()
		return nil
	}
	for _, it := range msg.items {
		switch {
		case it.err != nil:
			m.stopSending()
			if errors.Is(it.err, context.Canceled) {
				return nil
			}
			m.problem = it.err
			return screen.Send(screen.Trouble{Err: it.err})
		case it.progress != nil:
			m.sending = *it.progress
		case it.sent:
			m.sent = true
		case it.run != nil:
			m.stopSending()
			return screen.Send(screen.OpenRun{Run: *it.run})
		}
	}
	if msg.over {
		m.stopSending()
		return nil
	}
	return next(msg.feed)
}

func (m *Model) stopSending() {
	if m.cancel != nil {
		m.cancel()
		m.cancel = nil
	}
}

// start sends the photos; the run begins when all are there.
func (m *Model) start() tea.Cmd {
	ok, why := m.startable()
	if !ok {
		if why == "" {
			return nil
		}
		return screen.Send(screen.Toast{Text: why})
	}
	ctx, cancel := context.WithCancel(m.env.Ctx)
	m.cancel, m.problem, m.sent = cancel, nil, false
	m.sending.Images, m.sending.KnownImages, m.sending.SentBytes, m.sending.Bytes = 0, 0, 0, 0
	return m.send(ctx, *m.dataset, m.recipe, m.wish)
}

func (m *Model) askStop() tea.Cmd {
	return screen.Send(screen.Ask{
		Title: "Stop the upload?", Verb: "Stop sending",
		Text: "What arrived is kept: starting again goes on from there. No training has started yet.",
		Yes:  func() tea.Cmd { m.stopSending(); return nil },
	})
}

func (m *Model) move(by int) tea.Cmd {
	m.cursor = min(max(0, m.cursor+by), max(0, m.rows()-1))
	return nil
}

// choose takes the base under the cursor, steps through a field's values, or opens its text.
func (m *Model) choose() tea.Cmd {
	if m.cursor < len(m.bases) {
		m.recipe.Base = m.bases[m.cursor].Name
		return nil
	}
	switch m.extra() {
	case emailRow:
		return m.editEmail()
	case profileRow, shareRow:
		return m.step(1)
	case noExtra:
	}
	f, ok := m.field()
	if !ok {
		return nil
	}
	if f.Values != nil && f.Type != runspec.List {
		return m.step(1)
	}
	m.editing, m.invalid = true, ""
	m.input.SetValue(f.Get(m.recipe))
	m.input.CursorEnd()
	return m.input.Focus()
}

// step goes through the values of a field that has a list of them.
func (m *Model) step(by int) tea.Cmd {
	m.stepExtra(by)
	f, ok := m.field()
	if ok && namesRun(f) {
		m.stepRun(f, by)
		return nil
	}
	if !ok || f.Values == nil || f.Type == runspec.List {
		return nil
	}
	at := 0
	for i, v := range f.Values {
		if v == f.Get(m.recipe) {
			at = i
		}
	}
	v := f.Values[(at+by+len(f.Values))%len(f.Values)]
	if f.Name == "preset" {
		m.usePreset(runspec.Preset(v))
		return nil
	}
	if err := f.Set(&m.recipe, v); err != nil {
		m.invalid = plainError(err)
	}
	return nil
}

// usePreset changes every value to the preset's; the base model stays.
func (m *Model) usePreset(p runspec.Preset) {
	base := m.recipe.Base
	m.recipe = runspec.Default(p)
	m.recipe.Base = base
}

// typed edits a value and checks it at every key.
func (m *Model) typed(msg tea.KeyPressMsg) tea.Cmd {
	switch msg.String() {
	case "esc":
		m.editing, m.invalid = false, ""
		m.input.Blur()
		return nil
	case "enter":
		if m.validate(); m.invalid != "" {
			return nil
		}
		m.editing = false
		m.input.Blur()
		if m.extra() == emailRow {
			return m.takeEmail()
		}
		if f, ok := m.field(); ok {
			_ = f.Set(&m.recipe, m.input.Value()) // validate has tried it
		}
		return nil
	}
	var cmd tea.Cmd
	m.input, cmd = m.input.Update(msg)
	m.validate()
	return cmd
}

func (m *Model) validate() {
	if m.extra() == emailRow {
		m.checkEmail()
		return
	}
	f, ok := m.field()
	if !ok {
		return
	}
	trial := m.recipe
	m.invalid = ""
	if err := f.Set(&trial, m.input.Value()); err != nil {
		m.invalid = plainError(err)
		return
	}
	var fe *runspec.FieldError
	if err := trial.Validate(); errors.As(err, &fe) {
		m.invalid = plainError(err)
	}
}

// reset gives the field under the cursor its preset's value back.
func (m *Model) reset() tea.Cmd {
	m.unwish()
	if f, ok := m.field(); ok && f.Name != "preset" {
		_ = f.Set(&m.recipe, f.Default(m.recipe.Preset)) // the table's own value
	}
	return nil
}

var _ screen.Screen = (*Model)(nil)
