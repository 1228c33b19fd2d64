package finetune

import "math"

// schedule is how the learning rate changes over a number of steps.
type schedule struct {
	peak  float64
	steps int
}

// steps is how many an epoch of so many images has.
func (t *Training) steps(images int) int {
	return (images + t.settings.BatchSize - 1) / t.settings.BatchSize
}

func (t *Training) schedule() schedule {
	return schedule{t.settings.Rate, t.settings.Epochs * t.steps(len(t.images))}
}

// rate is that of a step, from 0: a warm-up over a tenth of all, then half a cosine (Loshchilov and Hutter 2017,
// arXiv:1608.03983) down to a hundredth.
func (s schedule) rate(step int) float64 {
	const floor = 0.01
	total := float64(s.steps)
	at, warm := float64(step), max(1, total/10)
	if at < warm {
		return s.peak * (at + 1) / (warm + 1)
	}
	return s.peak * (floor + (1-floor)*(1+math.Cos(math.Pi*min(1, (at-warm)/max(1, total-warm))))/2)
}
