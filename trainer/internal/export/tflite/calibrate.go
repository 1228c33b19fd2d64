package tflite

import (
	"fmt"
	"iter"
	"runtime"

	"github.com/wamuir/graft/tensorflow/op"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

const (
	maxCalibration   = 512 // images that are kept; more tell hardly more
	calibrationBatch = 8   // images at once: twice as many fitted no better and need 200 MB more
)

// stills are calibration images, in steps of 1/256 of a pixel's: what a model's own uint8 rounds off is part of what is
// measured and made up for.
type stills struct {
	each int // numbers of one image
	data []uint16
}

// collect keeps up to maxCalibration images.
func collect(images iter.Seq2[[]float32, error], side int) (stills, error) {
	s := stills{each: side * side * 3}
	s.data = make([]uint16, 0, CalibrationImages*s.each)
	for some, err := range images {
		if err != nil {
			return s, fmt.Errorf("calibration images: %w", err)
		}
		if len(some) == 0 || len(some)%s.each != 0 {
			return s, fmt.Errorf("calibration images: %d values are no whole images of %d×%d pixels", len(some), side, side)
		}
		for _, v := range some[:min(len(some), maxCalibration*s.each-len(s.data))] {
			s.data = append(s.data, uint16(min(max(256*v, 0), 256*255)))
		}
		if s.count() == maxCalibration {
			break
		}
	}
	if s.count() == 0 {
		return s, fmt.Errorf("there are no calibration images")
	}
	return s, nil
}

func (s stills) count() int { return len(s.data) / s.each }

// batches yields the images, about calibrationBatch at once. Those of a batch stand far apart in the order in which they
// came, which is often that of the classes: a batch of one class would be no sample.
func (s stills) batches() iter.Seq[[]float32] {
	return func(yield func([]float32) bool) {
		n := s.count()
		stride := (n + calibrationBatch - 1) / calibrationBatch
		batch := make([]float32, 0, calibrationBatch*s.each)
		for first := range stride {
			batch = batch[:0]
			for i := first; i < n; i += stride {
				for _, v := range s.data[i*s.each : (i+1)*s.each] {
					batch = append(batch, float32(v)/256)
				}
			}
			if !yield(batch) {
				return
			}
			// TensorFlow's tensors are freed when the collector finds them dead, and it does not see how large they are.
			runtime.GC()
		}
	}
}

// integers turns a float32 program into one of 8-bit integers that fits the images.
func integers(p *program, images iter.Seq2[[]float32, error]) (q *program, seen int, err error) {
	if images == nil {
		return nil, 0, fmt.Errorf("int8 needs images to calibrate with")
	}
	kept, err := collect(images, p.tensors[p.input].shape[1])
	if err != nil {
		return nil, 0, err
	}
	p = clipEarly(p)
	tensors, err := watch(p, kept)
	if err != nil {
		return nil, 0, fmt.Errorf("calibrate: %w", err)
	}
	r := ranges{spans: map[int]span{}}
	for i, s := range tensors {
		r.spans[i] = s.span()
	}
	if p, err = spread(p, tensors, r.spans); err != nil {
		return nil, 0, err
	}
	if q, err = quantize(p, r); err != nil {
		return nil, 0, err
	}
	if r.drift, err = drift(p, q, kept); err != nil {
		return nil, 0, fmt.Errorf("calibrate: %w", err)
	}
	q, err = quantize(p, r)
	return q, kept.count(), err
}

// seen are the smallest and largest values of a computed tensor, by channel.
type seen struct{ low, high []float64 }

// span is between which numbers all channels lie.
func (s seen) span() span {
	var all span
	for c := range s.low {
		all = span{min(all.low, s.low[c]), max(all.high, s.high[c])}
	}
	return all
}

// watch runs a float32 program on images and notes what is seen of everything that it computes.
func watch(p *program, images stills) (map[int]seen, error) {
	var fetches []tf.Output
	more := func(scope *op.Scope, values []tf.Output) {
		for i, o := range p.ops {
			s, x := scope.SubScope(fmt.Sprintf("operation%d", i)), values[o.output]
			axes := butChannels(s, p.tensors[o.output])
			fetches = append(fetches, op.Min(s, x, axes), op.Max(s, x, axes))
		}
	}
	session, err := newSession(p, runtime.GOMAXPROCS(0), more)
	if err != nil {
		return nil, err
	}
	defer session.close()
	all := map[int]seen{}
	for batch := range images.batches() {
		vectors, err := session.vectors(batch, fetches)
		if err != nil {
			return nil, err
		}
		for i, o := range p.ops {
			low, high := vectors[2*i], vectors[2*i+1]
			s, ok := all[o.output]
			if !ok {
				s = seen{widen(low), widen(high)}
			}
			for c := range low {
				s.low[c], s.high[c] = min(s.low[c], float64(low[c])), max(s.high[c], float64(high[c]))
			}
			all[o.output] = s
		}
	}
	return all, nil
}

// butChannels are the axes of a tensor in front of the last one.
func butChannels(s *op.Scope, t tensor) tf.Output {
	return op.Const(s.SubScope("axes"), []int32{0, 1, 2}[:len(t.shape)-1])
}

// vectors runs the graph and returns what was fetched as numbers.
func (s *session) vectors(images []float32, fetches []tf.Output) ([][]float32, error) {
	out, err := s.run(images, fetches...)
	if err != nil {
		return nil, err
	}
	vectors := make([][]float32, len(out))
	for i, t := range out {
		if vectors[i], err = tf.Floats(t, nil); err != nil {
			return nil, err
		}
	}
	return vectors, nil
}

// drift runs a program beside its quantised form and measures, for each operation with a bias, by how much the sums of
// the quantised one lie above the other's on average, in each output channel. Rounding weights shifts them, and so does
// rounding small activations to zero. What was measured is taken off at once, so that a later operation's drift is its
// own; this is the empirical bias correction of Nagel et al., "Data-free quantization through weight equalization and
// bias correction", 2019, in one pass.
func drift(p, q *program, images stills) (map[int][]float64, error) {
	var outputs []int
	var fetches []tf.Output
	exact := map[int]tf.Output{} // the means of sums; the sums themselves would all have to be held until they are used
	note := func(s *op.Scope, o operation, y tf.Output) tf.Output {
		if o.hasBias() {
			s = s.SubScope("exact")
			exact[o.output] = op.Mean(s, y, butChannels(s, p.tensors[o.output]))
		}
		return y
	}
	correct := func(s *op.Scope, o operation, y tf.Output) tf.Output {
		if !o.hasBias() {
			return y
		}
		s = s.SubScope("drift")
		above := op.Sub(s, op.Mean(s, y, butChannels(s, q.tensors[o.output])), exact[o.output])
		outputs, fetches = append(outputs, o.output), append(fetches, above)
		return op.Sub(s.SubScope("corrected"), y, above)
	}
	session, err := openSession(p.tensors[p.input].shape[1], runtime.GOMAXPROCS(0), true, func(scope *op.Scope, input tf.Output) ([]tf.Output, error) {
		if _, err := appendProgram(scope.SubScope("exact"), p, input, note); err != nil {
			return nil, err
		}
		return appendProgram(scope.SubScope("quantized"), q, input, correct)
	})
	if err != nil {
		return nil, err
	}
	defer session.close()
	sums := make(map[int][]float64, len(outputs))
	for batch := range images.batches() {
		vectors, err := session.vectors(batch, fetches)
		if err != nil {
			return nil, err
		}
		share := float64(len(batch)/images.each) / float64(images.count())
		for i, output := range outputs {
			if sums[output] == nil {
				sums[output] = make([]float64, len(vectors[i]))
			}
			for c, v := range vectors[i] {
				sums[output][c] += share * float64(v)
			}
		}
	}
	return sums, nil
}

// hasBias tells whether the operation has weights and a bias.
func (o operation) hasBias() bool {
	return o.code == schema.BuiltinOperatorConv2D || o.code == schema.BuiltinOperatorDepthwiseConv2D ||
		o.code == schema.BuiltinOperatorFullyConnected
}
