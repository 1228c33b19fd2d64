package run

import (
	"context"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
)

// Update takes the stream's batches and the answers to orders.
func (m *Model) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case screen.OpenRun:
		return m.open(msg.Run)
	case screen.Connected:
		return m.connected()
	case batchMsg:
		return m.told(msg)
	case secondMsg:
		if msg.run == m.run.Id && m.active() {
			return second(msg.run)
		}
	case runLoadedMsg:
		switch {
		case msg.id != m.run.Id:
		case msg.err != nil:
			return screen.Send(screen.Trouble{Err: msg.err}) // Connected asks again
		default:
			m.run = msg.run
			return m.box.Open(m.run)
		}
	case classesLoadedMsg:
		if msg.run == m.run.Id {
			m.classes = msg.classes
		}
	case orderedMsg:
		if msg.id != m.run.Id {
			return nil
		}
		m.busy = ""
		if msg.err != nil {
			return screen.Send(screen.Toast{Text: msg.err.Error()})
		}
		m.run = msg.run
	case retriedMsg:
		if msg.err != nil {
			return screen.Send(screen.Toast{Text: msg.err.Error()})
		}
		return screen.Send(screen.OpenRun{Run: msg.run})
	default:
		return m.box.Update(msg)
	}
	return nil
}

// connected opens the stream that there could not be before, or asks for what is missing at the run's end.
func (m *Model) connected() tea.Cmd {
	switch {
	case m.run.Id == "" || m.env.Client == nil:
		return nil
	case m.cancel == nil || m.failed != nil:
		return m.open(m.run)
	case screen.Terminal(m.state()) && !screen.Terminal(m.run.State):
		return m.load(m.run.Id)
	}
	return m.box.Update(screen.Connected{})
}

// open follows a run from its first event on; the run followed before is let go, and trains on.
func (m *Model) open(r api.Run) tea.Cmd {
	if r.Id == m.run.Id && m.cancel != nil && m.failed == nil {
		return nil
	}
	if m.cancel != nil {
		m.cancel()
		m.cancel = nil
	}
	keep := Model{env: m.env, w: m.w, h: m.h, log: m.log, tall: m.tall, run: r, box: m.box}
	*m = keep
	boxed := m.box.Open(r)
	if m.env.Client == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(m.env.Ctx)
	m.cancel = cancel
	return tea.Batch(boxed, m.watch(ctx, r.Id), m.countClasses(r.Id, r.Dataset), second(r.Id))
}

// told takes a batch; one of a run that was left is dropped with its stream.
func (m *Model) told(msg batchMsg) tea.Cmd {
	if msg.run != m.run.Id {
		msg.feed.Stop()
		return nil
	}
	before := m.state()
	var trouble tea.Cmd
	for _, it := range msg.items {
		switch {
		case it.link != nil:
			m.link, m.linked = *it.link, true
		case it.err != nil:
			m.failed = it.err
			trouble = screen.Send(screen.Trouble{Err: it.err})
		default:
			m.story.add(it.event, m.env.Theme.Glyphs)
		}
	}
	if msg.over && m.failed == nil {
		return m.load(m.run.Id)
	}
	if msg.over {
		return trouble
	}
	again := tea.Batch(trouble, next(msg.run, msg.feed))
	if screen.Terminal(m.state()) && !screen.Terminal(before) {
		if screen.Terminal(m.run.State) { // it had ended before it was opened: no news
			return tea.Batch(again, m.load(m.run.Id))
		}
		return tea.Batch(again, m.load(m.run.Id), screen.Send(screen.Toast{Text: m.ending()}))
	}
	return again
}

func (m *Model) ending() string {
	switch m.state() {
	case api.StateSucceeded:
		return m.label() + " is finished: n shows the results."
	case api.StateCancelled:
		return m.label() + " was cancelled."
	}
	return m.label() + " failed."
}

var _ screen.Screen = (*Model)(nil)
