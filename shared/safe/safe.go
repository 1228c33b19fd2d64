// Package safe makes text from outside (file names, class names, error texts of other programs) fit to be shown in a
// terminal or a log. It is about display only: it validates nothing and its output is not meant to be read back.
package safe

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// String is text that cannot move the cursor, change colours, reorder or hide its neighbours. The only ways to make one
// are Text and its methods; the zero value is empty.
type String struct{ s string }

const (
	maxMarks = 8 // combining marks in a row; scripts in use stay below, stacks of dozens spill over other lines
	ellipsis = "…"
)

// Text makes s safe: control characters become their Unicode pictures (␛, ␊), characters that reorder or hide text become
// their number (‹U+202E›), bytes that are no UTF-8 become ‹0xFF›, and all else stays.
func Text(s string) String {
	if plain(s) {
		return String{s}
	}
	var b strings.Builder
	marks := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if unicode.Is(unicode.M, r) {
			marks++
		} else {
			marks = 0
		}
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, "‹0x%02X›", s[i])
		case r < 0x20:
			b.WriteRune('␀' + r)
		case r == 0x7f:
			b.WriteRune('␡')
		case invisible(r) || marks > maxMarks:
			fmt.Fprintf(&b, "‹U+%04X›", r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return String{b.String()}
}

// Texts makes each of the names safe and joins them with sep, which is trusted.
func Texts(names []string, sep string) String {
	var b strings.Builder
	for i, n := range names {
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(Text(n).s)
	}
	return String{b.String()}
}

// String returns the text.
func (s String) String() string { return s.s }

// Width is how many terminal cells the text takes: two for East Asian wide characters and emoji, none for combining marks.
func (s String) Width() int {
	n := 0
	for _, r := range s.s {
		n += cells(r)
	}
	return n
}

// Cut returns the text in at most n cells, with an ellipsis in place of what is missing at its end.
func (s String) Cut(n int) String {
	if s.Width() <= n {
		return s
	}
	if n < 1 {
		return String{}
	}
	used := 0
	for i, r := range s.s {
		if used+cells(r) > n-1 {
			return String{s.s[:i] + ellipsis}
		}
		used += cells(r)
	}
	return s
}

// CutStart is Cut with the ellipsis at the start, for paths, whose end tells most.
func (s String) CutStart(n int) String {
	total := s.Width()
	if total <= n {
		return s
	}
	if n < 1 {
		return String{}
	}
	for i, r := range s.s {
		// A mark without its letter would sit on the ellipsis.
		if total <= n-1 && cells(r) > 0 {
			return String{ellipsis + s.s[i:]}
		}
		total -= cells(r)
	}
	return String{ellipsis}
}

func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			return false
		}
	}
	return true
}

// invisible tells the characters that show nothing, or act on others: C1 controls, bidi and zero-width characters, line
// and paragraph separators, fillers, private use and what Unicode has not assigned.
func invisible(r rune) bool {
	switch r {
	case '\u034f', '\u115f', '\u1160', '\u17b4', '\u17b5', '\u3164', '\uffa0', '\u2028', '\u2029', '\u2800':
		return true
	}
	return !unicode.IsGraphic(r)
}

func cells(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}
