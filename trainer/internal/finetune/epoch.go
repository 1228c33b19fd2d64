package finetune

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// sums adds up what an epoch reports.
type sums struct {
	loss, weight float64
	correct, n   int
}

// epoch goes once through images, each in one of its views, and takes a step for each batch.
func (t *Training) epoch(ctx context.Context, s *State, images [][]fit.Sample, plan schedule) (sums, error) {
	samples := make([]fit.Sample, len(images))
	for i, views := range images {
		if t.data.Fresh {
			samples[i] = views[0]
			samples[i].View = s.Epoch + 1
			continue
		}
		samples[i] = views[(fit.Mix(uint64(t.settings.Seed), views[0].Key, 4)+uint64(s.Epoch))%uint64(len(views))]
	}
	var learned sums
	// The average over about the last epoch; shorter at the beginning.
	keep := max(0, 1-1/float64(t.steps(len(images))))
	for batch := range slices.Chunk(fit.Shuffled(samples, t.settings.Seed, s.Epoch+1), t.settings.BatchSize) {
		if ctx.Err() != nil {
			return learned, context.Cause(ctx)
		}
		gradient, err := t.gradient(s, batch, &learned)
		if err != nil {
			return learned, err
		}
		if math.IsNaN(learned.loss) || math.IsInf(learned.loss, 0) {
			return learned, errDiverged
		}
		runtime.GC() // a step leaves some 100 MB of tensors behind, of which Go sees only the handles
		t.layout.update(s, gradient, plan.rate(s.Step)*s.RateScale, min(keep, float64(1+s.Step)/float64(10+s.Step)))
	}
	return learned, nil
}

// gradient is that of a batch's mean loss, summed over its shards in order.
func (t *Training) gradient(s *State, batch []fit.Sample, into *sums) (Vector, error) {
	parts := t.parts(s, batch)
	arrays, err := t.layout.tensors(s.Weights)
	if err != nil {
		return nil, err
	}
	losses, logits, grads := make([]float64, len(parts)), make([][]float32, len(parts)), make([][]*tf.Tensor, len(parts))
	err = t.share(len(parts), func(s *shard, i int) (err error) {
		if parts[i].rows, err = t.read(t.shard(batch, i)); err != nil {
			return err
		}
		if err = t.teach(&parts[i], t.shard(batch, i)); err != nil {
			return err
		}
		losses[i], logits[i], grads[i], err = s.learn(t.layout, arrays, parts[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range parts {
		into.loss += losses[i] * float64(len(batch))
		for j, one := range t.shard(batch, i) {
			into.n++
			into.weight++
			if evaluate.Best(logits[i][j*t.layout.classes:(j+1)*t.layout.classes]) == one.Class {
				into.correct++
			}
		}
	}
	return t.layout.collect(grads)
}

// share calls work for 0…n-1 on all sessions; which one does what changes nothing.
func (t *Training) share(n int, work func(s *shard, i int) error) error {
	errs := make([]error, n)
	next := make(chan int)
	var wait sync.WaitGroup
	for _, s := range t.shards {
		wait.Go(func() {
			for i := range next {
				errs[i] = work(s, i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// shard is the part of samples that shard i works on.
func (t *Training) shard(samples []fit.Sample, i int) []fit.Sample {
	return samples[i*t.size : min(len(samples), (i+1)*t.size)]
}

// parts prepares a batch for the shards, all but the rows. The last one is filled up with images that count nothing.
func (t *Training) parts(s *State, batch []fit.Sample) []part {
	total := 0.0
	for _, one := range batch {
		total += t.data.Weights[one.Class]
	}
	parts := make([]part, (len(batch)+t.size-1)/t.size)
	for i := range parts {
		samples := t.shard(batch, i)
		p := &parts[i]
		p.targets, p.weights = make([]float32, t.size*t.layout.classes), make([]float32, t.size)
		p.partners, p.shares = make([]int32, t.size), make([]float32, t.size)
		for j := range t.size {
			p.partners[j], p.shares[j] = int32(j), 1
		}
		for j, one := range samples {
			partner, share := j, 1.0
			if t.settings.Mixup > 0 {
				partner, share = (j+1)%len(samples), t.mixed(one, s.Epoch)
			}
			other := samples[partner]
			p.partners[j], p.shares[j] = int32(partner), float32(share)
			p.weights[j] = float32((share*t.data.Weights[one.Class] + (1-share)*t.data.Weights[other.Class]) / total)
			target := p.targets[j*t.layout.classes : (j+1)*t.layout.classes]
			for c := range target {
				target[c] = float32(t.settings.Smoothing / float64(t.layout.classes))
			}
			target[one.Class] += float32(share * (1 - t.settings.Smoothing))
			target[other.Class] += float32((1 - share) * (1 - t.settings.Smoothing))
		}
	}
	return parts
}

// mixed is how much of itself an image keeps in an epoch.
func (t *Training) mixed(s fit.Sample, epoch int) float64 {
	seed := fit.Mix(uint64(t.settings.Seed), uint64(epoch), s.Key, 5)
	return distuv.Beta{Alpha: t.settings.Mixup, Beta: t.settings.Mixup, Src: rand.NewPCG(seed, fit.Mix(seed))}.Rand()
}

// read returns the rows of a shard's samples, and zeros up to its size.
func (t *Training) read(samples []fit.Sample) ([]byte, error) {
	stride := 2 * t.layout.dim
	out := make([]byte, t.size*stride)
	for i, s := range samples {
		if err := t.data.Read(s, out[i*stride:(i+1)*stride]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// answer returns the logits [n,classes] that weights give for samples.
func (t *Training) answer(v Vector, samples []fit.Sample) ([]float32, error) {
	arrays, err := t.layout.tensors(v)
	if err != nil {
		return nil, err
	}
	each := t.size * t.layout.classes
	logits := make([]float32, len(samples)*t.layout.classes)
	err = t.share((len(samples)+t.size-1)/t.size, func(s *shard, i int) error {
		rows, err := t.read(t.shard(samples, i))
		if err != nil {
			return err
		}
		out, err := s.answer(t.layout, arrays, part{rows: rows})
		copy(logits[i*each:min(len(logits), (i+1)*each)], out)
		return err
	})
	return logits, err
}
