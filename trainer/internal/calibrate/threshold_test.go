package calibrate_test

import (
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/calibrate"
)

func TestThreshold(t *testing.T) {
	// many are n images of class 0 of two, the i-th of which is named rightly with 0.6 + 0.001·i.
	many := func(n int) (probabilities []float32, truth []int) {
		for i := range n {
			p := 0.6 + 0.001*float32(i)
			probabilities, truth = append(probabilities, p, 1-p), append(truth, 0)
		}
		return probabilities, truth
	}
	hundred, truth := many(100)
	few, fewTruth := many(19)
	for name, c := range map[string]struct {
		probabilities []float32
		truth         []int
		want          float64
	}{
		"95 of 100 pass":             {hundred, truth, 0.605},
		"of few all pass":            {few, fewTruth, 0.6},
		"wrong answers do not count": {append([]float32{0.9, 0.1, 0.52, 0.48}, hundred...), append([]int{1, 1}, truth...), 0.605},
		"rounded down":               {[]float32{0.20007, 0.79993}, []int{1}, 0.7999},
		"certain":                    {[]float32{1, 0}, []int{0}, 1},
		"none right":                 {[]float32{0.9, 0.1}, []int{1}, 0},
		"none at all":                {nil, nil, 0},
	} {
		if got := calibrate.Threshold(c.probabilities, c.truth); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
