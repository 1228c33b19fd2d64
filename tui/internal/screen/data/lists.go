package data

import (
	"fmt"

	"path/filepath"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/frame"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// problemPane lists the problems by severity, or the files of one, in h lines with its rule.
func (m *Model) problemPane(h int) []string {
	t := m.env.Theme
	if m.group >= 0 && m.group < len(m.groups) {
		return m.fileList(h)
	}
	out := []string{frame.Rule(t, m.w, m.problemCaption(), "")}
	if m.manifest == nil {
		return append(out, t.Dim.Render("  Problems are named as soon as the folder is read."))
	}
	if len(m.groups) == 0 {
		out = append(out, "  "+t.Good.Render(t.Glyphs.Check)+" Nothing is wrong with these photos.")
	}
	from, to := frame.Window(len(m.groups), m.problem, h-2)
	for i := from; i < to; i++ {
		out = append(out, m.groupRow(i))
	}
	for len(out) < h-1 {
		out = append(out, "")
	}
	return append(out[:h-1], m.advice())
}

func (m *Model) advice() string {
	t := m.env.Theme
	ok, why := m.trainable()
	switch {
	case m.stage != ready:
		return t.Dim.Render("  Reading the photos to find duplicates. esc stops.")
	case ok:
		return t.Dim.Render("  Next: choose a base model with n. Nothing is uploaded before you confirm.")
	}
	if len(m.rows()) == 0 { // the table says why
		return t.Dim.Render("  o picks another folder, r looks again.")
	}
	return "  " + t.Bad.Render(text.Safe(why))
}

func (m *Model) problemCaption() string {
	n := map[manifest.Severity]int{}
	for _, g := range m.groups {
		n[g.severity] += len(g.problems)
	}
	if len(m.groups) == 0 {
		return "problems"
	}
	return fmt.Sprintf("problems: %s, %s, %d to know", text.Some(n[manifest.Error], "error", "errors"), text.Some(n[manifest.Warning], "warning", "warnings"), n[manifest.Info])
}

// mark is a severity's glyph in its colour.
func (m *Model) mark(s manifest.Severity) string {
	t := m.env.Theme
	switch s {
	case manifest.Error:
		return t.Bad.Render(t.Glyphs.Cross)
	case manifest.Warning:
		return t.Warn.Render(t.Glyphs.Warn)
	}
	return t.Dim.Render(t.Glyphs.Info)
}

func (m *Model) groupRow(i int) string {
	t := m.env.Theme
	g := m.groups[i]
	what, then := g.title()
	line := fmt.Sprintf("%s %s", text.Count(len(g.problems)), what)
	sample := ""
	if p := g.problems[0]; len(g.problems) == 1 && p.Path == "" {
		line = text.Safe(p.Text)
		then = ""
	} else if p.Path != "" {
		sample = text.Safe(p.Path)
	} else if p.Class != "" {
		sample = text.Safe(p.Class)
	}
	cursor := "  "
	if m.pane == problemPane && i == m.problem {
		cursor = t.Glyphs.Cursor + " "
		line = t.Selected.Render(line)
	}
	if then != "" {
		line += t.Dim.Render("  " + t.Glyphs.Dash + " " + then)
	}
	if out := m.leftOf(g); out > 0 {
		line += t.Warn.Render(fmt.Sprintf("  %d left out by you", out))
	}
	room := m.w - 6 - text.Width(line)
	if room > 10 && sample != "" {
		line += "  " + t.Dim.Render(text.Path(sample, room-2, t.Glyphs.Ellipsis))
	}
	return " " + cursor + m.mark(g.severity) + " " + line
}

func (m *Model) leftOf(g group) int {
	n := 0
	for _, p := range g.problems {
		if m.left[p.Path] {
			n++
		}
	}
	return n
}

// fileList shows the files of one group and the sentence of the one under the cursor.
func (m *Model) fileList(h int) []string {
	t := m.env.Theme
	g := m.groups[m.group]
	what, _ := g.title()
	out := []string{frame.Rule(t, m.w, fmt.Sprintf("%s %s", text.Count(len(g.problems)), what), "esc back")}
	words := text.Wrap(text.Safe(g.problems[m.file].Text), m.w-4)
	words = words[:min(len(words), 3)]
	from, to := frame.Window(len(g.problems), m.file, h-2-len(words))
	for i := from; i < to; i++ {
		p := g.problems[i]
		name := p.Path
		if name == "" {
			name = p.Class
		}
		row := text.Path(text.Safe(name), m.w-22, t.Glyphs.Ellipsis)
		cursor := "  "
		if i == m.file {
			cursor, row = t.Glyphs.Cursor+" ", t.Selected.Render(row)
		}
		if m.left[p.Path] {
			row += t.Warn.Render("  left out")
		}
		out = append(out, " "+cursor+row)
	}
	for len(out) < h-len(words) {
		out = append(out, "")
	}
	for _, line := range words {
		out = append(out, "  "+t.Dim.Render(line))
	}
	return out
}

// pickView draws the list of folders.
func (m *Model) pickView() []string {
	t := m.env.Theme
	g := t.Glyphs
	p := &m.pick
	out := []string{"", " " + t.Title.Render("Which folder of photos?") + t.Dim.Render("  It has one sub-folder for each class."), ""}
	p.input.SetWidth(max(10, m.w-14))
	if p.input.Focused() {
		out = append(out, " Path: "+p.input.View())
	} else {
		out = append(out, " "+t.Dim.Render("In")+" "+t.Accent.Render(text.Path(text.Home(p.dir), m.w-10, g.Ellipsis)))
	}
	problem := p.refused
	if problem == nil {
		problem = p.err
	}
	if problem != nil {
		for _, line := range text.Wrap(text.Safe(problem.Error()), m.w-6) {
			out = append(out, "   "+t.Bad.Render(line))
		}
	}
	out = append(out, frame.Rule(t, m.w, "", ""))
	h := m.h - len(out) - 3
	from, to := frame.Window(len(p.entries), p.cursor, h)
	for i := from; i < to; i++ {
		out = append(out, m.entryRow(i))
	}
	for len(out) < m.h-2 {
		out = append(out, "")
	}
	return append(out, t.Dim.Render(" You can also paste a path, or drag a folder into this window."), "")
}

func (m *Model) entryRow(i int) string {
	t := m.env.Theme
	g := t.Glyphs
	e := m.pick.entries[i]
	nameW := min(40, max(16, m.w/2-4))
	label, verdict := "", ""
	switch e.kind {
	case here:
		label, verdict = ". (this folder)", t.Dim.Render("scan the folder itself")
	case above:
		label, verdict = "..", t.Dim.Render("the folder above")
	case recent:
		label, verdict = text.Path(text.Home(e.path), nameW, g.Ellipsis), t.Dim.Render("used before")
	default:
		label, verdict = text.Safe(filepath.Base(e.path))+"/", m.verdict(e)
	}
	label = text.Fit(label, nameW, g.Ellipsis)
	if i == m.pick.cursor {
		return " " + g.Cursor + " " + t.Selected.Render(label) + "  " + verdict
	}
	return "   " + label + "  " + verdict
}

func (m *Model) verdict(e entry) string {
	t := m.env.Theme
	s := e.survey
	n := text.Some(s.images, "image", "images")
	if s.more {
		n = "over " + n
	}
	switch {
	case !e.looked:
		return t.Dim.Render(t.Glyphs.Ellipsis)
	case s.classes >= 2:
		return t.Good.Render(t.Glyphs.Check+" looks like a dataset: ") + fmt.Sprintf("%s, %s", text.Some(s.classes, "class", "classes"), n)
	case s.images > 0 && s.classes == 0:
		return t.Dim.Render(n + ", no folders of classes")
	case s.images > 0:
		return t.Dim.Render(n + " in one folder")
	}
	return t.Dim.Render("no images")
}
