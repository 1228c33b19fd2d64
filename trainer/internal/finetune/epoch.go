package finetune

import (
	"context"
	"math"
	"math/rand/v2"
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

// epoch goes once through the images, each in one of its views, and takes a step for each batch.
func (t *Training) epoch(ctx context.Context, s *State) (sums, error) {
	samples := make([]fit.Sample, len(t.images))
	for i, views := range t.images {
		samples[i] = views[(fit.Mix(uint64(t.settings.Seed), views[0].Key, 4)+uint64(s.Epoch))%uint64(len(views))]
	}
	var learned sums
	// The average over about the last epoch; shorter at the beginning.
	keep := max(0, 1-1/float64(t.steps()))
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
		t.layout.update(s, gradient, t.rate(*s), min(keep, float64(1+s.Step)/float64(10+s.Step)))
	}
	return learned, nil
}

// gradient is that of a batch's mean loss, summed over its shards in order.
func (t *Training) gradient(s *State, batch []fit.Sample, into *sums) (Vector, error) {
	parts, err := t.parts(s, batch)
	if err != nil {
		return nil, err
	}
	arrays, err := t.layout.tensors(s.Weights)
	if err != nil {
		return nil, err
	}
	losses, logits, grads := make([]float64, len(parts)), make([][]float32, len(parts)), make([][]*tf.Tensor, len(parts))
	err = t.share(len(parts), func(s *shard, i int) (err error) {
		losses[i], logits[i], grads[i], err = s.learn(t.layout, arrays, parts[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range parts {
		into.loss += losses[i] * float64(len(batch))
		for j, one := range batch[i*shardSize : min(len(batch), (i+1)*shardSize)] {
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

// parts prepares a batch for the shards. The last one is filled up with images that count nothing.
func (t *Training) parts(s *State, batch []fit.Sample) ([]part, error) {
	total := 0.0
	for _, one := range batch {
		total += t.data.Weights[one.Class]
	}
	parts := make([]part, (len(batch)+shardSize-1)/shardSize)
	for i := range parts {
		samples := batch[i*shardSize : min(len(batch), (i+1)*shardSize)]
		p := &parts[i]
		var err error
		if p.rows, err = t.read(rowsOf(samples)); err != nil {
			return nil, err
		}
		p.targets, p.weights = make([]float32, shardSize*t.layout.classes), make([]float32, shardSize)
		p.partners, p.shares = make([]int32, shardSize), make([]float32, shardSize)
		for j := range shardSize {
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
	return parts, nil
}

// mixed is how much of itself an image keeps in an epoch.
func (t *Training) mixed(s fit.Sample, epoch int) float64 {
	seed := fit.Mix(uint64(t.settings.Seed), uint64(epoch), s.Key, 5)
	return distuv.Beta{Alpha: t.settings.Mixup, Beta: t.settings.Mixup, Src: rand.NewPCG(seed, fit.Mix(seed))}.Rand()
}

func rowsOf(samples []fit.Sample) []int {
	rows := make([]int, len(samples))
	for i, s := range samples {
		rows[i] = s.Row
	}
	return rows
}

// read returns shardSize rows: those, at most as many, and zeros.
func (t *Training) read(rows []int) ([]byte, error) {
	stride := 2 * t.layout.dim
	out := make([]byte, shardSize*stride)
	for i, row := range rows {
		if err := t.data.Read(row, out[i*stride:(i+1)*stride]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// answer returns the logits [n,classes] that weights give for rows.
func (t *Training) answer(v Vector, rows []int) ([]float32, error) {
	arrays, err := t.layout.tensors(v)
	if err != nil {
		return nil, err
	}
	chunks := slices.Collect(slices.Chunk(rows, shardSize))
	logits := make([]float32, len(rows)*t.layout.classes)
	err = t.share(len(chunks), func(s *shard, i int) error {
		read, err := t.read(chunks[i])
		if err != nil {
			return err
		}
		out, err := s.answer(t.layout, arrays, part{rows: read})
		copy(logits[i*shardSize*t.layout.classes:], out[:min(len(out), len(chunks[i])*t.layout.classes)])
		return err
	})
	return logits, err
}
