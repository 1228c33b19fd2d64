package train

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
)

// redraw is how often the upload's progress reaches the screen at most.
const redraw = 250 * time.Millisecond

type basesLoadedMsg struct {
	bases []api.Base
	err   error
}

// sendItem is one thing the upload told: how far it is, that all is sent, or how it ended.
type sendItem struct {
	progress *client.UploadProgress
	sent     bool
	run      *api.Run
	err      error
}

type sendMsg struct {
	feed  *screen.Feed[sendItem]
	items []sendItem
	over  bool
}

// loadBases asks once; a failed answer is asked again when the screen is shown anew.
func (m *Model) loadBases() tea.Cmd {
	if m.env.Client == nil || m.basesOK || m.asking {
		return nil
	}
	m.asking = true
	ctx, c := m.env.Ctx, m.env.Client
	return func() tea.Msg {
		bases, err := c.Bases(ctx)
		return basesLoadedMsg{bases: bases, err: err}
	}
}

// send uploads what the server lacks and makes the run.
func (m *Model) send(ctx context.Context, set screen.Dataset, recipe runspec.Recipe, w wish) tea.Cmd {
	c := m.env.Client
	return func() tea.Msg {
		feed := screen.StartFeed(ctx, redraw, func(ctx context.Context, emit func(sendItem)) {
			ds, err := c.Upload(ctx, set.Root, set.Manifest, client.UploadOptions{
				Progress: func(p client.UploadProgress) { emit(sendItem{progress: &p}) },
			})
			if err != nil {
				emit(sendItem{err: err})
				return
			}
			emit(sendItem{sent: true})
			order := api.RunCreate{Dataset: ds.Id, Recipe: &recipe}
			w.order(&order)
			run, err := c.CreateRun(ctx, order)
			emit(sendItem{run: &run, err: err})
		})
		return next(feed)()
	}
}

func next(feed *screen.Feed[sendItem]) tea.Cmd {
	return func() tea.Msg {
		items, ok := feed.Next()
		return sendMsg{feed: feed, items: items, over: !ok}
	}
}
