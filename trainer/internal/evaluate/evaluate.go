// Package evaluate measures a classifier's answers against the truth. It runs no model.
package evaluate

import (
	"cmp"
	"math"
	"slices"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Answer is what a classifier said about one image.
type Answer struct {
	Path          string
	SHA256        string
	Class         int       // the truth
	Probabilities []float32 // of all classes, in label order
}

const (
	bins = 15 // of the calibration error (Guo et al. 2017)
	most = 50 // mistakes and confused pairs in a record
	top  = 3
	// tiny keeps the loss finite when the right class was given no probability at all.
	tiny = 1e-15
)

// Of measures answers on a side of the split ("test", "validation"). There must be at least one.
func Of(split string, labels []string, answers []Answer) runspec.Report {
	r := runspec.Report{Version: runspec.ReportVersion, Labels: labels}
	r.Split, r.Images = split, len(answers)
	counts := make(map[runspec.Cell]int)
	var correct, inTop int
	var loss float64
	for _, a := range answers {
		predicted := Best(a.Probabilities)
		counts[runspec.Cell{Actual: a.Class, Predicted: predicted}]++
		p := a.Probabilities[a.Class]
		loss -= math.Log(max(tiny, float64(p)))
		if rank(a.Probabilities, a.Class) < top {
			inTop++
		}
		if predicted == a.Class {
			correct++
			continue
		}
		r.Mistakes = append(r.Mistakes, runspec.Mistake{Path: a.Path, SHA256: a.SHA256, Actual: labels[a.Class],
			Predicted: labels[predicted], Confidence: runspec.Float(a.Probabilities[predicted])})
	}
	n := float64(len(answers))
	r.Accuracy, r.Top3 = runspec.Float(float64(correct)/n), runspec.Float(float64(inTop)/n)
	r.Loss, r.ECE = runspec.Float(loss/n), runspec.Float(calibrationError(answers))
	slices.SortFunc(r.Mistakes, func(a, b runspec.Mistake) int {
		return cmp.Or(cmp.Compare(b.Confidence, a.Confidence), cmp.Compare(a.Path, b.Path))
	})
	r.Worst = slices.Clone(r.Mistakes[:min(most, len(r.Mistakes))])
	confusion(&r, counts)
	perClass(&r)
	return r
}

// Threshold measures what it costs and gains that answers whose most probable class has less than the probability at, 0…1,
// are "unsure". It is nil when at is 0: then there is none.
func Threshold(at float64, answers []Answer) *runspec.Threshold {
	if at == 0 {
		return nil
	}
	answered, right := 0, 0
	for _, a := range answers {
		best := Best(a.Probabilities)
		if float64(a.Probabilities[best]) < at {
			continue
		}
		answered++
		if best == a.Class {
			right++
		}
	}
	return &runspec.Threshold{Probability: runspec.Float(at), Coverage: share(answered, len(answers)), Accuracy: share(right, answered)}
}

// rank is how many classes are more probable; of equal ones the first counts as more.
func rank(probabilities []float32, class int) int {
	above := 0
	for c, p := range probabilities {
		if p > probabilities[class] || p == probabilities[class] && c < class {
			above++
		}
	}
	return above
}

// Best is the most probable class: of equal ones the first.
func Best(probabilities []float32) int {
	at := 0
	for c, p := range probabilities {
		if p > probabilities[at] {
			at = c
		}
	}
	return at
}

// calibrationError is the mean distance of confidence and accuracy over bins of equal width, weighted by their images.
func calibrationError(answers []Answer) float64 {
	var confidence, correct [bins]float64
	for _, a := range answers {
		predicted := Best(a.Probabilities)
		p := float64(a.Probabilities[predicted])
		bin := min(bins-1, max(0, int(math.Ceil(p*bins))-1))
		confidence[bin] += p
		if predicted == a.Class {
			correct[bin]++
		}
	}
	var sum float64
	for i := range bins {
		sum += math.Abs(confidence[i] - correct[i])
	}
	return sum / float64(len(answers))
}

// confusion fills the matrix and the pairs that are confused most.
func confusion(r *runspec.Report, counts map[runspec.Cell]int) {
	for cell, n := range counts {
		cell.Count = n
		r.Confusion = append(r.Confusion, cell)
	}
	slices.SortFunc(r.Confusion, func(a, b runspec.Cell) int {
		return cmp.Or(cmp.Compare(a.Actual, b.Actual), cmp.Compare(a.Predicted, b.Predicted))
	})
	var wrong []runspec.Cell
	for _, cell := range r.Confusion {
		if cell.Actual != cell.Predicted {
			wrong = append(wrong, cell)
		}
	}
	slices.SortStableFunc(wrong, func(a, b runspec.Cell) int { return cmp.Compare(b.Count, a.Count) })
	for _, cell := range wrong[:min(most, len(wrong))] {
		r.Confused = append(r.Confused, runspec.Confused{Actual: r.Labels[cell.Actual], Predicted: r.Labels[cell.Predicted], Count: cell.Count})
	}
}

// perClass fills the figures of the classes and their mean F1, over the classes that occur.
func perClass(r *runspec.Report) {
	hit, actual, predicted := make([]int, len(r.Labels)), make([]int, len(r.Labels)), make([]int, len(r.Labels))
	for _, cell := range r.Confusion {
		actual[cell.Actual] += cell.Count
		predicted[cell.Predicted] += cell.Count
		if cell.Actual == cell.Predicted {
			hit[cell.Actual] = cell.Count
		}
	}
	var sum float64
	occurring := 0
	for c, label := range r.Labels {
		precision, recall := share(hit[c], predicted[c]), share(hit[c], actual[c])
		f1 := share(2*hit[c], actual[c]+predicted[c])
		r.Classes = append(r.Classes, runspec.ClassScore{Class: label, Images: actual[c], Precision: precision, Recall: recall, F1: f1})
		if actual[c] > 0 {
			sum += float64(f1)
			occurring++
		}
	}
	r.MacroF1 = runspec.Float(sum / float64(max(1, occurring)))
}

func share(part, whole int) runspec.Float {
	if whole == 0 {
		return 0
	}
	return runspec.Float(float64(part) / float64(whole))
}
