package chart_test

import (
	"math"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"github.com/cultivar-ml/cultivar/tui/internal/theme"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/chart"
)

func draw(c chart.Chart) []string {
	if c.Theme == nil {
		c.Theme = theme.New(theme.Options{NoColor: true, ASCII: true})
	}
	var out []string
	for _, l := range c.Lines() {
		out = append(out, ansi.Strip(l))
	}
	return out
}

func TestGapWhereNotANumber(t *testing.T) {
	s := chart.Series{Name: "a", Y: []float64{1, 1, math.NaN(), 1, 1}, Mark: '*'}
	lines := draw(chart.Chart{Width: 25, Height: 5, Series: []chart.Series{s}})
	row := ""
	for _, l := range lines {
		if strings.Contains(l, "*") {
			row = l
		}
	}
	parts := strings.Fields(row[strings.Index(row, "|")+1:])
	if len(parts) != 2 {
		t.Errorf("a value that is not a number must leave a gap between two strokes:\n%s", strings.Join(lines, "\n"))
	}
}

func TestLogScalePutsEqualRatiosAtEqualHeights(t *testing.T) {
	s := chart.Series{Y: []float64{100, 10, 1}, Mark: '*'}
	at := func(log bool) int {
		lines := draw(chart.Chart{Width: 26, Height: 13, Log: log, Series: []chart.Series{s}})
		for i, l := range lines {
			if cells := []rune(l); len(cells) > 15 && cells[5+10] == '*' {
				return i
			}
		}
		return -1
	}
	if linear, log := at(false), at(true); log >= linear || log < 5 || log > 7 {
		t.Errorf("the middle value stands in line %d, linear in %d; on a log scale it belongs into the middle", log, linear)
	}
}

func TestExactSize(t *testing.T) {
	for _, ascii := range []bool{false, true} {
		th := theme.New(theme.Options{ASCII: ascii})
		for w := 1; w < 90; w += 3 {
			for h := 1; h < 30; h += 4 {
				for _, y := range [][]float64{nil, {0.5}, {1, 2, math.Inf(1), 3}, {math.NaN()}, {-1, 0, 1e9}} {
					for _, log := range []bool{false, true} {
						c := chart.Chart{Theme: th, Title: "loss", Width: w, Height: h, Log: log, Legend: true, Series: []chart.Series{{Name: "a", Y: y, Mark: '*'}, {Name: "b", Y: y, Dashed: true, Mark: 'o'}}}
						lines := c.Lines()
						if len(lines) != h {
							t.Fatalf("%d lines for %d×%d", len(lines), w, h)
						}
						for _, l := range lines {
							if got := ansi.StringWidth(l); got != w {
								t.Fatalf("%d cells for %d×%d of %v: %q", got, w, h, y, l)
							}
						}
					}
				}
			}
		}
	}
}

func TestSeriesDifferWithoutColours(t *testing.T) {
	y := []float64{1, 2, 3, 4, 5, 6}
	render := func(dashed bool) string {
		return strings.Join(draw(chart.Chart{Theme: theme.New(theme.Options{NoColor: true}), Width: 60, Height: 10, Series: []chart.Series{{Y: y, Dashed: dashed}}}), "\n")
	}
	if render(false) == render(true) {
		t.Error("a dashed series looks like a solid one")
	}
}
