// Package data is the screen of photos: it finds a folder, scans it, shows its classes with pictures, names what is wrong
// by file, and lets the user leave files out. It changes no file and sends nothing.
package data

import (
	"context"
	"path/filepath"
	"slices"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/keys"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/thumb"
)

// stage is what the screen is doing.
type stage int

const (
	picking stage = iota
	scanning
	ready
)

// Model is the screen.
type Model struct {
	env   *screen.Env
	w, h  int
	stage stage
	begun bool

	pick picker

	root     string // of the scan
	cancel   context.CancelFunc
	progress manifest.Progress
	manifest *manifest.Manifest // whole after the scan; without hashes during it
	classes  []class
	groups   []group
	left     map[string]bool // paths the user leaves out

	pane    pane
	class   int
	page    int
	problem int
	group   int // whose files are listed; -1: the groups are
	file    int

	thumbs  map[string]thumb.Image
	missing map[string]bool // pictures that could not be made
	loading string
}

type pane int

const (
	classPane pane = iota
	problemPane
)

// class is a row of the class table.
type class struct {
	name   string
	images []manifest.Image
}

// New makes the screen; it picks a folder, or scans the one of the environment.
func New(env *screen.Env) *Model {
	path := textinput.New()
	path.Prompt = ""
	path.SetVirtualCursor(true)
	return &Model{env: env, pick: picker{input: path}, group: -1, thumbs: map[string]thumb.Image{}, missing: map[string]bool{}}
}

// Shown starts the scan or the list of folders the first time.
func (m *Model) Shown() tea.Cmd {
	if m.begun {
		return m.loadThumb()
	}
	m.begun = true
	if m.env.Folder != "" {
		return m.scan(m.env.Folder)
	}
	return m.browse(m.env.WorkDir)
}

// Resize sets the room for View.
func (m *Model) Resize(w, h int) { m.w, m.h = w, h }

// Typing tells whether a path is being typed.
func (m *Model) Typing() bool { return m.stage == picking && m.pick.input.Focused() }

// Actions lists what can be done now.
func (m *Model) Actions() []keys.Action { return keys.Actions(m.table(), m) }

// Status tells the root about the folder.
func (m *Model) Status() screen.Status {
	st := screen.Status{Progress: -1}
	if m.root != "" && m.stage != picking {
		st.Text = text.Safe(filepath.Base(m.root))
	}
	return st
}

// table is the key table of the stage.
func (m *Model) table() []keys.Binding[*Model] {
	if m.stage == picking {
		return pickKeys
	}
	return dataKeys
}

// Key gives a key to the path field or to the table.
func (m *Model) Key(msg tea.KeyPressMsg) (tea.Cmd, bool) {
	if m.Typing() {
		return m.typed(msg), true
	}
	return keys.Dispatch(m.table(), m, msg.String())
}

// take shows a manifest: classes, and problems in groups. What the user left out stays left out.
func (m *Model) take(mf *manifest.Manifest) {
	m.manifest = mf
	m.classes = m.classes[:0]
	for _, name := range mf.Classes {
		m.classes = append(m.classes, class{name: name})
	}
	for _, im := range mf.Images {
		if i, ok := slices.BinarySearch(mf.Classes, im.Class); ok {
			m.classes[i].images = append(m.classes[i].images, im)
		}
	}
	m.groups = groupProblems(mf.Problems)
	m.class = min(m.class, max(0, len(m.classes)-1))
	m.problem = min(m.problem, max(0, len(m.groups)-1))
	if m.group >= len(m.groups) {
		m.group = -1
	}
}

// kept is how many images of a class are not left out.
func (m *Model) kept(c class) int {
	n := len(c.images)
	if len(m.left) == 0 {
		return n
	}
	for _, im := range c.images {
		if m.left[im.Path] {
			n--
		}
	}
	return n
}

// trainable tells whether enough is left to train on, and why not.
func (m *Model) trainable() (bool, string) {
	if m.stage != ready || m.manifest == nil {
		return false, ""
	}
	n := 0
	for _, c := range m.classes {
		if m.kept(c) > 0 {
			n++
		}
	}
	if n >= manifest.MinClasses {
		return true, ""
	}
	for _, p := range m.manifest.Problems {
		if p.Reason == manifest.NoClasses || p.Reason == manifest.OneClass {
			return false, p.Text
		}
	}
	return false, "A classifier needs photos of at least two classes, one folder for each."
}

// dataset is the manifest without what was left out.
func (m *Model) dataset() screen.Dataset {
	mf := *m.manifest
	mf.Classes, mf.Images = nil, nil
	var out []string
	for _, c := range m.classes {
		if m.kept(c) > 0 {
			mf.Classes = append(mf.Classes, c.name)
		}
		for _, im := range c.images {
			if m.left[im.Path] {
				out = append(out, im.Path)
			} else {
				mf.Images = append(mf.Images, im)
			}
		}
	}
	return screen.Dataset{Root: m.root, Manifest: &mf, LeftOut: out}
}
