package report

import (
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// advice is one thing that would make the model better, as far as the run shows.
type advice struct {
	Kind                string // of the sentence that the template makes
	Actual, Predicted   string // confused: classes
	Times, Backwards, N int
	Class               string
	Share               runspec.Float
}

// advise names the weakest points, the most worthwhile first.
func advise(r Run) []advice {
	var out []advice
	if n := len(r.Report.Mislabelled); n > 0 {
		out = append(out, advice{Kind: "mislabelled", N: n})
	}
	if len(r.Report.Confused) > 0 && r.Report.Confused[0].Count > 1 {
		c := r.Report.Confused[0]
		a := advice{Kind: "confused", Actual: c.Actual, Predicted: c.Predicted, Times: c.Count}
		for _, other := range r.Report.Confused {
			if other.Actual == c.Predicted && other.Predicted == c.Actual {
				a.Backwards = other.Count
			}
		}
		out = append(out, a)
	}
	if few, ok := fewest(r.Dataset.Classes); ok {
		out = append(out, advice{Kind: "few", Class: few.Name, N: few.Train})
	}
	if n := len(r.Problems); n > 0 {
		out = append(out, advice{Kind: "unread", N: n})
	}
	if r.Report.Split != "test" {
		out = append(out, advice{Kind: "untested"})
	} else if n, enough := r.Report.Images, 100; n < enough {
		out = append(out, advice{Kind: "small", N: n})
	}
	return out
}

// fewest is the class with the fewest photos to learn from, when it has under a third of the largest's.
func fewest(classes []Class) (few Class, ok bool) {
	const imbalance = 3
	largest := 0
	for i, c := range classes {
		largest = max(largest, c.Train)
		if i == 0 || c.Train < few.Train {
			few = c
		}
	}
	return few, few.Train*imbalance < largest
}
