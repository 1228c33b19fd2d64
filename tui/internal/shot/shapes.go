package main

import (
	"fmt"
	"strings"
)

// shape is the outline of a character that has to meet its neighbours, as SVG path data at the cell's corner; empty for
// all others. Fonts differ in how they draw these, or lack them.
func shape(r rune, x, y float64) string {
	box := func(left, top, width, height float64) string {
		return fmt.Sprintf("M%.1f %.1fh%.1fv%.1fh%.1fz", x+left, y+top, width, height, -width)
	}
	switch {
	case r > 0x2800 && r <= 0x28ff:
		return braille(r, x, y)
	case r == '█':
		return box(0, 0, cellWidth, cellHeight)
	case r >= '▉' && r <= '▏':
		return box(0, 0, cellWidth*float64('▏'-r+1)/8, cellHeight)
	case r == '▀':
		return box(0, 0, cellWidth, cellHeight/2.)
	case r == '▄':
		return box(0, cellHeight/2., cellWidth, cellHeight/2.)
	case r == '░':
		return box(0.6, 7, cellWidth-1.2, 3)
	}
	arms, ok := lines[r]
	if !ok {
		return ""
	}
	const thin = 1.0
	midX, midY := (cellWidth-thin)/2, (cellHeight-thin)/2
	var b strings.Builder
	if strings.Contains(arms, "l") {
		b.WriteString(box(0, midY, midX+thin, thin))
	}
	if strings.Contains(arms, "r") {
		b.WriteString(box(midX, midY, cellWidth-midX, thin))
	}
	if strings.Contains(arms, "u") {
		b.WriteString(box(midX, 0, thin, midY+thin))
	}
	if strings.Contains(arms, "d") {
		b.WriteString(box(midX, midY, thin, cellHeight-midY))
	}
	return b.String()
}

// lines says to which sides a line character reaches.
var lines = map[rune]string{
	'─': "lr", '│': "ud", '┌': "rd", '┐': "ld", '└': "ru", '┘': "lu", '├': "urd", '┤': "uld", '┬': "lrd", '┴': "lru",
}

// braille draws the dots of a pattern; https://www.unicode.org/charts/PDF/U2800.pdf
func braille(r rune, x, y float64) string {
	bits := [8][2]float64{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}, {0, 3}, {1, 3}}
	const size = 2.2
	var b strings.Builder
	for i, at := range bits {
		if (r-0x2800)&(1<<i) != 0 {
			fmt.Fprintf(&b, "M%.1f %.1fh%.1fv%.1fh%.1fz", x+at[0]*cellWidth/2+1, y+at[1]*cellHeight/4+1, size, size, -size)
		}
	}
	return b.String()
}
