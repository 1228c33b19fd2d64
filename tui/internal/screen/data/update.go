package data

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/thumb"
)

// maxThumbs is how many pictures are kept; each takes about 2 kB.
const maxThumbs = 600

// Update takes what the disk told.
func (m *Model) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		return m.loadThumb()
	case tea.PasteMsg:
		return m.pasted(msg)
	case listedMsg:
		return m.listed(msg)
	case surveyedMsg:
		return m.surveyed(msg)
	case checkedMsg:
		if msg.err != nil {
			m.pick.refused = msg.err
			return nil
		}
		return m.scan(msg.path)
	case scanMsg:
		return m.scanned(msg)
	case thumbMsg:
		m.loading = ""
		if msg.err != nil {
			m.missing[msg.key] = true
		} else {
			m.thumbs[msg.key] = msg.image
		}
		return m.loadThumb()
	}
	return nil
}

// pasted takes a path pasted or dragged into the window.
func (m *Model) pasted(msg tea.PasteMsg) tea.Cmd {
	if m.stage != picking {
		return nil
	}
	if !m.pick.input.Focused() {
		m.pick.input.Reset()
	}
	focus := m.pick.input.Focus()
	var cmd tea.Cmd
	m.pick.input, cmd = m.pick.input.Update(msg)
	return tea.Batch(focus, cmd)
}

func (m *Model) goTo(path string) tea.Cmd {
	m.pick.refused = nil
	if !filepath.IsAbs(path) {
		path = filepath.Join(m.pick.dir, path)
	}
	return check(path)
}

func (m *Model) listed(msg listedMsg) tea.Cmd {
	m.stage = picking
	p := &m.pick
	from := p.dir
	p.err, p.recent = msg.err, msg.recent
	if msg.err != nil && p.dir != "" {
		p.refused, p.err = msg.err, nil
		return nil
	}
	p.dir, p.entries, p.cursor = msg.dir, nil, 0
	p.entries = append(p.entries, entry{path: msg.dir, kind: here})
	if up := filepath.Dir(msg.dir); up != msg.dir {
		p.entries = append(p.entries, entry{path: up, kind: above, looked: true})
	}
	for _, name := range msg.folders {
		path := filepath.Join(msg.dir, name)
		if path == from {
			p.cursor = len(p.entries)
		}
		p.entries = append(p.entries, entry{path: path, kind: sub})
	}
	for _, dir := range msg.recent {
		p.entries = append(p.entries, entry{path: dir, kind: recent, looked: true})
	}
	return m.nextSurvey()
}

// nextSurvey looks into one folder after the other, so that a large disk does not keep the screen waiting.
func (m *Model) nextSurvey() tea.Cmd {
	for i := range m.pick.entries {
		if e := &m.pick.entries[i]; !e.looked {
			return lookInto(m.pick.dir, e.path, e.kind == sub)
		}
	}
	return nil
}

func (m *Model) surveyed(msg surveyedMsg) tea.Cmd {
	if msg.dir != m.pick.dir {
		return nil
	}
	for i := range m.pick.entries {
		if e := &m.pick.entries[i]; e.path == msg.path && (e.kind == sub || e.kind == here) {
			e.survey, e.looked = msg.survey, true
			if e.kind == here { // its classes are the rows below; here only loose photos count
				e.survey.classes = 0
			}
		}
	}
	return m.nextSurvey()
}

// scan begins anew on a folder.
func (m *Model) scan(root string) tea.Cmd {
	m.stopScan()
	if abs, err := filepath.Abs(root); err == nil {
		root = abs
	}
	ctx, cancel := context.WithCancel(m.env.Ctx)
	fresh := New(m.env)
	fresh.w, fresh.h, fresh.begun, fresh.pick = m.w, m.h, true, m.pick
	fresh.pick.refused = nil
	fresh.root, fresh.stage, fresh.cancel, fresh.left = root, scanning, cancel, map[string]bool{}
	if root == m.root { // the same folder again: what was left out stays so
		fresh.left = m.left
	}
	*m = *fresh
	return m.startScan(ctx, root)
}

func (m *Model) stopScan() {
	if m.cancel != nil {
		m.cancel()
		m.cancel = nil
	}
}

func (m *Model) scanned(msg scanMsg) tea.Cmd {
	if msg.root != m.root || m.stage != scanning {
		msg.feed.Stop()
		return nil
	}
	var cmds []tea.Cmd
	for _, it := range msg.items {
		switch {
		case it.progress != nil:
			m.progress = *it.progress
		case it.headers != nil:
			m.take(it.headers)
			cmds = append(cmds, m.loadThumb())
		case it.err != nil:
			return m.scanFailed(it.err)
		case it.whole != nil:
			m.take(it.whole)
			m.stage = ready
			cmds = append(cmds, m.loadThumb())
		}
	}
	if !msg.over {
		cmds = append(cmds, nextScan(msg.root, msg.feed))
	}
	return tea.Batch(cmds...)
}

func (m *Model) scanFailed(err error) tea.Cmd {
	m.stopScan()
	m.manifest = nil
	m.root = ""
	m.stage = picking
	if !errors.Is(err, context.Canceled) {
		m.pick.refused = err
	}
	if m.pick.dir == "" {
		return m.browse(m.env.WorkDir)
	}
	return nil
}

// giveUp ends a scan and goes back to the folders.
func (m *Model) giveUp() tea.Cmd { return m.scanFailed(context.Canceled) }

// loadThumb makes the first missing picture of the page; its arrival asks for the next.
func (m *Model) loadThumb() tea.Cmd {
	if m.stage == picking || m.loading != "" || !m.env.Theme.Colour || m.manifest == nil {
		return nil
	}
	tw, th := tile()
	for _, im := range m.shownImages() {
		key := thumbKey(im.Path, tw, th)
		if _, ok := m.thumbs[key]; ok || m.missing[key] {
			continue
		}
		if len(m.thumbs) > maxThumbs {
			m.thumbs = map[string]thumb.Image{}
		}
		m.loading = key
		return makeThumb(key, filepath.Join(m.root, filepath.FromSlash(im.Path)), im.Orientation, tw, th)
	}
	return nil
}

func thumbKey(path string, w, h int) string { return fmt.Sprintf("%dx%d %s", w, h, path) }

var _ screen.Screen = (*Model)(nil)
