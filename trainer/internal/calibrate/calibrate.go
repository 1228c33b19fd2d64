// Package calibrate makes a classifier's probabilities mean what they say. It runs no model.
package calibrate

import "math"

// The temperature is sought between 1/limit and limit; steps narrows that to a relative 1e-6.
const (
	limit = 20.0
	steps = 36
)

// doubt is the weight, in images, of the prior belief that the logits are calibrated already: a Gaussian on the logarithm of
// the temperature. Without it a few hundred images that are nearly all right make a model too sure of the others.
const doubt = 2.0

// Temperature returns the number that logits must be divided by so that they are calibrated, and the mean negative log
// likelihood of the truth then: temperature scaling (Guo et al. 2017, arXiv:1706.04599) with a weak prior. logits are [n,classes] one after the
// other, truth is the right class of each of the n. Without any, it is 1.
func Temperature(logits []float32, truth []int) (temperature, loss float64) {
	if len(truth) == 0 {
		return 1, 0
	}
	// Golden section search: the loss is convex in the inverse, so it has one valley in the logarithm too, as the prior has.
	ratio := (math.Sqrt(5) - 1) / 2
	at := func(x float64) float64 { return Loss(logits, truth, math.Exp(x)) + doubt*x*x/float64(len(truth)) }
	low, high := -math.Log(limit), math.Log(limit)
	a, b := high-ratio*(high-low), low+ratio*(high-low)
	lossA, lossB := at(a), at(b)
	for range steps {
		if lossA < lossB {
			high, b, lossB = b, a, lossA
			a = high - ratio*(high-low)
			lossA = at(a)
		} else {
			low, a, lossA = a, b, lossB
			b = low + ratio*(high-low)
			lossB = at(b)
		}
	}
	temperature = math.Exp((low + high) / 2)
	return temperature, Loss(logits, truth, temperature)
}

// Blend returns how much of the second of two models' logits [n,classes], and how much less of the first, is best for the
// truth, in tenths, and the temperature and loss of that mixture: stacking (Wolpert 1992) with one weight. Without a second, it is 0.
func Blend(first, second []float32, truth []int) (share, temperature, loss float64) {
	loss = math.Inf(1)
	for tenths := range 10 {
		s := float64(tenths) / 10
		if s > 0 && len(second) == 0 {
			break
		}
		if t, l := Temperature(Mixed(first, second, s), truth); l < loss {
			share, temperature, loss = s, t, l
		}
	}
	return share, temperature, loss
}

// Mixed is share of second, which may be missing when that is 0, and the rest of first, number by number.
func Mixed(first, second []float32, share float64) []float32 {
	if share == 0 {
		return first
	}
	out := make([]float32, len(first))
	for i, v := range first {
		out[i] = float32((1-share)*float64(v) + share*float64(second[i]))
	}
	return out
}

// Loss is the mean negative log likelihood of truth when logits [n,classes] are divided by temperature.
func Loss(logits []float32, truth []int, temperature float64) float64 {
	classes := len(logits) / max(1, len(truth))
	sum := 0.0
	for i, class := range truth {
		row := logits[i*classes : (i+1)*classes]
		sum += logSum(row, temperature) - float64(row[class])/temperature
	}
	return sum / float64(max(1, len(truth)))
}

// Probabilities is the softmax of logits [n,classes] divided by temperature.
func Probabilities(logits []float32, classes int, temperature float64) []float32 {
	out := make([]float32, len(logits))
	for at := 0; at < len(logits); at += classes {
		row := logits[at : at+classes]
		total := logSum(row, temperature)
		for c, v := range row {
			out[at+c] = float32(math.Exp(float64(v)/temperature - total))
		}
	}
	return out
}

// logSum is log Σ exp(v/temperature), without overflow.
func logSum(row []float32, temperature float64) float64 {
	highest := math.Inf(-1)
	for _, v := range row {
		highest = max(highest, float64(v))
	}
	total := 0.0
	for _, v := range row {
		total += math.Exp((float64(v) - highest) / temperature)
	}
	return highest/temperature + math.Log(total)
}
