// Package text fits words into cells: cutting, padding, wrapping, bars and human units. It measures what a terminal
// shows, not bytes. Names from outside pass Safe first; nothing else here cleans.
package text

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/cultivar-ml/cultivar/shared/safe"
	"github.com/cultivar-ml/cultivar/tui/internal/theme"
)

// Safe makes a name or a sentence from outside fit for a terminal.
func Safe(s string) string { return safe.Text(s).String() }

// Home writes a path as people do, with ~ for their own folder, and safe.
func Home(path string) string {
	dir, err := os.UserHomeDir()
	if err != nil || dir == "/" {
		return Safe(path)
	}
	if rest, ok := strings.CutPrefix(path, dir); ok && (rest == "" || rest[0] == filepath.Separator) {
		return Safe("~" + rest)
	}
	return Safe(path)
}

// Width is how many cells s takes.
func Width(s string) int { return ansi.StringWidth(s) }

// Cut shortens s to w cells; tail marks the cut.
func Cut(s string, w int, tail string) string {
	if w <= 0 {
		return ""
	}
	if ansi.StringWidth(s) <= w {
		return s
	}
	return ansi.Truncate(s, w, tail)
}

// Fit makes s exactly w cells wide.
func Fit(s string, w int, tail string) string {
	if w <= 0 {
		return ""
	}
	s = Cut(s, w, tail)
	return s + strings.Repeat(" ", max(0, w-ansi.StringWidth(s)))
}

// Right makes s exactly w cells wide with its end at the right edge.
func Right(s string, w int) string {
	if w <= 0 {
		return ""
	}
	s = Cut(s, w, "")
	return strings.Repeat(" ", max(0, w-ansi.StringWidth(s))) + s
}

// Path shortens a path from the left, because its end tells more.
func Path(s string, w int, tail string) string {
	n := ansi.StringWidth(s)
	if n <= w || w <= 0 {
		return Cut(s, w, tail)
	}
	return ansi.TruncateLeft(s, n-w+ansi.StringWidth(tail), tail)
}

// Spread puts left and right at the two ends of w cells; right survives when both do not fit.
func Spread(left, right string, w int, tail string) string {
	room := w - ansi.StringWidth(right)
	if room < 2 {
		return Fit(left, w, tail)
	}
	return Fit(left, room-1, tail) + " " + right
}

// Wrap breaks s at words into lines of at most w cells.
func Wrap(s string, w int) []string {
	if w <= 0 {
		return nil
	}
	return strings.Split(ansi.Wrap(s, w, ""), "\n")
}

// Block makes lines exactly h lines of w cells.
func Block(lines []string, w, h int, tail string) []string {
	out := make([]string, 0, max(0, h))
	for i := range max(0, h) {
		if i < len(lines) {
			out = append(out, Fit(lines[i], w, tail))
		} else {
			out = append(out, strings.Repeat(" ", max(0, w)))
		}
	}
	return out
}

// Bar draws share (0…1) of w cells, in eighths of a cell where the glyphs have them; rest fills what is left.
func Bar(g theme.Glyphs, share float64, w int, rest string) string {
	if w <= 0 {
		return ""
	}
	if math.IsNaN(share) || share < 0 {
		share = 0
	}
	n := len(g.Bars)
	units := int(math.Round(min(share, 1) * float64(w*n)))
	if units == 0 && share > 0 {
		units = 1
	}
	s := strings.Repeat(g.Full, units/n)
	used := units / n
	if part := units % n; part > 0 {
		s += g.Bars[part-1]
		used++
	}
	return s + strings.Repeat(rest, max(0, w-used))
}

// Bytes says a number of bytes as people do, in powers of 1000.
func Bytes(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if f < 999.5 {
			if unit == "B" || f >= 9.95 {
				return fmt.Sprintf("%.0f %s", f, unit)
			}
			return fmt.Sprintf("%.1f %s", f, unit)
		}
		f /= 1000
	}
	return fmt.Sprintf("%.1f TB", f)
}

// Count groups a number's thousands.
func Count(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Some says a count with its noun.
func Some(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// Percent says a share with one decimal; a number that is not finite is a dash.
func Percent(share float64, g theme.Glyphs) string {
	if math.IsNaN(share) || math.IsInf(share, 0) {
		return g.Dash
	}
	return fmt.Sprintf("%.1f %%", share*100)
}

// Span says a duration in its two largest units.
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// Left says roughly how much time is left.
func Left(seconds float64) string {
	switch {
	case math.IsNaN(seconds) || math.IsInf(seconds, 0) || seconds <= 0:
		return ""
	case seconds < 60:
		return fmt.Sprintf("~%d s left", int(math.Ceil(seconds)))
	case seconds < 5400:
		return fmt.Sprintf("~%d min left", int(math.Round(seconds/60)))
	}
	return fmt.Sprintf("~%.1f h left", seconds/3600)
}
