package results

import (
	"context"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/home"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/thumb"
)

const redraw = 250 * time.Millisecond

type foundMsg struct {
	run *api.Run // nil: there is none
	err error
}

type loadedMsg struct {
	id     string
	run    api.Run
	report *report
	files  []runspec.Artifact
	err    error
}

// saveItem is one thing a download told.
type saveItem struct {
	done, total int64
	path        string // set at the end
	err         error
}

type saveMsg struct {
	feed  *screen.Feed[saveItem]
	items []saveItem
	over  bool
}

type thumbMsg struct {
	sha   string
	image thumb.Image
	err   error
}

// findNewest looks through the newest page for a finished run.
func (m *Model) findNewest() tea.Cmd {
	if m.env.Client == nil || m.asking {
		return nil
	}
	m.asking = true
	ctx, c := m.env.Ctx, m.env.Client
	return func() tea.Msg {
		page, err := c.Runs(ctx, "")
		for _, r := range page.Runs {
			if r.State == api.StateSucceeded {
				return foundMsg{run: &r}
			}
		}
		return foundMsg{err: err}
	}
}

func (m *Model) load(run api.Run) tea.Cmd {
	if m.env.Client == nil {
		return nil
	}
	m.asking = true
	ctx, c := m.env.Ctx, m.env.Client
	return func() tea.Msg {
		msg := loadedMsg{id: run.Id}
		if msg.run, msg.err = c.Run(ctx, run.Id); msg.err != nil {
			return msg
		}
		if msg.files, msg.err = c.Artifacts(ctx, run.Id); msg.err != nil {
			return msg
		}
		msg.report, msg.err = fetchReport(ctx, c, run.Id)
		return msg
	}
}

func fetchReport(ctx context.Context, c *client.Client, run string) (*report, error) {
	r, err := c.OpenArtifact(ctx, run, runspec.EvaluationFile)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxReport))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", runspec.EvaluationFile, err)
	}
	return parseReport(b)
}

// save downloads an artifact into the current folder.
func (m *Model) save(ctx context.Context, a runspec.Artifact) tea.Cmd {
	c, run, dir := m.env.Client, m.run, m.env.WorkDir
	return func() tea.Msg {
		feed := screen.StartFeed(ctx, redraw, func(ctx context.Context, emit func(saveItem)) {
			path := home.Places(dir, run, []runspec.Artifact{a}, false)[0]
			err := c.Download(ctx, run.Id, a, path, func(done, total int64) { emit(saveItem{done: done, total: total}) })
			emit(saveItem{path: path, err: err})
		})
		return next(feed)()
	}
}

func next(feed *screen.Feed[saveItem]) tea.Cmd {
	return func() tea.Msg {
		items, ok := feed.Next()
		return saveMsg{feed: feed, items: items, over: !ok}
	}
}

func makeThumb(sha, path string, orientation, w, h int) tea.Cmd {
	return func() tea.Msg {
		im, err := thumb.Load(path, orientation, w, h)
		return thumbMsg{sha: sha, image: im, err: err}
	}
}
