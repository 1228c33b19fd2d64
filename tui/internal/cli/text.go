package cli

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

// table is text in columns. Cells must be fit for the terminal; numbers stand at the right.
type table struct {
	heads   []string
	numeric []bool
	rows    [][]string
}

// newTable makes a table; a head that begins with > is a column of numbers.
func newTable(heads ...string) *table {
	t := &table{}
	for _, h := range heads {
		name, number := strings.CutPrefix(h, ">")
		t.heads, t.numeric = append(t.heads, name), append(t.numeric, number)
	}
	return t
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// String has a line for the heads and one for each row.
func (t *table) String() string {
	widths := make([]int, len(t.heads))
	all := append([][]string{t.heads}, t.rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], safe.Text(cell).Width())
		}
	}
	var b strings.Builder
	for n, row := range all {
		if n > 0 {
			b.WriteByte('\n')
		}
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			pad := strings.Repeat(" ", max(0, widths[i]-safe.Text(cell).Width()))
			if t.numeric[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
	}
	return b.String()
}

// count is "1 image" or "2,345 images".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(int64(n)) + " " + many
}

func size(n int64) string { return humanize.Bytes(uint64(max(0, n))) }

// percent of a share 0…1.
func percent(share float64) string {
	if math.IsNaN(share) || math.IsInf(share, 0) {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*share)
}

// span is a duration as people say it.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(time.Second).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
}

// inWords says what an accuracy means for someone who has never heard of one.
func inWords(accuracy float64, images, classes int) string {
	right := int(math.Round(100 * accuracy))
	text := fmt.Sprintf("Of 100 new photos like these, about %d would be named right.", right)
	if right == 100 && accuracy < 1 {
		text = "Of 100 new photos like these, nearly all would be named right."
	}
	if classes > 1 && accuracy < 1.5/float64(classes) {
		text += " That is hardly better than guessing: check that the folders hold what their names say."
	}
	if images > 0 && images < 50 {
		text += fmt.Sprintf(" This was measured on only %s, so take it with a pinch of salt.", count(images, "photo", "photos"))
	}
	return text
}

// stateWords is a state as the end of a sentence about a run.
func stateWords(s api.State) string {
	switch s {
	case api.StateQueued:
		return "waits for its turn"
	case api.StateStarting:
		return "is starting"
	case api.StateRunning:
		return "is being trained"
	case api.StateStopping:
		return "is being ended"
	case api.StateInterrupted:
		return "was interrupted and will go on"
	case api.StateSucceeded:
		return "has finished"
	case api.StateFailed:
		return "has failed"
	case api.StateCancelled:
		return "was cancelled"
	}
	return shown(string(s), "is in no known state")
}
