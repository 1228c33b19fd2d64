package run

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
)

// redraw is how often a stream of events reaches the screen at most: 4 a second.
const redraw = 250 * time.Millisecond

// item is one thing the stream told: an event, a change of the link, or its final error.
type item struct {
	event api.Event
	link  *client.Link
	err   error
}

// batchMsg is what the stream of a run told since the last one.
type batchMsg struct {
	run   string
	feed  *screen.Feed[item]
	items []item
	over  bool
}

// runLoadedMsg is a run's newest row, or why it could not be had.
type runLoadedMsg struct {
	id  string
	run api.Run
	err error
}

// secondMsg moves the time shown while a run is active.
type secondMsg struct{ run string }

// orderedMsg is the answer to stop or cancel.
type orderedMsg struct {
	id  string
	run api.Run
	err error
}

// retriedMsg is the new run that repeats an old one.
type retriedMsg struct {
	run api.Run
	err error
}

// classesLoadedMsg says how many classes a dataset has.
type classesLoadedMsg struct {
	run     string
	classes int
}

// watch opens the stream from its first event, so that the curves are whole, and waits for its first batch.
func (m *Model) watch(ctx context.Context, id string) tea.Cmd {
	c := m.env.Client
	return func() tea.Msg {
		feed := screen.StartFeed(ctx, redraw, func(ctx context.Context, emit func(item)) {
			onLink := func(l client.Link) { emit(item{link: &l}) }
			for e, err := range c.Events(ctx, id, 0, onLink) {
				emit(item{event: e, err: err})
			}
		})
		return next(id, feed)()
	}
}

// next waits for the next batch.
func next(id string, feed *screen.Feed[item]) tea.Cmd {
	return func() tea.Msg {
		items, ok := feed.Next()
		return batchMsg{run: id, feed: feed, items: items, over: !ok}
	}
}

func second(id string) tea.Cmd {
	return tea.Tick(time.Second, func(time.Time) tea.Msg { return secondMsg{run: id} })
}

func (m *Model) load(id string) tea.Cmd {
	ctx, c := m.env.Ctx, m.env.Client
	return func() tea.Msg {
		r, err := c.Run(ctx, id)
		return runLoadedMsg{id: id, run: r, err: err}
	}
}

func (m *Model) countClasses(run, dataset string) tea.Cmd {
	ctx, c := m.env.Ctx, m.env.Client
	return func() tea.Msg {
		d, err := c.Dataset(ctx, dataset)
		if err != nil {
			return nil // a sentence less on the screen, and the stream will say what is wrong
		}
		return classesLoadedMsg{run: run, classes: len(d.Classes)}
	}
}

func (m *Model) order(id string, call func(context.Context, string) (api.Run, error)) tea.Cmd {
	ctx := m.env.Ctx
	return func() tea.Msg {
		r, err := call(ctx, id)
		return orderedMsg{id: id, run: r, err: err}
	}
}

func (m *Model) retry(id string) tea.Cmd {
	ctx, c := m.env.Ctx, m.env.Client
	return func() tea.Msg {
		r, err := c.RetryRun(ctx, id)
		return retriedMsg{run: r, err: err}
	}
}
