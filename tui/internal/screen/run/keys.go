package run

import (
	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
)

// bindings is the one table of this screen's keys.
var bindings = []keys.Binding[*Model]{
	{Keys: []string{"n"}, Short: "results", Help: "Show the results", When: (*Model).succeeded,
		Do: func(m *Model) tea.Cmd { return screen.Send(screen.OpenResults{Run: m.run}) }},
	{Keys: []string{"s"}, Short: "share", Help: "Make a share link to the model, or mail it", When: func(m *Model) bool { return m.succeeded() && m.box.CanShare() },
		Do: func(m *Model) tea.Cmd { return m.box.Share() }},
	{Keys: []string{"R"}, Short: "retry delivery", Help: "Try the links and mails now that failed or wait", When: func(m *Model) bool { return m.box.CanRetry() },
		Do: func(m *Model) tea.Cmd { return m.box.Retry() }},
	{Keys: []string{"u"}, Short: "copy link", Help: "Copy the share link", When: func(m *Model) bool { return m.box.URL() != "" },
		Do: func(m *Model) tea.Cmd { return m.box.CopyURL() }},
	{Keys: []string{"s"}, Short: "stop, keep best", Help: "Stop training now and keep the best epoch so far", When: (*Model).stoppable, Do: (*Model).askStop},
	{Keys: []string{"S"}, Short: "cancel", Help: "Cancel the run; nothing of it is kept", When: (*Model).cancellable, Do: (*Model).askCancel},
	{Keys: []string{"r"}, Short: "train again", Help: "Train again with the same settings", When: (*Model).ended, Do: (*Model).askRetry},
	{Keys: []string{"L"}, Short: "log scale", Help: "Switch the loss between linear and logarithmic scale", Do: func(m *Model) tea.Cmd { m.log = !m.log; return nil }},
	{Keys: []string{"v"}, Short: "more log", Help: "Give the log more or less room", Do: func(m *Model) tea.Cmd { m.tall = !m.tall; return nil }},
	{Keys: []string{"up", "k"}, Show: "up", Help: "Scroll the log back", Do: func(m *Model) tea.Cmd { return m.scroll(1) }},
	{Keys: []string{"down", "j"}, Show: "down", Help: "Scroll the log on", Do: func(m *Model) tea.Cmd { return m.scroll(-1) }},
	{Keys: []string{"pgup", "ctrl+u"}, Show: "pgup", Help: "Scroll the log back a page", Do: func(m *Model) tea.Cmd { return m.scroll(10) }},
	{Keys: []string{"pgdown", "ctrl+d"}, Show: "pgdn", Help: "Scroll the log on a page", Do: func(m *Model) tea.Cmd { return m.scroll(-10) }},
	{Keys: []string{"G", "end"}, Help: "Go to the newest line", Do: func(m *Model) tea.Cmd { m.up = 0; return nil }},
	{Keys: []string{"y"}, Short: "copy id", Help: "Copy the run's id", When: func(m *Model) bool { return m.run.Id != "" },
		Do: func(m *Model) tea.Cmd {
			return tea.Batch(tea.SetClipboard(m.run.Id), screen.Send(screen.Toast{Text: "Copied the run's id."}))
		}},
}

func (m *Model) succeeded() bool { return m.run.Id != "" && m.state() == api.StateSucceeded }

func (m *Model) ended() bool {
	return m.run.Id != "" && screen.Terminal(m.state()) && m.env.Client != nil
}

func (m *Model) stoppable() bool { return m.state() == api.StateRunning && m.env.Client != nil }

func (m *Model) cancellable() bool { return m.active() && m.env.Client != nil }

func (m *Model) scroll(by int) tea.Cmd {
	m.up = min(max(0, m.up+by), max(0, len(m.story.lines)-1))
	return nil
}

func (m *Model) askStop() tea.Cmd {
	id, c := m.run.Id, m.env.Client
	words := "The best epoch so far is kept, tested and written to files. The training cannot be taken up again after that."
	if len(m.story.epochs) == 0 {
		words = "No epoch is finished yet, so there may be nothing worth keeping."
	}
	return screen.Send(screen.Ask{Title: "Stop " + m.label() + " now?", Text: words, Verb: "Stop and keep the best", Yes: func() tea.Cmd {
		m.busy = "stopping"
		return m.order(id, c.StopRun)
	}})
}

// askRetry asks first: r is next to R, and a training takes a while.
func (m *Model) askRetry() tea.Cmd {
	id := m.run.Id
	words := "A new run with the same photos and settings begins. This one and its files stay as they are."
	if n := m.run.Notify; n != nil && (n.Share != nil && *n.Share || n.Email != nil && *n.Email != "") {
		words += " Its result is shared or mailed as this one's was."
	}
	return screen.Send(screen.Ask{Title: "Train " + m.label() + " again?", Text: words, Verb: "Train again", Yes: func() tea.Cmd { return m.retry(id) }})
}

func (m *Model) askCancel() tea.Cmd {
	id, c := m.run.Id, m.env.Client
	return screen.Send(screen.Ask{Title: "Cancel " + m.label() + "?",
		Text: "The run is given up and its model is lost. The uploaded photos and what the base model saw in them stay, so that another run starts at once.",
		Verb: "Cancel the run", Yes: func() tea.Cmd {
			m.busy = "cancelling"
			return m.order(id, c.CancelRun)
		}})
}
