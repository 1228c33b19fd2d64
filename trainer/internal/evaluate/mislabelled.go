package evaluate

import (
	"cmp"
	"math"
	"slices"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Mislabelled lists the images that are probably given the wrong label, the likeliest first. Class of an answer is the given
// label, Probabilities are those of a classifier that has not learned from the image.
//
// How many they are is estimated by confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068): an image counts as
// confidently of the most probable class among those whose probability is at least the mean one of the images that are
// given that label; those that are confidently of another class than the given one are counted. Which ones they are is told
// by the margin between the most probable class and the given one (the paper's pruning by noise rate, over all
// classes at once): with one label in twenty wrong, on three sets of photos, that found more of them than the counted images
// themselves. What it finds is in docs/bench.md.
func Mislabelled(labels []string, answers []Answer) []runspec.Mislabelled {
	expected := selfConfidence(len(labels), answers)
	wrong := 0
	var doubted []runspec.Mislabelled
	for _, a := range answers {
		if c := confident(a.Probabilities, expected); c >= 0 && c != a.Class {
			wrong++
		}
		best := Best(a.Probabilities)
		if best == a.Class {
			continue
		}
		doubted = append(doubted, runspec.Mislabelled{Path: a.Path, SHA256: a.SHA256, Given: labels[a.Class], Suggested: labels[best],
			GivenProbability: runspec.Float(a.Probabilities[a.Class]), SuggestedProbability: runspec.Float(a.Probabilities[best])})
	}
	slices.SortFunc(doubted, func(a, b runspec.Mislabelled) int {
		return cmp.Or(cmp.Compare(a.GivenProbability-a.SuggestedProbability, b.GivenProbability-b.SuggestedProbability), cmp.Compare(a.Path, b.Path))
	})
	return doubted[:min(wrong, len(doubted))]
}

// confident is the most probable class of those that reach what is expected of them, or −1.
func confident(probabilities []float32, expected []float64) int {
	at := -1
	for c, p := range probabilities {
		if float64(p) >= expected[c] && (at < 0 || p > probabilities[at]) {
			at = c
		}
	}
	return at
}

// selfConfidence is the mean probability of each class over the images that are given its label, infinite without any.
func selfConfidence(classes int, answers []Answer) []float64 {
	sum, n := make([]float64, classes), make([]float64, classes)
	for _, a := range answers {
		sum[a.Class] += float64(a.Probabilities[a.Class])
		n[a.Class]++
	}
	for c := range sum {
		if n[c] == 0 {
			sum[c], n[c] = math.Inf(1), 1
		}
		sum[c] /= n[c]
	}
	return sum
}
