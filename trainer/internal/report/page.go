package report

import (
	"cmp"
	_ "embed" // the template and its style
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// How much the page shows of what has no bound. Whole lists are in evaluation.json.
const (
	matrixClasses = 30 // of a confusion matrix that is still readable
	shownClasses  = 30 // rows before a long table is folded
	shownPairs    = 40 // that are confused most
	besideMatrix  = 8  // of them, where the matrix has them all
	shownProblems = 100
	shownWarnings = 20
	shownDoubtful = 200 // photos that are likely mislabelled, the first of them as pictures
)

// Page writes report.html: one page with everything inside, which opens from a disk without a network and without scripts.
func Page(w io.Writer, r Run) error {
	t, err := template.New("page").Funcs(template.FuncMap{"name": name, "path": path, "count": count, "size": size, "ms": ms,
		"million": million,
		"percent": func(v runspec.Float) string { return strings.ReplaceAll(percent(v), " ", "\u00a0") }}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := t.Execute(w, newPage(r)); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// page is what the template sees besides the run.
type page struct {
	Run
	Style     template.CSS
	Names     string // the first few classes
	Ended     string
	Took      string
	Unseen    string
	Right     int
	Low, High runspec.Float
	Interval  interval
	Advice    []advice
	All       Class
	Rows      []row
	Folded    []row // further rows
	Matrix    []matrixRow
	Pairs     []runspec.Confused
	Mistakes  []mistake
	Doubtful  []doubtful
	Unseeable []runspec.Mislabelled // further ones, without pictures
	Charts    []chart
	Settings  []setting
	Unread    []runspec.Problem
	Said      []string // warnings
	Kinds     string
	Measured  bool // some file has an accuracy of its own
}

// interval is Low and High with the accuracy in between, drawn over the width of bar.
type interval struct {
	Low, High      runspec.Float
	From, Span, At string
}

// bar is how wide the interval's bar is, in its own units.
const bar = 400

func newInterval(low, at, high runspec.Float) interval {
	place := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	return interval{low, high, place(bar * float64(low)), place(bar * float64(high-low)), place(bar*float64(at) - 1.5)}
}

// row is a class with how it fared.
type row struct {
	Class
	runspec.ClassScore
	Taken string // the class it is most often taken for; empty: none
	Times int
}

// million is a count of weights or multiply-adds.
func million(n int64) string { return fmt.Sprintf("%.1f M", float64(n)/1e6) }

type matrixRow struct {
	Label string
	Cells []cell
}

type cell struct {
	Count     int
	Diagonal  bool
	Share     float64 // of the row, to be drawn; 0…1
	Actual    string
	Predicted string
}

type mistake struct {
	runspec.Mistake
	Number  int
	Picture Picture
	Seen    bool // there is a picture
}

type doubtful struct {
	runspec.Mislabelled
	Picture Picture
	Seen    bool
}

func newPage(r Run) page {
	p := page{Run: r, Style: template.CSS(pageStyle), Names: names(r.Dataset.Classes), Ended: r.Ended.UTC().Format("2 January 2006, 15:04 UTC"),
		Unseen: r.unseen(), Right: r.right(), All: r.Dataset.sum(), Charts: charts(r.Epochs, r.BestEpoch), Settings: settings(r.Asked, r.Used),
		Pairs: r.Report.Confused[:min(shownPairs, len(r.Report.Confused))], Unread: r.Problems[:min(shownProblems, len(r.Problems))],
		Said: r.Warnings[:min(shownWarnings, len(r.Warnings))], Kinds: kinds(r.Dataset.Formats), Advice: advise(r)}
	low, high := Wilson(p.Right, r.Report.Images)
	p.Low, p.High = runspec.Float(low), runspec.Float(high)
	p.Interval = newInterval(p.Low, r.Report.Accuracy, p.High)
	if r.Took > 0 {
		p.Took = took(r.Took)
	}
	p.Rows = rows(r)
	if len(p.Rows) > shownClasses {
		p.Rows, p.Folded = p.Rows[:shownClasses], p.Rows[shownClasses:]
	}
	if len(r.Report.Labels) <= matrixClasses {
		p.Matrix = matrix(r.Report)
		once := slices.IndexFunc(p.Pairs, func(c runspec.Confused) bool { return c.Count < 2 })
		if once < 0 {
			once = len(p.Pairs)
		}
		p.Pairs = p.Pairs[:min(besideMatrix, once)]
	}
	p.Measured = slices.ContainsFunc(r.Models, func(a runspec.Artifact) bool { return a.Accuracy != nil })
	mistakes, doubts := Shown(r.Report)
	for i, m := range mistakes {
		picture, seen := r.Pictures[m.SHA256]
		p.Mistakes = append(p.Mistakes, mistake{m, i + 1, picture, seen})
	}
	for _, m := range doubts {
		picture, seen := r.Pictures[m.SHA256]
		p.Doubtful = append(p.Doubtful, doubtful{m, picture, seen})
	}
	p.Unseeable = r.Report.Mislabelled[len(doubts):min(shownDoubtful, len(r.Report.Mislabelled))]
	return p
}

// names are the first few classes.
func names(classes []Class) string {
	const most = 8
	var all []string
	for _, c := range classes[:min(most, len(classes))] {
		all = append(all, name(c.Name))
	}
	text := strings.Join(all, ", ")
	if more := len(classes) - len(all); more > 0 {
		text += fmt.Sprintf(" and %s more", count(more))
	}
	return text
}

// rows are the classes, those that need attention first: by F1, then those that were not measured.
func rows(r Run) []row {
	taken := map[int]runspec.Cell{}
	for _, c := range r.Report.Confusion {
		if c.Actual != c.Predicted && c.Count > taken[c.Actual].Count {
			taken[c.Actual] = c
		}
	}
	var all []row
	for i, class := range r.Dataset.Classes {
		if i >= len(r.Report.Classes) {
			break
		}
		one := row{Class: class, ClassScore: r.Report.Classes[i]}
		if c, ok := taken[i]; ok {
			one.Taken, one.Times = r.Report.Labels[c.Predicted], c.Count
		}
		all = append(all, one)
	}
	slices.SortStableFunc(all, func(a, b row) int {
		if a.Images == 0 || b.Images == 0 {
			return cmp.Compare(b.Images, a.Images)
		}
		return cmp.Compare(a.F1, b.F1)
	})
	return all
}

// matrix is the confusion matrix, row by row.
func matrix(r runspec.Report) []matrixRow {
	n := len(r.Labels)
	all := make([]matrixRow, n)
	for i := range all {
		all[i] = matrixRow{Label: r.Labels[i], Cells: make([]cell, n)}
		for j := range n {
			all[i].Cells[j] = cell{Diagonal: i == j, Actual: r.Labels[i], Predicted: r.Labels[j]}
		}
	}
	for _, c := range r.Confusion {
		at := &all[c.Actual].Cells[c.Predicted]
		at.Count = c.Count
		at.Share = float64(c.Count) / float64(max(1, r.Classes[c.Actual].Images))
		if !at.Diagonal { // a tenth of a class is much to be wrong about
			at.Share = min(1, 0.15+2.5*at.Share)
		}
	}
	return all
}
