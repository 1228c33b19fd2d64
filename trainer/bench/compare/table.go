package compare

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Table renders the rows as Markdown, each machine by itself: what each system measured, and whether the bars are met.
func Table(rows []Row) string {
	machines := map[string]bool{}
	for _, r := range rows {
		machines[r.Machine] = true
	}
	if len(machines) == 0 {
		return "Nothing is measured yet.\n"
	}
	var parts []string
	for _, m := range slices.Sorted(maps.Keys(machines)) {
		parts = append(parts, machineTable(m, Of(m, rows)))
	}
	return strings.Join(parts, "\n")
}

func machineTable(machine string, rows []Row) string {
	sets := setsOf(rows)
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\nMeasured with %s.\n\n", machine, strings.Join(versionsOf(rows), ", "))
	b.WriteString(line([]string{"photos", "system", "test accuracy", "seed: accuracy", "seconds"}))
	b.WriteString("|---|---|---|---|---|\n")
	for _, s := range sets {
		title := fmt.Sprintf("%s, %d in %d classes", s.Name, s.Images, s.Classes)
		for _, system := range Systems() {
			measured := bySeed(rows, s, system)
			if len(measured) == 0 {
				continue
			}
			var accuracy, seconds []float64
			var each []string
			for _, seed := range slices.Sorted(maps.Keys(measured)) {
				r := measured[seed]
				accuracy = append(accuracy, r.TestAccuracy)
				if !r.Busy {
					seconds = append(seconds, r.Seconds)
				}
				each = append(each, fmt.Sprintf("%d: %.3f", seed, r.TestAccuracy))
			}
			took := "–"
			if len(seconds) > 0 {
				took = fmt.Sprintf("%.1f", mean(seconds))
			}
			b.WriteString(line([]string{title, string(system), fmt.Sprintf("%.3f", mean(accuracy)), strings.Join(each, ", "), took}))
			title = ""
		}
	}
	header := []string{"bar"}
	for _, s := range sets {
		header = append(header, s.Name)
	}
	b.WriteString("\n" + line(append(header, "")) + strings.Repeat("|---", len(header)+1) + "|\n")
	for _, bar := range bars() {
		b.WriteString(bar.judge(rows, sets))
	}
	return b.String()
}

// setsOf lists the sets by name; of a set whose photos changed, the one that was measured last.
func setsOf(rows []Row) []Set {
	newest := map[string]Row{}
	for _, r := range rows {
		if r.Date >= newest[r.Set].Date {
			newest[r.Set] = r
		}
	}
	sets := make([]Set, 0, len(newest))
	for _, r := range newest {
		sets = append(sets, Set{r.Set, r.Images, r.Classes})
	}
	slices.SortFunc(sets, func(a, b Set) int { return cmp.Compare(a.Name, b.Name) })
	return sets
}

func versionsOf(rows []Row) []string {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.Date, b.Date) })
	var out []string
	for _, r := range rows {
		if !slices.Contains(out, r.Version) {
			out = append(out, r.Version)
		}
	}
	return out
}

// What stands between the marks in a document is the table's.
const (
	startMark = "<!-- bench-trainer -->\n"
	endMark   = "<!-- /bench-trainer -->\n"
)

// Replace puts the table between the marks of a document.
func Replace(document []byte, table string) ([]byte, error) {
	before, rest, ok := bytes.Cut(document, []byte(startMark))
	_, after, ended := bytes.Cut(rest, []byte(endMark))
	if !ok || !ended {
		return nil, errors.New("it lacks the lines " + strings.TrimSpace(startMark) + " and " + strings.TrimSpace(endMark))
	}
	return slices.Concat(before, []byte(startMark+table+endMark), after), nil
}
