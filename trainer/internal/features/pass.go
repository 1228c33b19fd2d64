package features

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

const (
	// batchSize images go through the network at once. Measured with one session a core: 4, 8 and 16 are equally
	// fast within the noise, and 8 takes 250 MB less than 16 on two cores. Each batch has this many, the last one zeros
	// where nothing is left, as TensorFlow may choose other kernels for another shape. Within one shape the place of an
	// image and what stands beside it change nothing as long as a network's channels are multiples of 8, which those of
	// all bases are: with others, vectors of the processor would reach over from one image to the next.
	batchSize = 8
	// maxWorkers bounds memory on large machines; each worker has its own session and activations.
	maxWorkers = 16
	// ahead is how many files are read before they are decoded, so that a slow disk and the processor work at once, and
	// aheadBytes how much of files there is at a time, those that are being decoded included.
	ahead      = 64
	aheadBytes = 2 * manifest.MaxFileBytes
)

// Want asks for one row: an item of the list and the number of a view.
type Want struct{ Item, View int }

// Pass is one feature pass.
type Pass struct {
	Network network.Network
	Weights network.Weights
	Fit     data.Fit
	Packs   string // folder of packs
	Items   []data.Item
	Wants   []Want // those of one item together
	Notes   string // folder for notes of what is being decoded
	// Suspects are images during whose decoding an earlier attempt ended.
	Suspects map[data.Hash]int
	// Progress hears how many of the wanted rows are there; it is called from several goroutines, one at a time.
	Progress func(done, total int)
	// Problem hears of images that cannot be used, one call at a time.
	Problem func(item data.Item, fault *data.Fault)
	// Timing is what Run took; it is there when Run has returned.
	Timing Timing
}

// job is one image with the wanted rows that the cache does not have.
type job struct {
	item  int
	wants []int // positions in Wants
	file  []byte
	err   error // why there is no file
}

// Run makes sure that each of the caches, all of the pass' network, has the wanted rows, by one pass through the images,
// and returns them in order; those of images that cannot be used are missing. What was computed is kept even when ctx ends
// the pass early. The caller closes the sets.
func (p *Pass) Run(ctx context.Context, caches ...*Cache) ([]*Set, error) {
	rows := p.Rows()
	p.Timing = Timing{}
	sets, err := p.find(caches, rows)
	if err != nil {
		return nil, err
	}
	jobs, suspected, missing := p.jobs(sets, rows)
	p.Progress(len(rows)-missing, len(rows))
	if missing == 0 {
		return sets, nil
	}
	r := &run{Pass: p, rows: rows, done: len(rows) - missing, read: semaphore.NewWeighted(aheadBytes)}
	for i, c := range caches {
		r.outs = append(r.outs, &output{writer: &writer{dir: c.dir, name: c.writer, dim: c.key.Dim}, layer: c.key.Cut, had: sets[i].found()})
		sets[i].Close()
	}
	start := time.Now()
	err = r.all(ctx, jobs, suspected)
	// Kept also after a failure: the next attempt goes on from here.
	if published := r.publish(); err == nil {
		err = published
	}
	if err != nil {
		return nil, err
	}
	p.Timing.Wall = time.Since(start)
	for _, o := range r.outs {
		p.Timing.Written += o.wrote
	}
	p.Progress(len(rows), len(rows)) // rows that occur twice were computed once
	return p.find(caches, rows)
}

func (p *Pass) find(caches []*Cache, rows []Row) ([]*Set, error) {
	start := time.Now()
	sets, err := FindAll(caches, rows)
	p.Timing.Find += time.Since(start)
	return sets, err
}

// FindAll looks the rows up in each cache. The caller closes the sets.
func FindAll(caches []*Cache, rows []Row) ([]*Set, error) {
	var sets []*Set
	for _, c := range caches {
		set, err := c.Find(rows)
		if err != nil {
			for _, s := range sets {
				s.Close()
			}
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// Rows names the wanted rows, in order.
func (p *Pass) Rows() []Row {
	rows := make([]Row, len(p.Wants))
	for i, w := range p.Wants {
		rows[i] = Row{Hash: p.Items[w.Item].Hash, View: w.View}
	}
	return rows
}

// jobs lists the images with missing rows, those that were suspected of a crash apart. Of rows that occur twice (the
// same file in two classes) only the first is computed.
func (p *Pass) jobs(sets []*Set, rows []Row) (jobs, suspected []job, missing int) {
	seen := map[Row]bool{}
	var current *job
	push := func() {
		switch {
		case current == nil:
		case p.Suspects[p.Items[current.item].Hash] > 0:
			suspected = append(suspected, *current)
		default:
			jobs = append(jobs, *current)
		}
		current = nil
	}
	for i, w := range p.Wants {
		if !slices.ContainsFunc(sets, func(s *Set) bool { return !s.Has(i) }) {
			continue
		}
		missing++
		if seen[rows[i]] {
			continue
		}
		seen[rows[i]] = true
		if current == nil || current.item != w.Item {
			push()
			current = &job{item: w.Item}
		}
		current.wants = append(current.wants, i)
	}
	push()
	return jobs, suspected, missing
}

// run is the state of a pass that has something to compute.
type run struct {
	*Pass
	rows []Row
	huge sync.Mutex          // see data.NewDecoder
	read *semaphore.Weighted // bytes of files in memory
	mu   sync.Mutex          // guards what follows, and calls to Progress and Problem
	outs []*output
	done int
}

// all computes the jobs on all cores, then the suspected ones on one, so that a crash names its cause.
func (r *run) all(ctx context.Context, jobs, suspected []job) error {
	workers := min(Workers(runtime.GOMAXPROCS(0), MemoryLimit(os.DirFS("/")), r.Network.Size), max(1, (len(jobs)+batchSize-1)/batchSize))
	if err := r.compute(ctx, jobs, workers); err != nil {
		return err
	}
	if len(suspected) == 0 {
		return nil
	}
	r.mu.Lock()
	err := r.publish() // before what may crash
	r.mu.Unlock()
	if err != nil {
		return err
	}
	var tried []job
	for _, j := range suspected {
		if r.Suspects[r.Items[j.item].Hash] < Strikes {
			tried = append(tried, j)
			continue
		}
		r.skip(j, &data.Fault{Reason: data.DecoderCrashed,
			Text: "reading it ended the program twice, so it is left out; save it again with an image editor"})
	}
	return r.compute(ctx, tried, 1)
}

func (r *run) compute(ctx context.Context, jobs []job, workers int) error {
	if len(jobs) == 0 {
		return nil
	}
	r.Timing.Workers = max(r.Timing.Workers, workers)
	group, ctx := errgroup.WithContext(ctx)
	feed := make(chan job, ahead)
	group.Go(func() error {
		defer close(feed)
		for _, j := range jobs {
			if r.read.Acquire(ctx, held(r.Items[j.item])) != nil {
				return context.Cause(ctx)
			}
			j.file, j.err = r.Items[j.item].Read(r.Packs)
			select {
			case feed <- j:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for i := range workers {
		group.Go(func() error {
			start := time.Now()
			w, err := newWorker(r, i)
			if err != nil {
				return err
			}
			defer w.close()
			w.timing.Startup = time.Since(start)
			err = w.work(ctx, feed)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.Timing.add(w.timing)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("compute features: %w", err)
	}
	return nil
}

// skip reports an image that cannot be used and counts its rows as done.
func (r *run) skip(j job, fault *data.Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Problem(r.Items[j.item], fault)
	r.done += len(j.wants)
	r.Progress(r.done, len(r.rows))
}
