// Package train is the screen of settings: which base model, how much work, every hyperparameter with a sentence, and
// then the upload that ends in a run. It follows no run and scans no folder.
package train

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// Model is the screen.
type Model struct {
	env     *screen.Env
	w, h    int
	dataset *screen.Dataset // nil: none chosen

	bases   []api.Base
	basesOK bool
	failed  error // why the bases could not be had
	asking  bool

	runs []api.Run // that have succeeded, the newest ones

	recipe   runspec.Recipe
	wish     wish
	advanced bool
	cursor   int // row: bases, then fields, then extras
	input    textinput.Model
	editing  bool
	invalid  string // what is wrong with the text being typed

	cancel  context.CancelFunc // of the upload; nil: none under way
	sending client.UploadProgress
	sent    bool // the dataset is at the server; the run is being made
	problem error

	forecast forecast
}

// New makes the screen with the quick preset.
func New(env *screen.Env) *Model {
	in := textinput.New()
	in.Prompt = ""
	in.SetVirtualCursor(true)
	return &Model{env: env, recipe: runspec.Default(runspec.Quick), input: in}
}

// Shown asks for the base models when they are not known yet, and what a training takes: one that has ended meanwhile may
// have left much of the work done.
func (m *Model) Shown() tea.Cmd {
	if !m.forecast.running {
		m.forecast.asked = ""
	}
	return tea.Batch(m.loadBases(), m.loadRuns(), m.foresee())
}

// Resize sets the room for View.
func (m *Model) Resize(w, h int) { m.w, m.h = w, h }

// Typing tells whether a value is being typed.
func (m *Model) Typing() bool { return m.editing }

// Actions lists what can be done now.
func (m *Model) Actions() []keys.Action { return keys.Actions(bindings, m) }

// Key gives a key to the field being edited or to the table.
func (m *Model) Key(msg tea.KeyPressMsg) (tea.Cmd, bool) {
	if m.editing {
		cmd := m.typed(msg)
		return tea.Batch(cmd, m.foresee()), true
	}
	cmd, ok := keys.Dispatch(bindings, m, msg.String())
	return tea.Batch(cmd, m.foresee()), ok
}

// Status tells the root about the upload.
func (m *Model) Status() screen.Status {
	st := screen.Status{Progress: -1}
	if m.dataset != nil {
		st.Text = text.Safe(m.dataset.Manifest.Name)
	}
	if m.cancel == nil {
		return st
	}
	st.Working, st.Keeps = true, true
	st.Leaving = "The upload stopped; what arrived is kept. Train the same folder again to go on."
	if m.sending.Bytes > 0 {
		st.Progress = int(100 * m.sending.SentBytes / m.sending.Bytes)
	}
	return st
}

// fields are the rows below the base models: preset, the main values, and all others when asked for.
func (m *Model) fields() []runspec.Field {
	return slices.DeleteFunc(runspec.Fields(), func(f runspec.Field) bool {
		return f.Name == "base" || f.Advanced && !m.advanced
	})
}

// rows is how many rows the cursor can stand on.
func (m *Model) rows() int { return len(m.bases) + len(m.fields()) + len(m.extras()) }

// field is the one under the cursor, false on a base model.
func (m *Model) field() (runspec.Field, bool) {
	i := m.cursor - len(m.bases)
	if all := m.fields(); i >= 0 && i < len(all) {
		return all[i], true
	}
	return runspec.Field{}, false
}

// base is the name of the chosen base model: an empty one means the first.
func (m *Model) base() string {
	if m.recipe.Base == "" && len(m.bases) > 0 {
		return m.bases[0].Name
	}
	return m.recipe.Base
}

// startable tells whether a run can be started now, and why not.
func (m *Model) startable() (bool, string) {
	switch {
	case m.dataset == nil:
		return false, "No photos are chosen yet: 1 Data, pick a folder, then n."
	case m.env.Client == nil && m.env.Refused != nil:
		return false, "There is no server: R tries to connect again."
	case m.env.Client == nil:
		return false, "Connecting to the server..."
	case m.basesOK && len(m.bases) == 0:
		return false, "No base model is installed at the server: cultivar-trainer bases install fetches one."
	case m.cancel != nil:
		return false, ""
	}
	if err := m.recipe.Validate(); err != nil {
		return false, plainError(err)
	}
	return true, ""
}

// plainError calls a field as the screen does.
func plainError(err error) string {
	var fe *runspec.FieldError
	if !errors.As(err, &fe) {
		return err.Error()
	}
	f, ok := runspec.FieldByName(fe.Field)
	if !ok {
		return fe.Text
	}
	return strings.Replace(fe.Text, fe.Field, f.Title, 1)
}

// command is the line that does the same without this screen.
func (m *Model) command() string {
	folder := "FOLDER"
	if m.dataset != nil {
		if folder = quote(m.dataset.Root); folder == m.dataset.Root {
			folder = text.Home(folder) // nothing to quote, so the shell understands ~
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cultivar train %s", folder)
	if m.recipe.Base != "" {
		fmt.Fprintf(&b, " --base %s", m.recipe.Base)
	}
	if m.recipe.Preset != runspec.Quick {
		fmt.Fprintf(&b, " --preset %s", m.recipe.Preset)
	}
	if m.wish.profile != "" {
		fmt.Fprintf(&b, " --profile %s", quote(m.wish.profile))
	}
	if m.wish.email != "" {
		fmt.Fprintf(&b, " --email %s", quote(m.wish.email))
	}
	if m.wish.share {
		b.WriteString(" --share")
	}
	for _, f := range runspec.Fields() {
		if f.Name != "base" && slices.Contains(m.recipe.Changed(), f.Name) {
			fmt.Fprintf(&b, " --%s %s", strings.ReplaceAll(f.Name, "_", "-"), quote(f.Get(m.recipe)))
		}
	}
	return b.String()
}

// quote makes an argument of any text for a POSIX shell.
func quote(s string) string {
	safe := func(r rune) bool {
		return r > 127 || r == '/' || r == '@' || r == '.' || r == '-' || r == '_' || r == ',' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
