package results

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/theme"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// maxReport bounds evaluation.json: 1,000 classes and 75,000 mistakes take about 20 MB.
const maxReport = 64 << 20

// report is the artifact evaluation.json, made ready to be drawn.
type report struct {
	runspec.Report

	counts  [][]int           // dense confusion
	doubted []runspec.Mistake // photos that probably lie in the wrong folder
	safe    []string
}

// parseReport decodes a report and checks that its positions exist.
func parseReport(b []byte) (*report, error) {
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w", runspec.EvaluationFile, err)
	}
	n := len(r.Labels)
	r.counts = make([][]int, n)
	for i := range r.counts {
		r.counts[i] = make([]int, n)
		r.safe = append(r.safe, text.Safe(r.Labels[i]))
	}
	for _, c := range r.Confusion {
		if c.Actual < 0 || c.Predicted < 0 || c.Actual >= n || c.Predicted >= n {
			return nil, fmt.Errorf("read %s: a cell lies outside its %d labels", runspec.EvaluationFile, n)
		}
		r.counts[c.Actual][c.Predicted] = c.Count
	}
	for _, x := range r.Mislabelled {
		r.doubted = append(r.doubted, runspec.Mistake{Path: x.Path, SHA256: x.SHA256, Actual: x.Given, Predicted: x.Suggested, Confidence: x.SuggestedProbability})
	}
	return &r, nil
}

// headline says in a sentence how good the model is.
func (r *report) headline(g theme.Glyphs) string {
	right := int(math.Round(float64(r.Accuracy) * float64(r.Images)))
	where := "photos it had never seen"
	if r.Split != "test" {
		where = "photos held back to choose the best epoch (there was no test share, so new photos may do a little worse)"
	}
	return fmt.Sprintf("%s: %s of %s %s are right.", text.Percent(float64(r.Accuracy), g), text.Count(right), text.Count(r.Images), where)
}

// unsure says what the model does with photos of none of its classes, and what that costs.
func (r *report) unsure(g theme.Glyphs) string {
	if r.Threshold == nil {
		return ""
	}
	t := r.Threshold
	return fmt.Sprintf("Unsure (below %s) of %s of them; right on %s of the others.", text.Percent(float64(t.Probability), g),
		text.Percent(1-float64(t.Coverage), g), text.Percent(float64(t.Accuracy), g))
}

// beside sets the model beside those that it was measured with, a line each.
func (r *report) beside(g theme.Glyphs) []string {
	var out []string
	for _, c := range r.Compared {
		out = append(out, text.Fit(text.Safe(c.Called()), 12, g.Ellipsis)+text.Fit(text.Safe(c.Base), 20, g.Ellipsis)+text.Right(text.Percent(float64(c.Accuracy), g), 8)+
			text.Right(text.Bytes(c.Bytes), 9)+text.Right(fmt.Sprintf("%.1f ms a photo", float64(c.MsPerImage)), 18))
	}
	return out
}

// advice names the weakest point and what helps.
func (r *report) advice(g theme.Glyphs) string {
	if len(r.Confused) > 0 {
		c := r.Confused[0]
		if c.Count > 1 {
			return fmt.Sprintf("Most often %s is taken for %s (%s). Look at those photos under mistakes: more or clearer ones help.", text.Safe(c.Actual), text.Safe(c.Predicted), text.Some(c.Count, "time", "times"))
		}
	}
	worst, at := 2.0, -1
	for i, c := range r.Classes {
		if f := float64(c.F1); c.Images > 0 && f < worst {
			worst, at = f, i
		}
	}
	if at >= 0 && worst < 0.9 {
		return fmt.Sprintf("The weakest class is %s (F1 %s); more photos of it help most.", text.Safe(r.Classes[at].Class), text.Percent(worst, g))
	}
	return "No two classes are confused often."
}
