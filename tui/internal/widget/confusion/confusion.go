// Package confusion draws a confusion matrix: rows are what an image is, columns what the model said. Each cell has its
// number and a colour, and a mark where the model is wrong often, so that it reads without colours.
package confusion

import (
	"fmt"
	"strings"

	"github.com/cultivar-ml/cultivar/tui/internal/theme"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// Matrix is what to draw. Counts[i][j] are images of class i that were taken for class j.
type Matrix struct {
	Theme   *theme.Theme
	Classes []string // safe to print
	Counts  [][]int
	Row     int // cursor; -1: none
	Col     int
}

// Size tells how many rows and columns of cells fit into w × h.
func (m Matrix) Size(w, h int) (rows, cols int) {
	return min(len(m.Classes), h-1), min(len(m.Classes), (w-m.names()-1)/m.cell(w))
}

func (m Matrix) names() int {
	n := 4
	for _, c := range m.Classes {
		n = max(n, text.Width(c))
	}
	return min(n, 14)
}

// cell is the width of a cell: the largest number and a space on each side, and as much of the class names as there is
// room for when all classes fit.
func (m Matrix) cell(w int) int {
	n, name := 3, 3
	for i, row := range m.Counts {
		name = max(name, text.Width(m.Classes[i]))
		for _, v := range row {
			n = max(n, len(fmt.Sprint(v)))
		}
	}
	room := (w - m.names() - 1) / max(1, len(m.Classes))
	return max(n, min(name, 12, room-2)) + 2
}

// Lines draws the part of the matrix around the cursor into at most h lines of w cells.
func (m Matrix) Lines(w, h int) []string {
	rows, cols := m.Size(w, h)
	if rows <= 0 || cols <= 0 {
		return nil
	}
	g := m.Theme.Glyphs
	top, left := around(m.Row, rows, len(m.Classes)), around(m.Col, cols, len(m.Classes))
	nw, cw := m.names(), m.cell(w)
	var head strings.Builder
	head.WriteString(strings.Repeat(" ", nw+1))
	for j := left; j < left+cols; j++ {
		head.WriteString(text.Right(text.Cut(m.Classes[j], cw-1, ""), cw))
	}
	out := []string{m.Theme.Dim.Render(head.String())}
	for i := top; i < top+rows; i++ {
		var b strings.Builder
		b.WriteString(text.Fit(m.Classes[i], nw, g.Ellipsis) + " ")
		total := 0
		for _, v := range m.Counts[i] {
			total += v
		}
		for j := left; j < left+cols; j++ {
			b.WriteString(m.cellAt(i, j, total, cw))
		}
		out = append(out, b.String())
	}
	return out
}

func (m Matrix) cellAt(i, j, total, cw int) string {
	v := m.Counts[i][j]
	s := m.Theme.Glyphs.Dot
	share := 0.0
	if v > 0 {
		s = fmt.Sprint(v)
		share = float64(v) / float64(max(total, 1))
	}
	wrong := i != j
	mark := " "
	if wrong && share >= 0.1 {
		mark = "!"
	}
	cell := text.Right(s, cw-1) + mark
	if i == m.Row && j == m.Col {
		return m.Theme.Selected.Render(cell)
	}
	return m.Theme.Heat(share, wrong).Render(cell)
}

// around is the first of `size` visible indices out of n, with the cursor among them.
func around(cursor, size, n int) int {
	return min(max(0, cursor-size/2), max(0, n-size))
}
