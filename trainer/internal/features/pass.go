package features

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
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
	sets, err := FindAll(caches, rows)
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
		r.outs = append(r.outs, &output{writer: &writer{dir: c.dir, name: c.writer, dim: c.key.Dim}, layers: c.key.outputs(), had: sets[i].found()})
		sets[i].Close()
	}
	err = r.all(ctx, jobs, suspected)
	// Kept also after a failure: the next attempt goes on from here.
	if published := r.publish(); err == nil {
		err = published
	}
	if err != nil {
		return nil, err
	}
	p.Progress(len(rows), len(rows)) // rows that occur twice were computed once
	return FindAll(caches, rows)
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
			w, err := newWorker(r, i)
			if err != nil {
				return err
			}
			defer w.close()
			return w.work(ctx, feed)
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

// worker is one core's decoder and network.
type worker struct {
	pass     *run
	note     *note
	decoder  *data.Decoder
	renderer data.Renderer
	frozen   *graph.Frozen
	batch    []float32
	wants    []int       // of the images in the batch
	values   [][]float32 // of each layer
}

func newWorker(r *run, number int) (*worker, error) {
	w := &worker{pass: r, renderer: data.Renderer{Size: r.Network.Size, Fit: r.Fit}}
	w.batch = make([]float32, batchSize*w.renderer.Values())
	var err error
	if w.note, err = newNote(r.Notes, number); err != nil {
		return nil, err
	}
	if w.decoder, err = data.NewDecoder(&r.huge); err != nil {
		w.note.done()
		return nil, err
	}
	if w.frozen, err = graph.NewFrozen(r.Network, r.Weights, r.layers(), graph.Options{Threads: 1}); err != nil {
		w.note.done()
		w.decoder.Close()
		return nil, err
	}
	return w, nil
}

func (w *worker) close() {
	w.note.done()
	w.decoder.Close()
	w.frozen.Close()
}

// held is what a file takes of aheadBytes. The size of a user's own file, which is no part of a training, is not known
// before it is read.
func held(item data.Item) int64 { return min(max(1, item.Length), manifest.MaxFileBytes) }

// render prepares the wanted views of an image and runs the network whenever a batch is full.
func (w *worker) render(j job) error {
	if j.err != nil {
		return w.fault(j, j.err)
	}
	hash := w.pass.Items[j.item].Hash
	if err := w.note.set(hash, w.pass.Suspects[hash]+1); err != nil {
		return err
	}
	var pixels data.Pixels
	decodedFor := 0
	for _, want := range j.wants {
		view := w.pass.Wants[want].View
		if need := data.Need(view, w.renderer.Size); need != decodedFor {
			var err error
			if pixels, err = w.decoder.Decode(j.file, need); err != nil {
				return w.fault(j, err)
			}
			decodedFor = need
		}
		at := len(w.wants) * w.renderer.Values()
		w.renderer.Render(w.batch[at:at+w.renderer.Values()], pixels, data.ViewOf(hash, view))
		w.wants = append(w.wants, want)
		if len(w.wants) == batchSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// fault skips an image that is itself to blame; any other error ends the pass.
func (w *worker) fault(j job, err error) error {
	var fault *data.Fault
	if !errors.As(err, &fault) {
		return err
	}
	w.pass.skip(j, fault)
	return nil
}

func (w *worker) work(ctx context.Context, feed <-chan job) error {
	for j := range feed {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := w.render(j)
		w.pass.read.Release(held(w.pass.Items[j.item]))
		if err != nil {
			return err
		}
	}
	return w.flush()
}

// flush runs the network on what is in the batch; the rest of a batch that is not full is zero.
func (w *worker) flush() error {
	if len(w.wants) == 0 {
		return nil
	}
	clear(w.batch[len(w.wants)*w.renderer.Values():])
	size := w.renderer.Size
	batch, err := tf.FromFloats([]int{batchSize, size, size, 3}, w.batch)
	if err != nil {
		return err
	}
	out, err := w.frozen.Run(batch)
	if err != nil {
		return err
	}
	w.values = slices.Grow(w.values, len(out))[:len(out)]
	for i := range out {
		if w.values[i], err = tf.Floats(out[i], w.values[i]); err != nil {
			return err
		}
	}
	err = w.pass.store(w.wants, w.values)
	w.wants = w.wants[:0]
	return err
}
