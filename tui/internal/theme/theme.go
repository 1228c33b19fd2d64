// Package theme holds what the terminal screens look like: palettes for dark and light backgrounds, and two sets of
// characters, one drawn and one plain ASCII. It knows no screen and asks the terminal nothing.
package theme

import (
	"image/color"

	"charm.land/lipgloss/v2"
)

// Theme is a palette with its characters. Colours only ever repeat what a word or a glyph says already; without colours
// (NO_COLOR) the styles lose nothing but looks.
type Theme struct {
	Dark   bool // for a dark background
	Colour bool // false: NO_COLOR or a terminal without colours; pictures become text
	ASCII  bool // only ASCII characters are drawn
	Glyphs Glyphs

	Text     lipgloss.Style
	Dim      lipgloss.Style // helpers, units, borders' captions
	Border   lipgloss.Style
	Title    lipgloss.Style // pane captions
	Accent   lipgloss.Style // the product's own colour: the active tab, bars
	Selected lipgloss.Style // the row under the cursor; reversed, so that it shows without colours
	Good     lipgloss.Style
	Warn     lipgloss.Style
	Bad      lipgloss.Style
	Key      lipgloss.Style // a key in the footer
	Series   [2]lipgloss.Style
	heat     [5]color.Color
}

// Glyphs are the characters that have a twin in ASCII.
type Glyphs struct {
	Horizontal, Vertical                         string
	TopLeft, TopRight, BottomLeft, BottomRight   string
	TeeLeft, TeeRight, TeeDown, TeeUp            string
	Cursor, Full, Empty, Ellipsis                string
	Check, Cross, Warn, Info, Active, Wait, Star string
	Up, Down, Left, Right, Dot, Dash, Times      string
	Bars                                         []string // eighths of a block, from 1 to 8
}

var drawn = Glyphs{
	Horizontal: "─", Vertical: "│", TopLeft: "┌", TopRight: "┐", BottomLeft: "└", BottomRight: "┘",
	TeeLeft: "├", TeeRight: "┤", TeeDown: "┬", TeeUp: "┴",
	Cursor: "▸", Full: "█", Empty: "░", Ellipsis: "…",
	Check: "✓", Cross: "✗", Warn: "!", Info: "i", Active: "●", Wait: "○", Star: "★",
	Up: "↑", Down: "↓", Left: "←", Right: "→", Dot: "·", Dash: "–", Times: "×",
	Bars: []string{"▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"},
}

var plain = Glyphs{
	Horizontal: "-", Vertical: "|", TopLeft: "+", TopRight: "+", BottomLeft: "+", BottomRight: "+",
	TeeLeft: "+", TeeRight: "+", TeeDown: "+", TeeUp: "+",
	Cursor: ">", Full: "#", Empty: ".", Ellipsis: "~",
	Check: "v", Cross: "x", Warn: "!", Info: "i", Active: "*", Wait: "o", Star: "*",
	Up: "up", Down: "down", Left: "left", Right: "right", Dot: "-", Dash: "-", Times: "x",
	Bars: []string{"#"},
}

// Options choose a theme.
type Options struct {
	Light, NoColor, ASCII bool
}

// New makes the theme for a terminal.
func New(o Options) *Theme {
	t := &Theme{Dark: !o.Light, Colour: !o.NoColor, ASCII: o.ASCII, Glyphs: drawn}
	if o.ASCII {
		t.Glyphs = plain
	}
	pick := lipgloss.LightDark(t.Dark)
	fg := func(light, dark string) lipgloss.Style {
		s := lipgloss.NewStyle()
		if o.NoColor {
			return s
		}
		return s.Foreground(pick(lipgloss.Color(light), lipgloss.Color(dark)))
	}
	// Contrast against white and against #1a1a1a is at least 4.5:1 for all but borders (WCAG 2.2, 1.4.3).
	t.Text = lipgloss.NewStyle()
	t.Dim = fg("#5f6368", "#9aa0a6")
	t.Border = fg("#a8adb3", "#5a5f66")
	t.Title = fg("#1b5e20", "#a5d6a7").Bold(true)
	t.Accent = fg("#2e7d32", "#81c784").Bold(true)
	t.Selected = lipgloss.NewStyle().Reverse(true)
	t.Good = fg("#2e7d32", "#81c784")
	t.Warn = fg("#8a5a00", "#ffca6b")
	t.Bad = fg("#b3261e", "#ff8a80").Bold(true)
	t.Key = fg("#1b5e20", "#a5d6a7").Bold(true)
	// Okabe and Ito (2008): blue and vermilion stay apart for every kind of colour blindness.
	t.Series = [2]lipgloss.Style{fg("#0072b2", "#56b4e9"), fg("#b84a00", "#ffb066")}
	for i, pair := range [5][2]string{
		{"#e8f0f7", "#1d2b38"}, {"#c5dcf0", "#254a6b"}, {"#92c0e3", "#2d6ea3"}, {"#f6c69c", "#8a5a2b"}, {"#e88b52", "#c4622d"},
	} {
		t.heat[i] = pick(lipgloss.Color(pair[0]), lipgloss.Color(pair[1]))
	}
	return t
}

// Heat is the style of a cell that is share (0…1) full; mistakes take warm colours, right answers cold ones.
func (t *Theme) Heat(share float64, mistake bool) lipgloss.Style {
	s := lipgloss.NewStyle()
	if !t.Colour || share <= 0 {
		return s
	}
	i := 0
	switch {
	case mistake && share > 0.15:
		i = 4
	case mistake:
		i = 3
	case share > 0.66:
		i = 2
	case share > 0.33:
		i = 1
	}
	return s.Background(t.heat[i])
}
