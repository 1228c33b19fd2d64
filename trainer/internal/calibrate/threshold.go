package calibrate

import (
	"math"
	"slices"
)

// kept is the share of the rightly answered images whose answers a threshold lets pass: the usual working point of detectors
// of foreign images (a true positive rate of 95 %, Liang et al. 2018, arXiv:1706.02690).
const kept = 0.95

// digits of a threshold, so that every file can spell it and all mean the same number.
const digits = 1e4

// Threshold returns the probability of the most probable class below which a classifier should say "unsure" rather than
// name it. Whether the class is likely enough is the baseline of telling wrong answers and images of no class at all from
// right ones (Hendrycks and Gimpel 2017, arXiv:1610.02136); there are no such images to choose the threshold by, so it is the
// highest that at least 95 % of the rightly answered images pass. probabilities are [n,classes], calibrated, of images that were
// not learned from, truth is the right class of each. Without a single right answer it is 0: none.
func Threshold(probabilities []float32, truth []int) float64 {
	classes := len(probabilities) / max(1, len(truth))
	var right []float32
	for i, class := range truth {
		row := probabilities[i*classes : (i+1)*classes]
		if top := slices.Max(row); slices.Index(row, top) == class {
			right = append(right, top)
		}
	}
	if len(right) == 0 {
		return 0
	}
	slices.Sort(right)
	lost := int((1 - kept) * float64(len(right)))
	return math.Floor(float64(right[lost])*digits) / digits
}
