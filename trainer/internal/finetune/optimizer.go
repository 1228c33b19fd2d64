package finetune

import (
	"math"
	"runtime"
	"sync"
)

// The constants of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).
const (
	beta1       = 0.9
	beta2       = 0.999
	epsilon     = 1e-8
	weightDecay = 0.02
	// clip is the length that a step's gradient is shortened to (Pascanu et al. 2013).
	clip = 2.0
)

// update is one step of AdamW on s.Weights and of the moving average s.Mean, by the gradient g, which it may change.
func (l *layout) update(s *State, g Vector, rate, keep float64) {
	s.Step++
	shorten := float32(min(1, clip/max(norm(g), 1e-12)))
	correct1, correct2 := 1-math.Pow(beta1, float64(s.Step)), 1-math.Pow(beta2, float64(s.Step))
	each(l.arrays, func(a array) {
		step := float32(rate * a.rate * math.Sqrt(correct2) / correct1)
		decay := float32(0)
		if a.decay {
			decay = float32(rate * a.rate * weightDecay)
		}
		// What the correction of the second moment does to ε (Kingma and Ba 2015, section 2).
		small := float32(epsilon * math.Sqrt(correct2))
		from, to := a.from, a.from+a.size
		w, m, v, mean, g := s.Weights[from:to], s.M[from:to], s.V[from:to], s.Mean[from:to], g[from:to]
		for j, x := range g {
			x *= shorten
			m[j] += (1 - beta1) * (x - m[j])
			v[j] += (1 - beta2) * (x*x - v[j])
			w[j] -= decay*w[j] + step*m[j]/(float32(math.Sqrt(float64(v[j])))+small)
			mean[j] += float32(1-keep) * (w[j] - mean[j])
		}
	})
}

// each calls work for every element on all cores.
func each[T any](all []T, work func(T)) {
	var wait sync.WaitGroup
	next := make(chan T)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for one := range next {
				work(one)
			}
		})
	}
	for _, one := range all {
		next <- one
	}
	close(next)
	wait.Wait()
}
