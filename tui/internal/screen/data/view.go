package data

import (
	"fmt"
	"path"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/frame"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// narrow is the width below which there is no room for pictures beside the classes.
const narrow = 70

// row is one line of the class table.
type row struct {
	name   string
	images int
	out    int // left out by the user
}

// rows is the class table: of the manifest, or of what the scan has seen so far.
func (m *Model) rows() []row {
	var out []row
	if m.manifest == nil {
		for _, c := range m.progress.Classes {
			out = append(out, row{name: c.Class, images: c.Images})
		}
		return out
	}
	for _, c := range m.classes {
		kept := m.kept(c)
		out = append(out, row{name: c.name, images: kept, out: len(c.images) - kept})
	}
	return out
}

// View draws the screen.
func (m *Model) View() []string {
	if m.stage == picking {
		return m.pickView()
	}
	problems := m.problemHeight()
	body := max(3, m.h-2-problems-1)
	rule := frame.Rule(m.env.Theme, m.w, "", "")
	below := m.problemPane(problems + 1)
	if m.w >= narrow {
		rule = frame.Tee(m.env.Theme, rule, m.tableWidth(), true)
		below[0] = frame.Tee(m.env.Theme, below[0], m.tableWidth(), false)
	}
	out := []string{m.summary(), rule}
	if m.w < narrow {
		out = append(out, text.Block(m.classTable(m.w, body), m.w, body, m.env.Theme.Glyphs.Ellipsis)...)
	} else {
		side := m.tableWidth()
		out = append(out, frame.Columns(m.env.Theme, body, []int{side, m.w - side - 1}, m.classTable(side, body), m.photos(m.w-side-1, body))...)
	}
	return append(out, below...)
}

func (m *Model) tableWidth() int { return min(56, max(32, m.w*2/5)) }

// problemHeight is as much as the list needs, within limits; the pane in use may take more.
func (m *Model) problemHeight() int {
	limit := max(5, m.h*3/10)
	if m.pane == problemPane {
		limit = max(6, m.h*2/5)
	}
	if m.group >= 0 {
		return limit
	}
	return min(limit, max(4, len(m.groups)+1))
}

// summary is the line on top: the folder and what is in it, or how far the scan is.
func (m *Model) summary() string {
	t := m.env.Theme
	g := t.Glyphs
	left := " " + t.Accent.Render(text.Path(text.Home(m.root), m.w/2, g.Ellipsis)) + "  "
	p := m.progress
	switch {
	case m.stage == ready:
		n, bytes := 0, int64(0)
		for _, c := range m.classes {
			for _, im := range c.images {
				if !m.left[im.Path] {
					n++
					bytes += im.Size
				}
			}
		}
		words := fmt.Sprintf("%s %s %s %s %s", text.Some(len(m.classes), "class", "classes"), g.Dot, text.Some(n, "image", "images"), g.Dot, text.Bytes(bytes))
		if ok, _ := m.trainable(); ok {
			words += " " + t.Good.Render(g.Check)
		}
		return left + words
	case p.Stage == manifest.Hashing:
		share := 0.0
		if p.Bytes > 0 {
			share = float64(p.HashedBytes) / float64(p.Bytes)
		}
		return left + text.Some(p.Images, "image", "images") + "  " + t.Accent.Render(text.Bar(g, share, 16, g.Empty)) + fmt.Sprintf(" reading %.0f %%", 100*share)
	}
	return left + fmt.Sprintf("looking through the folder: %s, %s", text.Some(p.Files, "file", "files"), text.Some(p.Images, "image", "images"))
}

func (m *Model) classTable(w, h int) []string {
	t := m.env.Theme
	g := t.Glyphs
	rows := m.rows()
	most := 1
	for _, r := range rows {
		most = max(most, r.images)
	}
	name := min(20, max(8, w-26))
	bar := max(4, w-name-13)
	out := []string{t.Dim.Render(text.Fit("  Class", name+2, "") + text.Right("images", 8))}
	if len(rows) == 0 && m.stage == ready {
		_, why := m.trainable()
		for _, line := range text.Wrap(text.Safe(why), w-4) {
			out = append(out, "  "+t.Bad.Render(line))
		}
		return out
	}
	from, to := frame.Window(len(rows), m.class, h-1)
	for i := from; i < to; i++ {
		r := rows[i]
		label := text.Fit(text.Safe(r.name), name, g.Ellipsis)
		line := "  " + label
		if i == m.class {
			line = g.Cursor + " " + label
			if m.pane == classPane {
				line = t.Selected.Render(line)
			}
		}
		line += text.Right(text.Count(r.images), 8) + "  " + t.Accent.Render(text.Bar(g, float64(r.images)/float64(most), bar, " "))
		out = append(out, line)
	}
	return out
}

// tile is the size of one picture in cells.
func tile() (w, h int) { return 16, 7 }

// grid is how many tiles fit beside the table.
func (m *Model) grid() (cols, rows int) {
	if m.w < narrow {
		return 0, 0
	}
	tw, th := tile()
	w := m.w - m.tableWidth() - 1
	h := max(3, m.h-2-m.problemHeight()-1) - 1
	return max(1, w/(tw+1)), max(0, h/(th+1))
}

func (m *Model) perPage() int {
	cols, rows := m.grid()
	if !m.env.Theme.Colour { // lines of text instead of pictures
		return max(0, m.h-2-m.problemHeight()-1-1)
	}
	return cols * rows
}

func (m *Model) pages() int {
	n := m.perPage()
	if n == 0 || m.class >= len(m.classes) {
		return 1
	}
	return max(1, (len(m.classes[m.class].images)+n-1)/n)
}

// shownImages are those of the current page.
func (m *Model) shownImages() []manifest.Image {
	n := m.perPage()
	if n == 0 || m.class >= len(m.classes) {
		return nil
	}
	all := m.classes[m.class].images
	page := min(m.page, m.pages()-1)
	return all[min(page*n, len(all)):min((page+1)*n, len(all))]
}

func (m *Model) photos(w, h int) []string {
	t := m.env.Theme
	if m.class >= len(m.classes) {
		if m.stage == ready {
			return []string{"", t.Dim.Render("  No photos to show.")}
		}
		return []string{"", t.Dim.Render("  The photos show as soon as the folder is read.")}
	}
	c := m.classes[m.class]
	page := ""
	if m.pages() > 1 {
		page = fmt.Sprintf("page %d/%d", min(m.page, m.pages()-1)+1, m.pages())
	}
	out := []string{text.Spread(" "+t.Title.Render(text.Safe(c.name))+" "+t.Dim.Render(text.Some(len(c.images), "image", "images")), t.Dim.Render(page)+" ", w, t.Glyphs.Ellipsis)}
	images := m.shownImages()
	if !t.Colour {
		for _, im := range images {
			out = append(out, fmt.Sprintf("  %s  %d%s%d  %s", text.Fit(text.Safe(path.Base(im.Path)), max(8, w-28), t.Glyphs.Ellipsis), im.Width, t.Glyphs.Times, im.Height, text.Bytes(im.Size)))
		}
		return out
	}
	cols, _ := m.grid()
	for len(images) > 0 {
		n := min(cols, len(images))
		out = append(out, m.tiles(images[:n])...)
		images = images[n:]
	}
	return text.Block(out, w, h, t.Glyphs.Ellipsis)
}

// tiles draws one row of pictures with their sizes in pixels below.
func (m *Model) tiles(images []manifest.Image) []string {
	t := m.env.Theme
	tw, th := tile()
	lines := make([]string, th+1)
	for _, im := range images {
		key := thumbKey(im.Path, tw, th)
		var cells []string
		if pic, ok := m.thumbs[key]; ok {
			cells = pic.Lines()
		} else {
			cells = make([]string, th)
			words := t.Glyphs.Dot
			if m.missing[key] {
				words = "cannot be shown"
			}
			cells[th/2] = text.Fit(strings.Repeat(" ", max(0, tw-len(words))/2)+words, tw, "")
		}
		caption := fmt.Sprintf("%d%s%d", im.Width, t.Glyphs.Times, im.Height)
		if m.left[im.Path] {
			caption = t.Warn.Render("left out")
		}
		for i := range th {
			lines[i] += " " + text.Fit(cells[i], tw, "")
		}
		lines[th] += " " + text.Fit(t.Dim.Render(caption), tw, "")
	}
	return lines
}
