package chart

import (
	"math"
	"strings"
)

// canvas collects dots; a cell takes the style of the series drawn last in it.
type canvas struct {
	w, h   int
	ascii  bool
	dots   []rune // per cell: braille bits, or the series' mark in ASCII
	owners []int8 // per cell: index of the series + 1
	series int
}

func newCanvas(w, h int, ascii bool) *canvas {
	return &canvas{w: w, h: h, ascii: ascii, dots: make([]rune, w*h), owners: make([]int8, w*h)}
}

// bits of a braille cell by column and row; https://www.unicode.org/charts/PDF/U2800.pdf
var bits = [2][4]rune{{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}

// resolution is the number of dots along both axes.
func (c *canvas) resolution() (int, int) {
	if c.ascii {
		return c.w, c.h
	}
	return c.w * 2, c.h * 4
}

// curve draws a series over the given number of points; place maps a value to 0…1, false for a gap.
func (c *canvas) curve(s Series, points int, place func(float64) (float64, bool)) {
	c.series++
	dw, dh := c.resolution()
	have := false
	var lastX, lastY float64
	for i, v := range s.Y {
		share, ok := place(v)
		if !ok {
			have = false
			continue
		}
		x := float64(i) * float64(dw-1) / float64(points-1)
		y := (1 - min(max(share, 0), 1)) * float64(dh-1)
		if have {
			c.segment(s, lastX, lastY, x, y)
		} else {
			c.dot(s, x, y)
		}
		lastX, lastY, have = x, y, true
	}
}

func (c *canvas) segment(s Series, x0, y0, x1, y1 float64) {
	n := int(math.Ceil(max(math.Abs(x1-x0), math.Abs(y1-y0))))
	for k := 0; k <= n; k++ {
		f := float64(k) / float64(max(n, 1))
		x, y := x0+(x1-x0)*f, y0+(y1-y0)*f
		if s.Dashed && c.hole(x, y) {
			continue
		}
		c.dot(s, x, y)
	}
}

// hole tells where a dotted line leaves out: by position, so that it does not depend on where segments begin.
func (c *canvas) hole(x, y float64) bool {
	if c.ascii {
		return false
	}
	return (int(math.Round(x))+int(math.Round(y)))%4 >= 2
}

func (c *canvas) dot(s Series, x, y float64) {
	dx, dy := int(math.Round(x)), int(math.Round(y))
	if c.ascii {
		c.set(dx, dy, s.Mark)
		return
	}
	c.set(dx/2, dy/4, bits[dx%2][dy%4])
}

func (c *canvas) set(col, row int, what rune) {
	if col < 0 || row < 0 || col >= c.w || row >= c.h {
		return
	}
	i := row*c.w + col
	if c.ascii {
		c.dots[i] = what
	} else {
		c.dots[i] |= what
	}
	c.owners[i] = int8(c.series)
}

// line renders one row with runs of the same series in one style.
func (c *canvas) line(row int, series []Series) string {
	var b strings.Builder
	for col := 0; col < c.w; {
		owner := c.owners[row*c.w+col]
		end := col
		var run strings.Builder
		for end < c.w && c.owners[row*c.w+end] == owner {
			run.WriteRune(c.char(row*c.w + end))
			end++
		}
		if owner == 0 {
			b.WriteString(run.String())
		} else {
			b.WriteString(series[owner-1].Style.Render(run.String()))
		}
		col = end
	}
	return b.String()
}

func (c *canvas) char(i int) rune {
	switch {
	case c.dots[i] == 0:
		return ' '
	case c.ascii:
		return c.dots[i]
	}
	return 0x2800 + c.dots[i]
}
