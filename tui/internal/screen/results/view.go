package results

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/confusion"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/frame"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// wide is the width from which classes and confusion stand side by side.
const wide = 116

// picture is the size of a mistake's photo in cells.
func picture() (w, h int) { return 32, 14 }

// View draws the screen.
func (m *Model) View() []string {
	t := m.env.Theme
	switch {
	case m.failed != nil:
		return m.notice(t.Bad.Render(t.Glyphs.Cross+" ")+text.Safe(m.failed.Error()), "r asks again.")
	case m.env.Client == nil && m.env.Refused != nil:
		return m.notice(t.Bad.Render(t.Glyphs.Cross+" ")+text.Safe(m.env.Refused.Error()), "R tries to connect again.")
	case m.run.Id == "" && m.none:
		return m.notice("No run is finished yet.", "Train a folder of photos: 1 Data, then n.")
	case m.report == nil:
		return m.notice("Fetching the results" + t.Glyphs.Ellipsis)
	}
	out := []string{" " + t.Good.Render(t.Glyphs.Check) + " " + m.report.headline(t.Glyphs)}
	for i, l := range text.Wrap(m.report.advice(t.Glyphs), m.w-4) {
		if i < 2 {
			out = append(out, "   "+t.Dim.Render(l))
		}
	}
	if l := m.report.unsure(t.Glyphs); l != "" {
		out = append(out, "   "+t.Dim.Render(text.Cut(l, m.w-4, t.Glyphs.Ellipsis)))
	}
	out = append(out, m.tabs())
	bottom := append(m.bottom(), m.delivery()...)
	if at := m.split(); at > 0 {
		out[len(out)-1] = frame.Tee(t, out[len(out)-1], at, true)
		bottom[0] = frame.Tee(t, bottom[0], at, false)
	}
	h := m.h - len(out) - len(bottom)
	out = append(out, text.Block(m.body(h), m.w, h, t.Glyphs.Ellipsis)...)
	return append(out, bottom...)
}

func (m *Model) notice(lines ...string) []string {
	out := make([]string, m.h/3)
	for _, l := range lines {
		for _, part := range text.Wrap(l, max(10, m.w-4)) {
			out = append(out, "  "+part)
		}
	}
	return out
}

// tabs is a rule with the names of the views.
func (m *Model) tabs() string {
	t := m.env.Theme
	g := t.Glyphs
	s := t.Border.Render(g.Horizontal) + " "
	for i, name := range []string{"classes", "confusion", "mistakes", "labels", "files"} {
		if view(i) == m.view {
			s += t.Accent.Underline(true).Render(name)
		} else {
			s += t.Dim.Render(name)
		}
		s += "  "
	}
	return s + t.Border.Render(strings.Repeat(g.Horizontal, max(0, m.w-text.Width(s))))
}

// split is where the line between two panes stands; 0: there is one pane.
func (m *Model) split() int {
	pw, _ := picture()
	switch {
	case m.view <= confusionView && m.w >= wide:
		return m.w * 2 / 5
	case m.w >= pw+50 && len(m.mistakes()) > 0:
		return m.w - pw - 3
	}
	return 0
}

func (m *Model) body(h int) []string {
	switch m.view {
	case classView, confusionView:
		if left := m.split(); left > 0 {
			return frame.Columns(m.env.Theme, h, []int{left, m.w - left - 1}, m.classTable(left, h), m.matrix(m.w-left-1, h))
		}
		if m.view == classView {
			return m.classTable(m.w, h)
		}
		return m.matrix(m.w, h)
	case mistakeView, labelView:
		return m.mistakeList(h)
	}
	return m.fileList(h)
}

func (m *Model) classTable(w, h int) []string {
	t := m.env.Theme
	g := t.Glyphs
	name := max(8, min(24, w-44))
	out := []string{t.Dim.Render("   " + text.Fit("class", name, "") + "  photos  precision   recall       F1")}
	words := text.Wrap("precision: how often it is right when it says so. recall: how many of the class it finds. F1: both in one.", w-4)
	if 1+len(m.report.Classes)+1+len(words) > h { // the classes go before
		words = nil
	}
	from, to := frame.Window(len(m.report.Classes), m.class, h-1)
	for i := from; i < to; i++ {
		c := m.report.Classes[i]
		label := text.Fit(text.Safe(c.Class), name, g.Ellipsis)
		cursor := "   "
		if i == m.class {
			cursor = " " + g.Cursor + " "
			if m.view == classView {
				label = t.Selected.Render(label)
			}
		}
		line := cursor + label + text.Right(text.Count(c.Images), 8)
		for _, v := range []runspec.Float{c.Precision, c.Recall, c.F1} {
			line += text.Right(text.Percent(float64(v), g), 9)
		}
		if bar := w - text.Width(line) - 3; bar >= 6 {
			line += "  " + t.Accent.Render(text.Bar(g, float64(c.F1), min(bar, 20), g.Dot))
		}
		out = append(out, line)
	}
	if len(words) > 0 {
		out = append(out, "")
	}
	for _, l := range words {
		out = append(out, "  "+t.Dim.Render(l))
	}
	return out
}

func (m *Model) matrix(w, h int) []string {
	t := m.env.Theme
	mx := confusion.Matrix{Theme: t, Classes: m.report.safe, Counts: m.report.counts, Row: m.row, Col: m.col}
	out := []string{t.Dim.Render(" rows: what it is; columns: what the model says")}
	for _, l := range mx.Lines(w-2, h-4) {
		out = append(out, " "+l)
	}
	if m.row < len(m.report.safe) && m.col < len(m.report.safe) {
		n := m.report.counts[m.row][m.col]
		a, b := m.report.safe[m.row], m.report.safe[m.col]
		words := fmt.Sprintf("%s of %s taken for %s; enter shows them", text.Some(n, "photo", "photos"), a, b)
		if m.row == m.col {
			words = fmt.Sprintf("%s of %s told right", text.Some(n, "photo", "photos"), a)
		}
		out = append(out, "", " "+words)
	}
	return out
}

func (m *Model) mistakeList(h int) []string {
	t := m.env.Theme
	all := m.mistakes()
	w, beside := m.w, m.split() > 0
	if beside {
		w = m.split()
	}
	caption := text.Some(len(all), "mistake", "mistakes") + ", the most certain first"
	switch {
	case m.view == labelView:
		caption = text.Some(len(all), "photo", "photos") + " that probably lie in the wrong folder, the likeliest first"
	case m.only != nil:
		caption = fmt.Sprintf("%s: %s taken for %s (esc: all)", text.Some(len(all), "mistake", "mistakes"), text.Safe(m.only[0]), text.Safe(m.only[1]))
	}
	out := []string{" " + t.Dim.Render(caption)}
	if len(all) == 0 {
		return append(out, "", "  "+t.Good.Render(t.Glyphs.Check)+" None.")
	}
	from, to := frame.Window(len(all), m.mistake, h-1)
	for i := from; i < to; i++ {
		out = append(out, m.mistakeRow(i, all[i], w))
	}
	if !beside {
		return out
	}
	return frame.Columns(t, h, []int{w, m.w - w - 1}, out, m.photo(all[m.mistake]))
}

func (m *Model) mistakeRow(i int, x runspec.Mistake, w int) string {
	t := m.env.Theme
	g := t.Glyphs
	arrow := " " + g.Right + " "
	if t.ASCII {
		arrow = " > "
	}
	what := fmt.Sprintf("%s%s%s", text.Cut(text.Safe(x.Actual), 16, g.Ellipsis), arrow, text.Cut(text.Safe(x.Predicted), 16, g.Ellipsis))
	what = text.Fit(what, min(36, max(22, w*2/5)), g.Ellipsis)
	cursor := "   "
	if i == m.mistake {
		cursor, what = " "+g.Cursor+" ", t.Selected.Render(what)
	}
	head := cursor + what + text.Right(text.Percent(float64(x.Confidence), g), 8) + "  "
	return head + t.Dim.Render(text.Path(text.Safe(x.Path), max(4, w-text.Width(head)-1), g.Ellipsis))
}

func (m *Model) photo(x runspec.Mistake) []string {
	t := m.env.Theme
	pw, _ := picture()
	var out []string
	switch im, ok := m.thumbs[x.SHA256]; {
	case ok:
		for _, l := range im.Lines() {
			out = append(out, " "+l)
		}
	case m.missing[x.SHA256]:
		out = append(out, t.Dim.Render(" It cannot be shown."))
	default:
		for _, l := range text.Wrap("The photo shows here when its folder was opened under 1 Data.", pw) {
			out = append(out, " "+t.Dim.Render(l))
		}
	}
	out = append(out, "")
	words := "It is %s; the model is %s sure of %s."
	if m.view == labelView {
		words = "It lies in %s; a model that had not seen it is %s sure of %s."
	}
	for _, l := range text.Wrap(fmt.Sprintf(words, text.Safe(x.Actual), text.Percent(float64(x.Confidence), t.Glyphs), text.Safe(x.Predicted)), pw) {
		out = append(out, " "+l)
	}
	return out
}

func (m *Model) fileList(h int) []string {
	t := m.env.Theme
	g := t.Glyphs
	name := max(12, min(28, m.w-58))
	out := []string{t.Dim.Render("   " + text.Fit("file", name, "") + "      size  accuracy  agreement  ms/photo  format")}
	below := m.beside()
	from, to := frame.Window(len(m.files), m.file, max(1, h-4-len(below)))
	for i := from; i < to; i++ {
		a := m.files[i]
		label := text.Fit(text.Safe(a.Name), name, g.Ellipsis)
		cursor := "   "
		if i == m.file {
			cursor, label = " "+g.Cursor+" ", t.Selected.Render(label)
		}
		share := func(v *runspec.Float) string {
			if v == nil {
				return ""
			}
			return text.Percent(float64(*v), g)
		}
		ms := ""
		if a.MsPerImage != nil {
			ms = fmt.Sprintf("%.1f", float64(*a.MsPerImage))
		}
		out = append(out, cursor+label+text.Right(text.Bytes(a.Bytes), 10)+text.Right(share(a.Accuracy), 10)+text.Right(share(a.Agreement), 11)+text.Right(ms, 10)+"  "+text.Safe(a.Format))
	}
	if m.file < len(m.files) && m.files[m.file].Note != "" {
		out = append(out, "")
		for _, l := range text.Wrap(text.Safe(m.files[m.file].Note), m.w-6) {
			out = append(out, "   "+t.Dim.Render(l))
		}
	}
	out = append(out, below...)
	return append(out, "", "   "+t.Dim.Render("agreement: how often the file answers as the trained model does, checked on held-out photos"))
}

// beside sets the model beside its teacher or what it was pruned from, if there is one.
func (m *Model) beside() []string {
	if m.report == nil || len(m.report.Compared) == 0 {
		return nil
	}
	out := []string{"", "   " + m.env.Theme.Dim.Render("measured side by side, as 32-bit numbers")}
	for _, l := range m.report.beside(m.env.Theme.Glyphs) {
		out = append(out, "   "+l)
	}
	return out
}

// delivery is what became of share links and mails.
func (m *Model) delivery() []string {
	lines := m.box.Lines(m.w, max(4, m.h/3))
	if len(lines) == 0 {
		return nil
	}
	return append([]string{frame.Rule(m.env.Theme, m.w, "delivery", "")}, lines...)
}

// bottom is the download: under way, or where it went.
func (m *Model) bottom() []string {
	t := m.env.Theme
	g := t.Glyphs
	if d := m.download; d != nil {
		share := 0.0
		if d.total > 0 {
			share = float64(d.done) / float64(d.total)
		}
		return []string{frame.Rule(t, m.w, "download", ""), " " + t.Accent.Render(text.Bar(g, share, max(10, m.w/4), g.Empty)) +
			fmt.Sprintf(" %3.0f %%  %s  %s of %s", 100*share, text.Safe(d.name), text.Bytes(d.done), text.Bytes(d.total))}
	}
	if len(m.saved) == 0 {
		return []string{frame.Rule(t, m.w, "download", ""), " " + t.Accent.Render("d") + " saves the model in " + text.Path(text.Home(m.env.WorkDir), m.w-26, g.Ellipsis)}
	}
	path := m.saved[len(m.saved)-1]
	link := &url.URL{Scheme: "file", Path: path}
	shown := text.Path(text.Safe(path), m.w-12, g.Ellipsis)
	return []string{frame.Rule(t, m.w, "download", ""), " " + t.Good.Render(g.Check) + " saved " + ansi.SetHyperlink(link.String()) + shown + ansi.ResetHyperlink()}
}
