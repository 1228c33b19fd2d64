package features

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

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
	warm     bool        // a batch has been run
	timing   Timing
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
			if pixels, err = w.decode(j.file, need); err != nil {
				return w.fault(j, err)
			}
			decodedFor = need
		}
		w.square(pixels, hash, view)
		w.wants = append(w.wants, want)
		if len(w.wants) == batchSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *worker) decode(file []byte, need int) (data.Pixels, error) {
	start := time.Now()
	pixels, err := w.decoder.Decode(file, need)
	w.timing.Decode += time.Since(start)
	w.timing.Bytes += int64(len(file))
	return pixels, err
}

// square puts a view of an image behind those that are in the batch.
func (w *worker) square(pixels data.Pixels, hash data.Hash, view int) {
	start := time.Now()
	at := len(w.wants) * w.renderer.Values()
	w.renderer.Render(w.batch[at:at+w.renderer.Values()], pixels, data.ViewOf(hash, view))
	if view == 0 {
		w.timing.Plain += time.Since(start)
		w.timing.PlainRows++
	} else {
		w.timing.Changed += time.Since(start)
		w.timing.ChangedRows++
	}
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

// ran notes a batch of so many rows.
func (w *worker) ran(rows int, took time.Duration) {
	if !w.warm {
		w.warm, w.timing.Startup = true, w.timing.Startup+took
		return
	}
	w.timing.Network += took
	w.timing.NetworkRows += rows
}

// flush runs the network on what is in the batch; the rest of a batch that is not full is zero.
func (w *worker) flush() error {
	if len(w.wants) == 0 {
		return nil
	}
	start, rows := time.Now(), len(w.wants)
	defer func() { w.ran(rows, time.Since(start)) }()
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
