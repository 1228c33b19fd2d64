// Package fit trains a classifier's head on features that are computed already. It knows neither images nor
// TensorFlow: at a few million weights the processor's caches matter more than kernels, and results must not depend on
// how many cores there are.
package fit

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
)

// Sample is one row of features with its class.
type Sample struct {
	Row   int    // as Data.Read counts them
	Class int    // 0…Classes-1
	Key   uint64 // of the image: equal for all its views, and made of its content, so that chance depends on nothing else
	View  int
}

// Data is what a head learns from and is measured on.
type Data struct {
	Dim, Classes int
	// Parts are the lengths of the features of each depth, side by side in a row; nil when all are of one.
	Parts      []int
	Train, Val []Sample
	// Teacher has answers that are learned from as well; nil: the classes alone are.
	Teacher *Teacher
	// Read fills dst, of length Dim, with a row. It may be called from several goroutines.
	Read func(row int, dst []float32) error
}

// memoryBytes is up to which size the scaled training rows are kept in memory; larger sets are read again in
// each epoch, from the system's file cache as a rule.
const memoryBytes = 256 << 20

// rows gives features that are centred, clipped to within Reach deviations, and scaled; before clipping their mean variance is 1.
type rows struct {
	dim       int
	read      func(row int, dst []float32) error
	mean      []float32
	scale     []float32 // factors
	deviation []float32
	memory    map[int][]float32
}

// newRows measures mean and variance over the training rows of view 0, and keeps rows in memory as far as allowed.
func newRows(d Data) (*rows, error) {
	r := &rows{dim: d.Dim, read: d.Read}
	if err := r.measure(d); err != nil {
		return nil, err
	}
	if (len(d.Train)+len(d.Val))*d.Dim*4 > memoryBytes {
		return r, nil
	}
	all := make([]float32, (len(d.Train)+len(d.Val))*d.Dim)
	memory := make(map[int][]float32, len(d.Train)+len(d.Val))
	for _, s := range slices.Concat(d.Train, d.Val) {
		row := all[:d.Dim:d.Dim]
		all = all[d.Dim:]
		if _, err := r.at(s.Row, row); err != nil {
			return nil, err
		}
		memory[s.Row] = row
	}
	r.memory = memory
	return r, nil
}

func (r *rows) measure(d Data) error {
	sum, squares := make([]float64, r.dim), make([]float64, r.dim)
	buffer := make([]float32, r.dim)
	n := 0.0
	for _, s := range d.Train {
		if s.View != 0 {
			continue
		}
		if err := r.read(s.Row, buffer); err != nil {
			return err
		}
		n++
		for j, v := range buffer {
			sum[j] += float64(v)
			squares[j] += float64(v) * float64(v)
		}
	}
	if n == 0 {
		return errors.New("there is no image to learn from")
	}
	r.mean = make([]float32, r.dim)
	variance := make([]float64, r.dim)
	for j := range sum {
		mean := sum[j] / n
		r.mean[j] = float32(mean)
		variance[j] = max(0, squares[j]/n-mean*mean)
		if !finite(variance[j]) {
			return errors.New("the features of the images are not finite numbers; the base model's weights are damaged")
		}
	}
	r.scale = scales(variance, d.Parts)
	r.deviation = deviations(variance, d.Parts)
	return nil
}

// at returns a scaled row: one in memory, not to be changed, or scratch filled with it.
func (r *rows) at(row int, scratch []float32) ([]float32, error) {
	if kept, ok := r.memory[row]; ok {
		return kept, nil
	}
	if err := r.read(row, scratch); err != nil {
		return nil, err
	}
	for j, v := range scratch {
		scratch[j] = v - r.mean[j]
	}
	for j, d := range r.deviation {
		scratch[j] = max(-Reach*d, min(Reach*d, scratch[j]))
	}
	for j, s := range r.scale {
		scratch[j] *= s
	}
	return scratch, nil
}

// Mix is a hash of numbers (the finaliser of SplitMix64, Steele et al. 2014): randomness by key, not by stream, so that
// a resumed training draws what an uninterrupted one would.
func Mix(values ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, v := range values {
		h ^= v
		h += 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// Shuffled returns the samples in the order of an epoch.
func Shuffled(samples []Sample, seed int64, epoch int) []Sample {
	type drawn struct {
		at  uint64
		pos int
	}
	order := make([]drawn, len(samples))
	for i, s := range samples {
		order[i] = drawn{Mix(uint64(seed), uint64(epoch), s.Key, uint64(s.View)), i}
	}
	slices.SortFunc(order, func(a, b drawn) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.pos, b.pos)) })
	out := make([]Sample, len(samples))
	for i, o := range order {
		out[i] = samples[o.pos]
	}
	return out
}

// split calls work with even parts of 0…n on as many goroutines as workers. What is computed must not depend on the
// parts.
func split(n, workers int, work func(from, to int)) {
	workers = min(workers, n)
	if workers <= 1 {
		work(0, n)
		return
	}
	var wait sync.WaitGroup
	for i := range workers {
		wait.Go(func() { work(i*n/workers, (i+1)*n/workers) })
	}
	wait.Wait()
}

// cores is how many goroutines one training uses.
func cores() int { return runtime.GOMAXPROCS(0) }

// ClassWeights are the weights of the classes in the loss, for the recipe's kind.
func (t *Training) ClassWeights(kind string) []float64 { return t.data.classWeights(kind) }

// errDiverged says that loss or weights are no longer finite.
var errDiverged = errors.New("the loss is not finite")

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func (d Data) check() error {
	if len(d.Train) == 0 || len(d.Val) == 0 || d.Classes < 2 || d.Dim < 1 {
		return fmt.Errorf("cannot train on %d images, validated on %d, in %d classes", len(d.Train), len(d.Val), d.Classes)
	}
	sum := 0
	for _, width := range d.Parts {
		sum += width
	}
	if len(d.Parts) > 0 && sum != d.Dim {
		return fmt.Errorf("parts of %v features are not rows of %d", d.Parts, d.Dim)
	}
	return nil
}
