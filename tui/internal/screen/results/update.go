package results

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// Update takes what server and disk told.
func (m *Model) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case screen.OpenResults:
		return m.open(msg)
	case screen.Connected:
		if m.report == nil && !m.asking && m.env.Active == screen.Results {
			return m.Shown()
		}
		return m.box.Update(msg)
	case foundMsg:
		m.asking = false
		if m.failed = msg.err; msg.err != nil {
			return screen.Send(screen.Trouble{Err: msg.err})
		}
		if msg.run != nil && m.run.Id == "" {
			return m.open(screen.OpenResults{Run: *msg.run})
		}
		m.none = msg.run == nil
	case loadedMsg:
		if msg.id != m.run.Id {
			return nil
		}
		m.asking = false
		m.files = modelsFirst(msg.files)
		if m.failed = msg.err; msg.err != nil {
			return screen.Send(screen.Trouble{Err: msg.err})
		}
		m.run, m.report = msg.run, msg.report
		m.class, m.row, m.col, m.mistake, m.file = 0, 0, 0, 0, 0
		return tea.Batch(m.loadThumb(), m.box.Open(m.run))
	case saveMsg:
		return m.savedSome(msg)
	case thumbMsg:
		if msg.err != nil {
			m.missing[msg.sha] = true
		} else {
			m.thumbs[msg.sha] = msg.image
		}
	default:
		return m.box.Update(msg)
	}
	return nil
}

// modelsFirst orders files as people look for them: models, then what is to be known of them, then the rest.
func modelsFirst(files []runspec.Artifact) []runspec.Artifact {
	after := []string{runspec.FormatLabels, runspec.FormatReport, runspec.FormatUsage, runspec.FormatCard}
	rank := func(a runspec.Artifact) int {
		if a.Agreement != nil { // only models are compared with the trained one
			return -1
		}
		if i := slices.Index(after, a.Format); i >= 0 {
			return i
		}
		return len(after)
	}
	out := slices.Clone(files)
	slices.SortStableFunc(out, func(a, b runspec.Artifact) int { return cmp.Compare(rank(a), rank(b)) })
	return out
}

func (m *Model) open(msg screen.OpenResults) tea.Cmd {
	if msg.Run.Id == m.run.Id && m.report != nil {
		return nil
	}
	fresh := New(m.env)
	fresh.w, fresh.h, fresh.run, fresh.saved = m.w, m.h, msg.Run, m.saved
	fresh.box = m.box
	if m.download != nil { // it goes on; its progress is shown below whatever is open
		fresh.download = m.download
	}
	*m = *fresh
	return m.load(msg.Run)
}

func (m *Model) savedSome(msg saveMsg) tea.Cmd {
	if m.download == nil {
		msg.feed.Stop()
		return nil
	}
	for _, it := range msg.items {
		switch {
		case it.err != nil:
			m.endDownload()
			if errors.Is(it.err, context.Canceled) {
				return nil
			}
			return screen.Send(screen.Toast{Text: text.Safe(it.err.Error())})
		case it.path != "":
			m.endDownload()
			m.saved = append(m.saved, it.path)
			return screen.Send(screen.Toast{Text: "Saved " + text.Safe(it.path)})
		default:
			m.download.done, m.download.total = it.done, it.total
		}
	}
	if msg.over {
		m.endDownload()
		return nil
	}
	return next(msg.feed)
}

func (m *Model) endDownload() {
	m.download.cancel()
	m.download = nil
}

// bindings is the one table of this screen's keys.
var bindings = []keys.Binding[*Model]{
	{Keys: []string{"d"}, Short: "download", Help: "Download the file under the cursor, or the model, into the current folder", When: (*Model).downloadable, Do: (*Model).startDownload},
	{Keys: []string{"s"}, Short: "share", Help: "Make a share link to the model, or mail it", When: func(m *Model) bool { return m.box.CanShare() }, Do: func(m *Model) tea.Cmd { return m.box.Share() }},
	{Keys: []string{"R"}, Short: "retry delivery", Help: "Try the links and mails now that failed or wait", When: func(m *Model) bool { return m.box.CanRetry() }, Do: func(m *Model) tea.Cmd { return m.box.Retry() }},
	{Keys: []string{"u"}, Short: "copy link", Help: "Copy the share link", When: func(m *Model) bool { return m.box.URL() != "" }, Do: func(m *Model) tea.Cmd { return m.box.CopyURL() }},
	{Keys: []string{"tab"}, Short: "next view", Help: "Go to the next view: classes, confusion, mistakes, labels, files", When: (*Model).filled, Do: func(m *Model) tea.Cmd { return m.turn(1) }},
	{Keys: []string{"shift+tab"}, Help: "Go to the view before", When: (*Model).filled, Do: func(m *Model) tea.Cmd { return m.turn(int(views) - 1) }},
	{Keys: []string{"enter"}, Short: "its photos", Help: "Show the photos of the cell or class that the model got wrong", When: func(m *Model) bool { return m.report != nil && m.view <= confusionView }, Do: (*Model).enter},
	{Keys: []string{"w"}, Short: "curves", Help: "Show the run's curves and story", When: func(m *Model) bool { return m.run.Id != "" }, Do: func(m *Model) tea.Cmd { return screen.Send(screen.OpenRun{Run: m.run}) }},
	{Keys: []string{"y"}, Short: "copy name", Help: "Copy the path of the photo or of the saved file", When: func(m *Model) bool { return m.named() != "" }, Do: func(m *Model) tea.Cmd {
		return tea.Batch(tea.SetClipboard(m.named()), screen.Send(screen.Toast{Text: "Copied " + text.Safe(m.named())}))
	}},
	{Keys: []string{"up", "k"}, Show: "up", Help: "Row up", Do: func(m *Model) tea.Cmd { return m.move(-1, 0) }},
	{Keys: []string{"down", "j"}, Show: "down", Help: "Row down", Do: func(m *Model) tea.Cmd { return m.move(1, 0) }},
	{Keys: []string{"left", "h"}, Show: "left", Help: "Column left", When: func(m *Model) bool { return m.view == confusionView }, Do: func(m *Model) tea.Cmd { return m.move(0, -1) }},
	{Keys: []string{"right", "l"}, Show: "right", Help: "Column right", When: func(m *Model) bool { return m.view == confusionView }, Do: func(m *Model) tea.Cmd { return m.move(0, 1) }},
	{Keys: []string{"pgup", "ctrl+u"}, Show: "pgup", Help: "Page up", Do: func(m *Model) tea.Cmd { return m.move(-10, 0) }},
	{Keys: []string{"pgdown", "ctrl+d"}, Show: "pgdn", Help: "Page down", Do: func(m *Model) tea.Cmd { return m.move(10, 0) }},
	{Keys: []string{"esc"}, Help: "All mistakes again", When: func(m *Model) bool { return m.only != nil && m.view == mistakeView }, Do: func(m *Model) tea.Cmd {
		m.only, m.mistake = nil, 0
		return m.loadThumb()
	}},
	{Keys: []string{"r"}, Short: "ask again", Help: "Ask the server again", When: func(m *Model) bool { return m.failed != nil }, Do: func(m *Model) tea.Cmd {
		if m.run.Id == "" {
			return m.findNewest()
		}
		return m.load(m.run)
	}},
}

func (m *Model) filled() bool { return m.report != nil }

func (m *Model) turn(by int) tea.Cmd {
	m.view, m.mistake = (m.view+view(by))%views, 0
	return m.loadThumb()
}

func (m *Model) move(rows, cols int) tea.Cmd {
	clamp := func(v, by, n int) int { return min(max(0, v+by), max(0, n-1)) }
	if m.report == nil {
		return nil
	}
	switch m.view {
	case classView:
		m.class = clamp(m.class, rows, len(m.report.Classes))
	case confusionView:
		m.row, m.col = clamp(m.row, rows, len(m.report.Labels)), clamp(m.col, cols, len(m.report.Labels))
	case mistakeView, labelView:
		m.mistake = clamp(m.mistake, rows, len(m.mistakes()))
	case fileView:
		m.file = clamp(m.file, rows, len(m.files))
	}
	return m.loadThumb()
}

// enter goes from a cell to its photos, and from a class to its row of the matrix.
func (m *Model) enter() tea.Cmd {
	if m.view == classView {
		m.row, m.view = m.class, confusionView
		m.col = m.mostWrong(m.row)
		return nil
	}
	if m.row == m.col {
		return screen.Send(screen.Toast{Text: "These are right. Choose a cell off the diagonal to see what went wrong."})
	}
	m.only = &[2]string{m.report.Labels[m.row], m.report.Labels[m.col]}
	m.mistake, m.view = 0, mistakeView
	return m.loadThumb()
}

// mostWrong is the class that a row's photos are most often taken for.
func (m *Model) mostWrong(row int) int {
	best := row
	for j, n := range m.report.counts[row] {
		if j != row && n > 0 && (best == row || n > m.report.counts[row][best]) {
			best = j
		}
	}
	return best
}

func (m *Model) downloadable() bool {
	return len(m.files) > 0 && m.download == nil && m.env.Client != nil
}

func (m *Model) startDownload() tea.Cmd {
	a := m.files[0] // a model, unless there is none
	if m.view == fileView {
		a = m.files[m.file]
	}
	ctx, cancel := context.WithCancel(m.env.Ctx)
	m.download = &download{cancel: cancel, name: a.Name, total: a.Bytes}
	return m.save(ctx, a)
}

// named is what y copies.
func (m *Model) named() string {
	if all := m.mistakes(); m.mistake < len(all) {
		return all[m.mistake].Path
	}
	if len(m.saved) > 0 {
		return m.saved[len(m.saved)-1]
	}
	return ""
}

// loadThumb makes the picture of the mistake under the cursor when its file is on this machine.
func (m *Model) loadThumb() tea.Cmd {
	all := m.mistakes()
	if m.mistake >= len(all) || !m.env.Theme.Colour {
		return nil
	}
	x := all[m.mistake]
	if _, ok := m.thumbs[x.SHA256]; ok || m.missing[x.SHA256] {
		return nil
	}
	path, orientation, ok := m.local(x)
	if !ok {
		return nil
	}
	w, h := picture()
	return makeThumb(x.SHA256, path, orientation, w, h)
}

// local finds a photo in the folder scanned last, by its hash.
func (m *Model) local(x runspec.Mistake) (path string, orientation int, ok bool) {
	if m.env.Dataset == nil {
		return "", 0, false
	}
	for _, im := range m.env.Dataset.Manifest.Images {
		if im.SHA256 == x.SHA256 {
			return filepath.Join(m.env.Dataset.Root, filepath.FromSlash(im.Path)), im.Orientation, true
		}
	}
	return "", 0, false
}

var _ screen.Screen = (*Model)(nil)
