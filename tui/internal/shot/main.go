// Command shot turns a terminal screen with its colours, as `tmux capture-pane -p -e` prints it, into an SVG picture for
// the documents:
//
//	tmux capture-pane -t NAME -p -e | go run ./tui/internal/shot -columns 100 -rows 30 > docs/images/live.svg
//
// It draws what a real program showed; it runs no program itself.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"html"
	"image/color"
	"io"
	"os"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
)

// One cell in SVG units; the proportions are those of common terminal fonts.
const (
	cellWidth  = 8.4
	cellHeight = 17
	margin     = 12
)

// palette is the dark background the screen was made for, and its text.
var (
	ground = color.RGBA{0x16, 0x18, 0x1d, 0xff}
	ink    = color.RGBA{0xdd, 0xdf, 0xe2, 0xff}
)

func main() {
	columns := flag.Int("columns", 100, "width of the screen in cells")
	rows := flag.Int("rows", 30, "height of the screen in cells")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *columns, *rows); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, columns, rows int) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the screen: %w", err)
	}
	e := vt.NewEmulator(columns, rows)
	defer e.Close()
	screen := strings.TrimRight(string(text), "\n")
	if _, err := e.WriteString(strings.ReplaceAll(screen, "\n", "\r\n")); err != nil {
		return fmt.Errorf("show the screen: %w", err)
	}
	w := bufio.NewWriter(out)
	draw(w, e, columns, rows)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

func draw(w io.Writer, e *vt.Emulator, columns, rows int) {
	width, height := float64(columns)*cellWidth+2*margin, float64(rows)*cellHeight+2*margin
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" font-family="'DejaVu Sans Mono','Menlo','Consolas',monospace" font-size="14" xml:space="preserve">`+"\n", width, height, width, height)
	fmt.Fprintf(w, `<rect width="100%%" height="100%%" rx="8" fill="%s"/>`+"\n", hex(ground))
	for y := range rows {
		drawRow(w, e, y, columns)
	}
	fmt.Fprintln(w, "</svg>")
}

// run of cells of one look.
type span struct {
	from, cells int
	fg, bg      color.Color
	bold, under bool
	text        string
}

func drawRow(w io.Writer, e *vt.Emulator, y, columns int) {
	var spans []span
	for x := 0; x < columns; {
		c := e.CellAt(x, y)
		next := look(c, x)
		x += next.cells
		if n := len(spans); n > 0 && same(spans[n-1], next) {
			spans[n-1].cells += next.cells
			spans[n-1].text += next.text
			continue
		}
		spans = append(spans, next)
	}
	top := margin + float64(y)*cellHeight
	for _, s := range spans {
		left, width := margin+float64(s.from)*cellWidth, float64(s.cells)*cellWidth
		if s.bg != nil {
			fmt.Fprintf(w, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s"/>`+"\n", left, top, width+0.2, cellHeight, hex(s.bg))
		}
		var outline strings.Builder
		cell := 0
		words := strings.Map(func(r rune) rune {
			cell++
			if p := shape(r, left+float64(cell-1)*cellWidth, top); p != "" {
				outline.WriteString(p)
				return ' '
			}
			return r
		}, s.text)
		if outline.Len() > 0 {
			fmt.Fprintf(w, `<path d="%s" fill="%s"/>`+"\n", outline.String(), hex(s.fg))
		}
		extra := ""
		if s.bold {
			extra += ` font-weight="bold"`
		}
		if s.under {
			extra += ` text-decoration="underline"`
		}
		for _, word := range split(words) {
			fmt.Fprintf(w, `<text x="%.1f" y="%.1f" textLength="%.1f" fill="%s"%s>%s</text>`+"\n", left+float64(word.at)*cellWidth, top+13,
				float64(ansi.StringWidth(word.text))*cellWidth, hex(s.fg), extra, html.EscapeString(word.text))
		}
	}
}

type word struct {
	at   int // cell
	text string
}

// split cuts text at spaces, so that every word stands in its own cells whatever the font.
func split(s string) []word {
	var out []word
	cell := 0
	for _, part := range strings.SplitAfter(s, " ") {
		if t := strings.TrimRight(part, " "); t != "" {
			out = append(out, word{at: cell, text: t})
		}
		cell += ansi.StringWidth(part)
	}
	return out
}

func look(c *uv.Cell, x int) span {
	s := span{from: x, cells: 1, fg: ink, text: " "}
	if c == nil {
		return s
	}
	if c.Width > 1 {
		s.cells = c.Width
	}
	if c.Content != "" {
		s.text = c.Content
	}
	if c.Style.Fg != nil {
		s.fg = c.Style.Fg
	}
	s.bg = c.Style.Bg
	s.bold = c.Style.Attrs&uv.AttrBold != 0
	s.under = c.Style.Underline != 0
	if c.Style.Attrs&uv.AttrReverse != 0 {
		bg := s.bg
		if bg == nil {
			bg = ground
		}
		s.fg, s.bg = bg, s.fg
	}
	return s
}

func same(a, b span) bool {
	return hex(a.fg) == hex(b.fg) && hex(a.bg) == hex(b.bg) && a.bold == b.bold && a.under == b.under
}

func hex(c color.Color) string {
	if c == nil {
		return ""
	}
	r, g, b, _ := c.RGBA()
	return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
}
