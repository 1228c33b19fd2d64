// Package results is the screen of a finished run: how good the model is, on which classes and photos it errs, and its
// files to take home. It changes no run.
package results

import (
	"context"
	"fmt"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/outbox"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/thumb"
)

// view is the part that is shown.
type view int

const (
	classView view = iota
	confusionView
	mistakeView
	labelView // photos that probably lie in the wrong folder
	fileView
	views
)

// Model is the screen.
type Model struct {
	env    *screen.Env
	w, h   int
	run    api.Run // empty Id: none chosen
	report *report
	files  []runspec.Artifact
	failed error
	asking bool
	none   bool // the server has no finished run

	view     view
	class    int
	row, col int        // of the confusion matrix
	mistake  int        // in the list of the view
	only     *[2]string // mistakes of one cell: actual, predicted
	file     int

	box      *outbox.Box // share links and mails
	download *download
	saved    []string // paths written in this session, newest last

	thumbs  map[string]thumb.Image
	missing map[string]bool
}

// download is one under way.
type download struct {
	cancel      context.CancelFunc
	name        string
	done, total int64
}

// New makes the screen; without a run it looks for the newest finished one.
func New(env *screen.Env) *Model {
	return &Model{env: env, box: outbox.New(env, screen.Results, "Download with d"), thumbs: map[string]thumb.Image{}, missing: map[string]bool{}}
}

// Shown looks for the newest finished run when none is chosen.
func (m *Model) Shown() tea.Cmd {
	if m.run.Id == "" {
		return m.findNewest()
	}
	if m.report == nil && !m.asking {
		return m.load(m.run)
	}
	return tea.Batch(m.loadThumb(), m.box.Shown())
}

// Resize sets the room for View.
func (m *Model) Resize(w, h int) { m.w, m.h = w, h }

// Typing is never true: the screen has no text field.
func (m *Model) Typing() bool { return false }

// Actions lists what can be done now.
func (m *Model) Actions() []keys.Action { return keys.Actions(bindings, m) }

// Key runs a key of the table.
func (m *Model) Key(msg tea.KeyPressMsg) (tea.Cmd, bool) {
	return keys.Dispatch(bindings, m, msg.String())
}

// Status tells the root about the run and a download.
func (m *Model) Status() screen.Status {
	st := screen.Status{Progress: -1}
	if m.run.Id != "" {
		st.Text = fmt.Sprintf("%s #%d", text.Safe(m.run.Name), m.run.Number)
	}
	if d := m.download; d != nil {
		st.Working = true
		if d.total > 0 {
			st.Progress = int(100 * d.done / d.total)
		}
	}
	return st
}

// mistakes are the photos that the view lists: all that the model got wrong, those of one cell, or those whose folder is doubted.
func (m *Model) mistakes() []runspec.Mistake {
	switch {
	case m.report == nil:
		return nil
	case m.view == labelView:
		return m.report.doubted
	case m.view != mistakeView:
		return nil
	case m.only == nil:
		return m.report.Mistakes
	}
	var out []runspec.Mistake
	for _, x := range m.report.Mistakes {
		if x.Actual == m.only[0] && x.Predicted == m.only[1] {
			out = append(out, x)
		}
	}
	return out
}
