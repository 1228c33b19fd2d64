package train

import (
	"fmt"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/frame"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// narrow is the width below which the explanation stands under the list instead of beside it.
const narrow = 76

// View draws the screen.
func (m *Model) View() []string {
	t := m.env.Theme
	out := []string{m.subject(), frame.Rule(t, m.w, "", "")}
	bottom := m.bottom()
	body := m.h - len(out) - len(bottom)
	side := min(48, m.w*2/5)
	if m.w < narrow {
		help := m.help(m.w)
		help = help[:min(len(help), 4)]
		out = append(out, text.Block(m.list(m.w, body-len(help)), m.w, body-len(help), t.Glyphs.Ellipsis)...)
		out = append(out, help...)
	} else {
		out[1] = frame.Tee(t, out[1], m.w-side-1, true)
		bottom[0] = frame.Tee(t, bottom[0], m.w-side-1, false)
		out = append(out, frame.Columns(t, body, []int{m.w - side - 1, side}, m.list(m.w-side-1, body), m.beside(side, body))...)
	}
	return append(out, bottom...)
}

// shortest is how much of an explanation stays at least.
const shortest = 6

// beside is the explanation with, at its foot, what each preset takes; the end of a long explanation gives way to that, but
// never what is wrong with a value.
func (m *Model) beside(w, h int) []string {
	help, costs := m.help(w), m.costs()
	room := h - len(costs)
	if len(costs) == 0 || room < shortest || len(help) > room && m.invalid != "" {
		return help
	}
	help = help[:min(len(help), room)]
	for len(help) < room {
		help = append(help, "")
	}
	return append(help, costs...)
}

func (m *Model) subject() string {
	t := m.env.Theme
	if m.dataset == nil {
		return " " + t.Warn.Render("No photos are chosen yet.") + " Pick a folder under 1 Data."
	}
	mf := m.dataset.Manifest
	s := fmt.Sprintf(" %s %s %s, %s", t.Accent.Render(text.Safe(mf.Name)), t.Glyphs.Dot, text.Some(len(mf.Classes), "class", "classes"), text.Some(len(mf.Images), "image", "images"))
	if n := len(m.dataset.LeftOut); n > 0 {
		s += t.Warn.Render(fmt.Sprintf(" (%d left out by you)", n))
	}
	return s
}

// list draws base models and fields with the cursor.
func (m *Model) list(w, h int) []string {
	t := m.env.Theme
	lines := []string{t.Title.Render(" Base model") + t.Dim.Render("  what yours starts from")}
	at := 0
	switch {
	case m.failed != nil:
		lines = append(lines, wrapped(text.Safe(m.failed.Error()), w)...)
	case m.env.Refused != nil && m.env.Client == nil:
		lines = append(lines, wrapped(text.Safe(m.env.Refused.Error()), w)...)
	case !m.basesOK:
		lines = append(lines, t.Dim.Render("  asking the server which ones it has"+t.Glyphs.Ellipsis))
	case len(m.bases) == 0:
		lines = append(lines, t.Bad.Render("  none is installed at the server"))
	}
	for i, b := range m.bases {
		if i == m.cursor {
			at = len(lines)
		}
		lines = append(lines, m.baseRow(i, b, w))
	}
	lines = append(lines, "", t.Title.Render(" Settings")+t.Dim.Render("  "+m.changes()))
	for i, f := range m.fields() {
		if len(m.bases)+i == m.cursor {
			at = len(lines)
		}
		lines = append(lines, m.fieldRow(len(m.bases)+i, f, w))
	}
	for i, e := range m.extras() {
		row := len(m.bases) + len(m.fields()) + i
		if row == m.cursor {
			at = len(lines)
		}
		lines = append(lines, m.extraRow(row, e, w))
	}
	if !m.advanced {
		lines = append(lines, t.Dim.Render("   a shows all settings"))
	}
	from, to := frame.Window(len(lines), at, h)
	return lines[from:to]
}

func wrapped(s string, w int) []string {
	var out []string
	for _, l := range text.Wrap(s, w-4) {
		out = append(out, "  "+l)
	}
	return out
}

func (m *Model) changes() string {
	n := 0
	for _, name := range m.recipe.Changed() {
		if name != "base" {
			n++
		}
	}
	if n == 0 {
		return "all as in the preset"
	}
	return text.Some(n, "value", "values") + " changed"
}

func (m *Model) baseRow(i int, b api.Base, w int) string {
	t := m.env.Theme
	mark := t.Glyphs.Wait
	if b.Name == m.base() {
		mark = t.Accent.Render(t.Glyphs.Active)
	}
	title := b.Title
	if title == "" {
		title = b.Name
	}
	label := text.Fit(text.Safe(title), min(22, w-28), t.Glyphs.Ellipsis)
	if i == m.cursor {
		label = t.Selected.Render(label)
	}
	acc := ""
	if b.ImagenetTop1 != nil {
		acc = fmt.Sprintf("%.1f %%", *b.ImagenetTop1)
	}
	details := fmt.Sprintf("%.1f M weights %s", float64(b.Params)/1e6, text.Right(acc, 7))
	if w >= 56 {
		details = fmt.Sprintf("%.1f M weights  %d px %s", float64(b.Params)/1e6, b.Size, text.Right(acc, 7))
	}
	if w >= 68 && b.MsPerImage != nil {
		details += text.Right(fmt.Sprintf("%.1f ms", *b.MsPerImage), 9)
	}
	return m.mark(i) + mark + " " + label + "  " + t.Dim.Render(details)
}

func (m *Model) mark(i int) string {
	if i == m.cursor {
		return " " + m.env.Theme.Glyphs.Cursor + " "
	}
	return "   "
}

func (m *Model) fieldRow(i int, f runspec.Field, w int) string {
	t := m.env.Theme
	name := text.Fit(f.Title, min(22, w/2-3), t.Glyphs.Ellipsis)
	value := show(f, m.recipe)
	if i == m.cursor {
		name = t.Selected.Render(name)
		if m.editing {
			m.input.SetWidth(max(4, w-30))
			return m.mark(i) + "  " + name + "  " + m.input.View()
		}
	}
	if i == m.cursor && f.Values != nil && f.Type != runspec.List {
		value = m.options(f)
	}
	changed := f.Name != "preset" && f.Get(m.recipe) != f.Default(m.recipe.Preset)
	if changed {
		value = t.Warn.Render(value + " *")
	}
	return m.mark(i) + "  " + name + "  " + value
}

// options shows all values of a list with the chosen one marked.
func (m *Model) options(f runspec.Field) string {
	t := m.env.Theme
	var out []string
	for _, v := range f.Values {
		if v == f.Get(m.recipe) {
			out = append(out, t.Accent.Underline(true).Render("["+v+"]"))
		} else {
			out = append(out, t.Dim.Render(v))
		}
	}
	return strings.Join(out, " ")
}

// show writes a value as people read it.
func show(f runspec.Field, r runspec.Recipe) string {
	v := f.Get(r)
	if f.Auto && (v == "0" || v == "") {
		return "automatic"
	}
	switch {
	case v == "":
		return "none"
	case v == "0" && f.Zero != "":
		return f.Zero
	}
	if f.Type == runspec.List {
		v = strings.ReplaceAll(v, ",", ", ")
	}
	if f.Unit != "" {
		v += " " + f.Unit
		if v == "1 "+f.Unit {
			v = strings.TrimSuffix(v, "s")
		}
	}
	return v
}

// help explains the row under the cursor.
func (m *Model) help(w int) []string {
	t := m.env.Theme
	var out []string
	add := func(s string) {
		for _, l := range text.Wrap(s, w-2) {
			out = append(out, " "+l)
		}
	}
	if m.cursor < len(m.bases) {
		b := m.bases[m.cursor]
		out = append(out, " "+t.Title.Render(text.Safe(b.Name)))
		add(fmt.Sprintf("Learned to see on a million photos of 1,000 kinds of things. It takes %d %s %d pixels and %s.", b.Size, t.Glyphs.Times, b.Size, work(b.Macs)))
		if b.Bytes > 0 {
			add(fmt.Sprintf("Its weights take %s.", text.Bytes(b.Bytes)))
		}
		if b.MsPerImage != nil && b.MeasuredOn != nil {
			add(fmt.Sprintf("A photo took it %.1f ms on %s, decoding not counted.", *b.MsPerImage, text.Safe(*b.MeasuredOn)))
		}
		if b.ImagenetTop1 != nil {
			add(fmt.Sprintf("Its published accuracy there is %.1f %%.", *b.ImagenetTop1))
		}
		if b.License != nil {
			add("Licence: " + text.Safe(*b.License))
		}
		if b.Unverified != nil && *b.Unverified {
			add("No hash of its weights is published: nobody vouches for the file that they came from.")
		}
		return out
	}
	if e := m.extra(); e != noExtra {
		return m.extraHelp(e, w)
	}
	f, ok := m.field()
	if !ok {
		return nil
	}
	out = append(out, " "+t.Title.Render(f.Title))
	add(f.Help)
	out = append(out, "")
	switch {
	case namesRun(f):
		for _, s := range m.runHelp(f) {
			add(s)
		}
	case f.Values != nil:
		add("One of: " + strings.Join(f.Values, ", "))
	case f.Type != runspec.Text:
		add(fmt.Sprintf("From %g to %g%s.", f.Min, f.Max, unit(f)))
	}
	if f.Name != "preset" {
		preset := runspec.Recipe{}
		_ = f.Set(&preset, f.Default(m.recipe.Preset)) // the table's own value
		add(fmt.Sprintf("The preset %s has %s.", m.recipe.Preset, show(f, preset)))
	}
	if m.invalid != "" {
		out = append(out, "")
		out = append(out, m.bad(m.invalid, w)...)
	}
	return out
}

// bad is a sentence about something wrong.
func (m *Model) bad(words string, w int) []string {
	t := m.env.Theme
	var out []string
	for _, l := range text.Wrap(t.Glyphs.Cross+" "+text.Safe(words), w-2) {
		out = append(out, " "+t.Bad.Render(l))
	}
	return out
}

func unit(f runspec.Field) string {
	if f.Unit == "" {
		return ""
	}
	return " " + f.Unit
}

// work says how much a base computes for an image.
func work(macs int64) string {
	switch {
	case macs <= 0:
		return "an unknown amount of work a photo"
	case macs < 350e6:
		return fmt.Sprintf("little work a photo (%d million operations): good for phones", macs/1e6)
	}
	return fmt.Sprintf("%d million operations a photo", macs/1e6)
}

// bottom is the upload when there is one, else how to start.
func (m *Model) bottom() []string {
	t := m.env.Theme
	if m.cancel != nil {
		return append([]string{frame.Rule(t, m.w, "upload", "S stops it")}, m.upload()...)
	}
	out := []string{frame.Rule(t, m.w, "the same as a command", "y copies")}
	out = append(out, " "+t.Dim.Render("$ ")+text.Cut(text.Safe(m.command()), m.w-4, t.Glyphs.Ellipsis))
	if m.dataset != nil && len(m.dataset.LeftOut) > 0 {
		out = append(out, t.Dim.Render("   (the command trains on all photos; those left out here are left out by this screen only)"))
	}
	takes, refused := m.outlook()
	switch ok, why := m.startable(); {
	case m.problem != nil:
		out = append(out, m.bad(m.problem.Error(), m.w)...)
	case ok && refused != "":
		out = append(out, m.bad(refused, m.w)...)
	case ok && takes != "":
		out = append(out, " "+t.Accent.Render("n")+" sends what is new and starts training: about "+takes+" of disk.")
	case ok:
		out = append(out, " "+t.Accent.Render("n")+" sends the photos that the server lacks, and starts training.")
	default:
		out = append(out, " "+t.Warn.Render(text.Safe(why)))
	}
	return out
}

func (m *Model) upload() []string {
	t := m.env.Theme
	g := t.Glyphs
	p := m.sending
	switch {
	case m.sent:
		return []string{" " + t.Good.Render(g.Check+" All photos are at the server.") + " Starting the run" + g.Ellipsis, ""}
	case p.Images == 0:
		return []string{" asking the server which photos it has" + g.Ellipsis, ""}
	}
	share := 1.0
	if p.Bytes > 0 {
		share = float64(p.SentBytes) / float64(p.Bytes)
	}
	line := " " + t.Accent.Render(text.Bar(g, share, max(10, m.w/3), g.Empty)) + fmt.Sprintf(" %3.0f %%  %s of %s", 100*share, text.Bytes(p.SentBytes), text.Bytes(p.Bytes))
	if p.Rate > 0 {
		line += fmt.Sprintf("  %s/s  %s", text.Bytes(int64(p.Rate)), text.Left(float64(p.Bytes-p.SentBytes)/p.Rate))
	}
	second := fmt.Sprintf(" %s of %s are at the server already; an interrupted upload goes on where it stopped.", text.Count(p.KnownImages), text.Some(p.Images, "photo", "photos"))
	if p.Retrying != "" {
		second = " " + t.Warn.Render(g.Warn+" "+text.Safe(p.Retrying)+" Trying again by itself.")
	}
	return []string{line, second}
}
