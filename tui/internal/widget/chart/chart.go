// Package chart draws curves in a few cells: several series with an own line style each, linear or logarithmic, with
// gaps where a value is not a number. Dots are braille (2 × 4 a cell) or, in ASCII, one character a cell.
package chart

import (
	"fmt"
	"math"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/cultivar-ml/cultivar/tui/internal/theme"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// Series is one curve. Y[i] belongs to X = i+1; a value that is not finite is a gap.
type Series struct {
	Name   string
	Y      []float64
	Style  lipgloss.Style
	Dashed bool // drawn dotted, so that it is told apart without colours
	Mark   rune // the character in ASCII
}

// Chart is what to draw and where.
type Chart struct {
	Theme         *theme.Theme
	Title         string
	Width, Height int // cells, with the axes
	Series        []Series
	Log           bool    // logarithmic Y; values ≤ 0 are gaps
	Floor, Ceil   float64 // Y range that is always shown; both 0: only the data's
	Percent       bool    // label Y as percent
	MinX          int     // at least so many points fit along X
	Legend        bool
}

const axis = 5 // cells left of the plot: four for a label and the axis

// Lines returns exactly Height lines of Width cells.
func (c Chart) Lines() []string {
	if c.Width < axis+4 || c.Height < 3 {
		return text.Block([]string{c.Title}, c.Width, c.Height, c.Theme.Glyphs.Ellipsis)
	}
	w, h := c.Width-axis, c.Height-2 // title above, axis below
	lo, hi, any := c.bounds()
	out := make([]string, 0, c.Height)
	out = append(out, text.Fit(c.head(), c.Width, c.Theme.Glyphs.Ellipsis))
	if !any {
		return c.empty(out)
	}
	plot := newCanvas(w, h, c.Theme.ASCII)
	points := max(c.MinX, c.longest(), 2)
	for _, s := range c.Series {
		plot.curve(s, points, func(v float64) (float64, bool) { return c.place(v, lo, hi) })
	}
	for row := range h {
		label := ""
		switch row {
		case 0:
			label = c.label(hi)
		case h - 1:
			label = c.label(lo)
		case h / 2:
			if h >= 7 {
				label = c.label(c.middle(lo, hi))
			}
		}
		out = append(out, c.Theme.Dim.Render(text.Right(label, axis-1))+c.Theme.Border.Render(c.Theme.Glyphs.Vertical)+plot.line(row, c.Series))
	}
	return append(out, c.axisX(w, points))
}

func (c Chart) empty(out []string) []string {
	for len(out) < c.Height {
		line := ""
		if len(out) == c.Height/2 {
			line = strings.Repeat(" ", axis) + "the first point comes with the first epoch"
		}
		out = append(out, c.Theme.Dim.Render(text.Fit(line, c.Width, c.Theme.Glyphs.Ellipsis)))
	}
	return out
}

func (c Chart) head() string {
	s := c.Theme.Title.Render(c.Title)
	if c.Log {
		s += c.Theme.Dim.Render(" (log)")
	}
	if !c.Legend {
		return s
	}
	for _, x := range c.Series {
		s += "  " + x.Style.Render(c.sample(x)) + " " + c.Theme.Dim.Render(x.Name)
	}
	return s
}

// sample is a stroke of the series as the plot draws it.
func (c Chart) sample(s Series) string {
	switch {
	case c.Theme.ASCII:
		return strings.Repeat(string(s.Mark), 2)
	case s.Dashed:
		return "⠒ ⠒"
	}
	return "⠒⠒⠒"
}

func (c Chart) longest() int {
	n := 0
	for _, s := range c.Series {
		n = max(n, len(s.Y))
	}
	return n
}

// bounds is the range of Y over all finite values, a little widened, and whether there is any.
func (c Chart) bounds() (lo, hi float64, any bool) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, s := range c.Series {
		for _, v := range s.Y {
			if !c.drawable(v) {
				continue
			}
			lo, hi, any = min(lo, v), max(hi, v), true
		}
	}
	if !any {
		return 0, 1, false
	}
	if c.Floor != 0 || c.Ceil != 0 {
		lo, hi = min(lo, c.Floor), max(hi, c.Ceil)
	}
	if hi-lo < 1e-9 {
		d := max(math.Abs(hi)*0.05, 1e-6)
		if lo-d <= 0 && c.Log {
			return lo / 2, hi * 2, true
		}
		lo, hi = lo-d, hi+d
	}
	return lo, hi, true
}

func (c Chart) drawable(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && !(c.Log && v <= 0)
}

// place maps a value to 0 (bottom) … 1 (top).
func (c Chart) place(v, lo, hi float64) (float64, bool) {
	if !c.drawable(v) {
		return 0, false
	}
	if c.Log {
		return (math.Log(v) - math.Log(lo)) / (math.Log(hi) - math.Log(lo)), true
	}
	return (v - lo) / (hi - lo), true
}

func (c Chart) middle(lo, hi float64) float64 {
	if c.Log {
		return math.Sqrt(lo * hi)
	}
	return (lo + hi) / 2
}

func (c Chart) label(v float64) string {
	if c.Percent {
		return fmt.Sprintf("%.0f%%", v*100)
	}
	for _, f := range []string{"%.2f", "%.1f", "%.0f", "%.0e"} {
		if s := fmt.Sprintf(f, v); len(s) < axis {
			return s
		}
	}
	return ""
}

// axisX draws the line below with epoch numbers that do not touch.
func (c Chart) axisX(w, points int) string {
	g := c.Theme.Glyphs
	cells := []rune(strings.Repeat(g.Horizontal, w))
	next := 0
	for i := 1; i <= points; i++ {
		at := (i - 1) * (w - 1) / max(1, points-1)
		s := fmt.Sprint(i)
		at = min(at, w-len(s))
		if at < next || at < 0 {
			continue
		}
		copy(cells[at:], []rune(s))
		next = at + len(s) + 4
	}
	return c.Theme.Border.Render(strings.Repeat(" ", axis-1)+g.BottomLeft) + c.Theme.Dim.Render(string(cells))
}
