// Package frame draws what holds panes together: rules with captions, columns with a line between, dialogs over a
// screen, and the window of a list that follows its cursor. It draws no content of its own.
package frame

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/cultivar-ml/cultivar/tui/internal/theme"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// Rule is a horizontal line of w cells with a caption on the left and a remark on the right; both may be empty.
func Rule(t *theme.Theme, w int, caption, remark string) string {
	if w <= 0 {
		return ""
	}
	g := t.Glyphs
	left, right := "", ""
	if caption != "" {
		left = " " + text.Cut(caption, w-4, g.Ellipsis) + " "
	}
	if remark != "" && w-text.Width(left) > text.Width(remark)+6 {
		right = " " + remark + " "
	}
	fill := w - 1 - text.Width(left) - text.Width(right)
	if right != "" {
		fill--
	}
	line := t.Border.Render(g.Horizontal) + t.Title.Render(left) + t.Border.Render(strings.Repeat(g.Horizontal, max(0, fill)))
	if right != "" {
		line += t.Dim.Render(right) + t.Border.Render(g.Horizontal)
	}
	return line
}

// Tee marks where a vertical line meets a rule from below or above at cell x; a caption in its way stays.
func Tee(t *theme.Theme, rule string, x int, below bool) string {
	g := t.Glyphs
	if ansi.Strip(ansi.Cut(rule, x, x+1)) != g.Horizontal {
		return rule
	}
	tee := g.TeeUp
	if below {
		tee = g.TeeDown
	}
	return ansi.Cut(rule, 0, x) + t.Border.Render(tee) + ansi.Cut(rule, x+1, text.Width(rule))
}

// Columns puts blocks side by side, h lines high, with a vertical line between; each block is fitted to its width.
func Columns(t *theme.Theme, h int, widths []int, blocks ...[]string) []string {
	out := make([]string, max(0, h))
	bar := t.Border.Render(t.Glyphs.Vertical)
	for i := range out {
		var b strings.Builder
		for j, block := range blocks {
			if j > 0 {
				b.WriteString(bar)
			}
			line := ""
			if i < len(block) {
				line = block[i]
			}
			b.WriteString(text.Fit(line, widths[j], t.Glyphs.Ellipsis))
		}
		out[i] = b.String()
	}
	return out
}

// Window returns which rows [from, to) of n fit into h so that cursor is visible and, when possible, near the middle.
func Window(n, cursor, h int) (from, to int) {
	if h <= 0 || n <= 0 {
		return 0, 0
	}
	from = min(max(0, cursor-h/2), max(0, n-h))
	return from, min(n, from+h)
}

// Box draws a border with a caption around lines, w cells wide in all.
func Box(t *theme.Theme, w int, caption string, lines []string) []string {
	g := t.Glyphs
	inner := w - 4
	side := t.Accent.Render(g.Vertical)
	head := text.Cut(" "+caption+" ", w-4, g.Ellipsis)
	out := []string{t.Accent.Render(g.TopLeft + g.Horizontal + head + strings.Repeat(g.Horizontal, max(0, w-3-text.Width(head))) + g.TopRight)}
	for _, l := range lines {
		out = append(out, side+" "+text.Fit(l, inner, g.Ellipsis)+" "+side)
	}
	return append(out, t.Accent.Render(g.BottomLeft+strings.Repeat(g.Horizontal, max(0, w-2))+g.BottomRight))
}

// Over lays a box onto the middle of a screen of w × h cells.
func Over(screen, box []string, w, h int) []string {
	out := append([]string(nil), screen...)
	bw := 0
	for _, l := range box {
		bw = max(bw, text.Width(l))
	}
	top, left := max(0, (h-len(box))/2), max(0, (w-bw)/2)
	for i, l := range box {
		if top+i >= len(out) {
			break
		}
		under := out[top+i]
		out[top+i] = text.Fit(ansi.Cut(under, 0, left), left, "") + l + ansi.Cut(under, left+text.Width(l), w)
	}
	return out
}
