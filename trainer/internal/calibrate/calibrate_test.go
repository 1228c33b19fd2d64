package calibrate_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/calibrate"
)

// Labels are drawn as the logits' softmax says, so that those logits are calibrated; multiplied by a number, they need it
// as their temperature.
func TestTemperatureIsFound(t *testing.T) {
	const classes, n = 4, 4000
	r := rand.New(rand.NewPCG(1, 1))
	logits, truth := make([]float32, n*classes), make([]int, n)
	for i := range n {
		row := logits[i*classes : (i+1)*classes]
		for c := range row {
			row[c] = float32(2 * r.NormFloat64())
		}
		at, drawn := r.Float64(), 0
		for c, p := range calibrate.Probabilities(row, classes, 1) {
			if at -= float64(p); at < 0 {
				drawn = c
				break
			}
		}
		truth[i] = drawn
	}
	for _, factor := range []float64{0.2, 1, 5} {
		scaled := make([]float32, len(logits))
		for i, x := range logits {
			scaled[i] = float32(factor) * x
		}
		temperature, loss := calibrate.Temperature(scaled, truth)
		if math.Abs(temperature/factor-1) > 0.1 {
			t.Errorf("logits times %v: temperature %v", factor, temperature)
		}
		for _, other := range []float64{0.9, 1.1} {
			if calibrate.Loss(scaled, truth, other*temperature) < loss {
				t.Errorf("logits times %v: the loss %v is not the least", factor, loss)
			}
		}
	}
}

func TestOddLogits(t *testing.T) {
	if temperature, loss := calibrate.Temperature(nil, nil); temperature != 1 || loss != 0 {
		t.Errorf("without images %v, %v", temperature, loss)
	}
	// All right, but few: no reason to become much surer.
	if temperature, _ := calibrate.Temperature([]float32{2, 0, 2, 0, 0, 2}, []int{0, 0, 1}); temperature < 0.5 || temperature > 1 {
		t.Errorf("three right: temperature %v", temperature)
	}
	// Nothing overflows.
	temperature, loss := calibrate.Temperature([]float32{1e4, -1e4, 3e4, 1e4}, []int{0, 0})
	if math.IsNaN(loss) || loss > 1e-6 || temperature < 0.04 || temperature > 21 {
		t.Errorf("all right: %v, %v", temperature, loss)
	}
	p := calibrate.Probabilities([]float32{1e5, 0, -1e5}, 3, 0.05)
	if p[0] != 1 || p[1] != 0 || p[2] != 0 {
		t.Errorf("probabilities %v", p)
	}
}

// Two models that err on different images are better together, one that knows nothing is left out.
func TestBlend(t *testing.T) {
	const n, classes = 300, 3
	r := rand.New(rand.NewPCG(9, 9))
	truth := make([]int, n)
	draw := func(knows float64) []float32 {
		logits := make([]float32, n*classes)
		for i := range logits {
			logits[i] = float32(r.NormFloat64())
			if i%classes == truth[i/classes] {
				logits[i] += float32(knows)
			}
		}
		return logits
	}
	for i := range truth {
		truth[i] = r.IntN(classes)
	}
	good, other, noise := draw(2), draw(2), draw(0)
	_, alone := calibrate.Temperature(good, truth)
	share, temperature, loss := calibrate.Blend(good, other, truth)
	if share < 0.3 || share > 0.7 || loss > 0.9*alone {
		t.Errorf("of two equally good ones it takes %v of the second, for a loss of %v instead of %v", share, loss, alone)
	}
	if again := calibrate.Loss(calibrate.Mixed(good, other, share), truth, temperature); math.Abs(again-loss) > 1e-9 {
		t.Errorf("the loss is said to be %v, but is %v", loss, again)
	}
	if share, _, loss := calibrate.Blend(good, noise, truth); share > 0.1 || loss > alone {
		t.Errorf("of one that knows nothing it takes %v", share)
	}
}
