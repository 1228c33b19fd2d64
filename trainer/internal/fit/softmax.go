package fit

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"
)

// The optimisers' usual constants. A logistic head's loss is convex and its features are scaled alike, so that plain
// momentum (Nesterov's) finds the optimum of the regularised loss; Adam (Kingma and Ba 2015) suits dropout's noise.
const (
	momentum = 0.9
	beta1    = 0.9
	beta2    = 0.999
	epsilon  = 1e-8
)

// Params is a softmax layer on scaled features with its optimiser's moments; V is Adam's only. Everything of one class lies
// together, so that cores share the work by class and each sum has one fixed order.
type Params struct {
	Kernel, KernelM, KernelV []float32 // [classes,dim]
	Bias, BiasM, BiasV       []float32 // [classes]
	Step                     int       // optimiser steps done
}

func newParams(classes, dim int) Params {
	of := func(n int) []float32 { return make([]float32, n) }
	return Params{Kernel: of(classes * dim), KernelM: of(classes * dim), KernelV: of(classes * dim),
		Bias: of(classes), BiasM: of(classes), BiasV: of(classes)}
}

func (p Params) clone() Params {
	of := func(s []float32) []float32 { return append([]float32(nil), s...) }
	return Params{Kernel: of(p.Kernel), KernelM: of(p.KernelM), KernelV: of(p.KernelV),
		Bias: of(p.Bias), BiasM: of(p.BiasM), BiasV: of(p.BiasV), Step: p.Step}
}

// hyper is what one step needs to know.
type hyper struct {
	rate, l2 float64
	weights  []float64 // of classes
	adam     bool
	dropout  float64
	seed     int64
	epoch    int
	teacher  *Teacher // nil: none
}

// batch holds one mini-batch and its intermediate results.
type batch struct {
	dim, classes int
	workers      int
	x            [][]float32 // scaled features
	scratch      []float32
	scores       []float32 // [n,classes]: logits, then their gradient
	soft         []float32 // [n,classes]: the teacher's answers
	taught       []bool    // who has one
}

func newBatch(size, dim, classes, workers int) *batch {
	return &batch{dim: dim, classes: classes, workers: workers, x: make([][]float32, size),
		scratch: make([]float32, size*dim), scores: make([]float32, size*classes),
		soft: make([]float32, size*classes), taught: make([]bool, size)}
}

// load fetches the features of samples.
func (b *batch) load(r *rows, samples []Sample, h *hyper) error {
	failed := make([]error, len(samples))
	split(len(samples), b.workers, func(from, to int) {
		for i := from; i < to; i++ {
			scratch := b.scratch[i*b.dim : (i+1)*b.dim]
			b.x[i], failed[i] = r.at(samples[i].Row, scratch)
			if failed[i] == nil && h != nil && h.dropout > 0 {
				h.drop(scratch, b.x[i], samples[i])
				b.x[i] = scratch
			}
			if failed[i] == nil && h != nil && h.teacher != nil {
				b.taught[i], failed[i] = h.teacher.Soft(samples[i].Row, b.soft[i*b.classes:(i+1)*b.classes])
			}
		}
	})
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// drop hides features at random and scales up the others (Srivastava et al. 2014, in the inverted form).
func (h *hyper) drop(dst, src []float32, s Sample) {
	key := Mix(uint64(h.seed), uint64(h.epoch), s.Key, uint64(s.View), 1)
	keep := float32(1 / (1 - h.dropout))
	limit := uint64(h.dropout * (1 << 32))
	for j, v := range src {
		key = Mix(key)
		if key>>32 < limit {
			dst[j] = 0
		} else {
			dst[j] = v * keep
		}
	}
}

func vector(data []float32) blas32.Vector { return blas32.Vector{N: len(data), Inc: 1, Data: data} }

// forward fills scores of the first n rows with logits.
func (b *batch) forward(p *Params, n int) {
	split(b.classes, b.workers, func(from, to int) {
		for c := from; c < to; c++ {
			kernel := vector(p.Kernel[c*b.dim : (c+1)*b.dim])
			for i := range n {
				b.scores[i*b.classes+c] = blas32.Dot(vector(b.x[i]), kernel) + p.Bias[c]
			}
		}
	})
}

// sums adds up what an epoch reports.
type sums struct {
	loss, weight float64
	correct, n   int
}

func (s *sums) meanLoss() float64 { return s.loss / s.weight }
func (s *sums) accuracy() float64 { return float64(s.correct) / float64(max(1, s.n)) }

// judge adds the loss of the classes to the sums and, if there is an h, leaves the gradient of the mean loss in scores.
func (b *batch) judge(samples []Sample, weights []float64, into *sums, h *hyper) {
	var total float64
	softened := make([]float32, b.classes)
	for _, s := range samples {
		total += weights[s.Class]
	}
	for i, s := range samples {
		row := b.scores[i*b.classes : (i+1)*b.classes]
		best := 0
		for c, v := range row {
			if v > row[best] {
				best = c
			}
		}
		highest := float64(row[best])
		var sum float64
		for _, v := range row {
			sum += math.Exp(float64(v) - highest)
		}
		loss := math.Log(sum) + highest - float64(row[s.Class])
		into.loss += weights[s.Class] * loss
		into.weight += weights[s.Class]
		into.n++
		if best == s.Class {
			into.correct++
		}
		if h == nil {
			continue
		}
		taught := h.teacher != nil && b.taught[i]
		soft := b.soft[i*b.classes : (i+1)*b.classes]
		if taught {
			soften(softened, row, h.teacher.Temperature)
		}
		scale := weights[s.Class] / total
		for c, v := range row {
			p := math.Exp(float64(v)-highest) / sum
			if c == s.Class {
				p--
			}
			if taught {
				p = h.teacher.pull(p, softened[c], soft[c])
			}
			row[c] = float32(p * scale)
		}
	}
}

// learn is one optimiser step on samples.
func (b *batch) learn(p *Params, r *rows, samples []Sample, h *hyper, into *sums) error {
	if err := b.load(r, samples, h); err != nil {
		return err
	}
	b.forward(p, len(samples))
	b.judge(samples, h.weights, into, h)
	if !finite(into.loss) {
		return errDiverged
	}
	p.Step++
	update := nesterov(h.rate)
	if h.adam {
		update = adam(h.rate, p.Step)
	}
	split(b.classes, b.workers, func(from, to int) {
		gradient := make([]float32, b.dim)
		for c := from; c < to; c++ {
			kernel := p.Kernel[c*b.dim : (c+1)*b.dim]
			for j, w := range kernel {
				gradient[j] = float32(h.l2) * w
			}
			var bias float32
			for i := range samples {
				g := b.scores[i*b.classes+c]
				blas32.Axpy(g, vector(b.x[i]), vector(gradient))
				bias += g
			}
			update(kernel, p.KernelM[c*b.dim:(c+1)*b.dim], p.KernelV[c*b.dim:(c+1)*b.dim], gradient)
			update(p.Bias[c:c+1], p.BiasM[c:c+1], p.BiasV[c:c+1], []float32{bias})
		}
	})
	return nil
}

// rule changes weights w and their moments by a gradient.
type rule func(w, m, v, gradient []float32)

func nesterov(rate float64) rule {
	step := float32(rate)
	return func(w, m, _, gradient []float32) {
		m, gradient = m[:len(w)], gradient[:len(w)]
		for j, g := range gradient {
			m[j] = momentum*m[j] + g
			w[j] -= step * (g + momentum*m[j])
		}
	}
}

func adam(rate float64, step int) rule {
	corrected := float32(rate * math.Sqrt(1-math.Pow(beta2, float64(step))) / (1 - math.Pow(beta1, float64(step))))
	return func(w, m, v, gradient []float32) {
		m, v, gradient = m[:len(w)], v[:len(w)], gradient[:len(w)]
		for j, g := range gradient {
			m[j] += (1 - beta1) * (g - m[j])
			v[j] += (1 - beta2) * (g*g - v[j])
			w[j] -= corrected * m[j] / (float32(math.Sqrt(float64(v[j]))) + epsilon)
		}
	}
}

// measure is loss and accuracy on samples, all of equal weight.
func (b *batch) measure(p *Params, r *rows, samples []Sample) (sums, error) {
	equal := make([]float64, b.classes)
	for c := range equal {
		equal[c] = 1
	}
	var s sums
	for len(samples) > 0 {
		n := min(len(samples), len(b.x))
		if err := b.load(r, samples[:n], nil); err != nil {
			return s, err
		}
		b.forward(p, n)
		b.judge(samples[:n], equal, &s, nil)
		samples = samples[n:]
	}
	return s, nil
}
