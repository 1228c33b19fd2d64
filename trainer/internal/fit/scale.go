package fit

import "math"

// quiet is the deviation, relative to the root mean square of its part, that a feature is taken to have at least:
// features that are the same everywhere say nothing and must not be blown up.
const quiet = 0.01

// Reach is how many deviations from its mean a feature counts when it is clipped. With 2 the models of three sets of photos were
// unsure of more than twice as many photos of other things as without clipping, and as often right (decision 12).
const Reach = 2

// deviations are those of features of these variances, each at least quiet's share of its part's.
func deviations(variance []float64, parts []int) []float32 {
	if len(parts) == 0 {
		parts = []int{len(variance)}
	}
	out := make([]float32, 0, len(variance))
	for _, width := range parts {
		part := variance[len(out) : len(out)+width]
		least := max(quiet*quiet*mean(part), 1e-12)
		for _, v := range part {
			out = append(out, float32(math.Sqrt(max(v, least))))
		}
	}
	return out
}

// scales are the factors that features of these variances are multiplied by; after it their mean variance is 1.
//
// Features of one depth keep their relative scale: the last layer's strong features are its good ones, and dividing
// each by its own deviation cost half a point to a point of accuracy on trashnet. Features of several depths are each
// divided by their own deviation, since a depth's scale says nothing about its worth, and then by the root of how many
// there are of that depth, so that every depth counts alike however wide it is.
func scales(variance []float64, parts []int) []float32 {
	factors := make([]float32, len(variance))
	if len(parts) < 2 {
		factor := float32(1 / math.Sqrt(max(mean(variance), 1e-12)))
		for j := range factors {
			factors[j] = factor
		}
		return factors
	}
	// Each part has total variance 1 then, and all together one for each feature on average.
	from := 0
	for _, width := range parts {
		part := variance[from : from+width]
		share := float64(len(variance)) / float64(len(parts)*width)
		least := max(quiet*quiet*mean(part), 1e-12)
		for j, v := range part {
			factors[from+j] = float32(math.Sqrt(share / max(v, least)))
		}
		from += width
	}
	return factors
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(max(1, len(values)))
}
