package screen

import (
	"context"
	"time"
)

// maxBatch bounds what waits for the screen; beyond it the producer waits.
const maxBatch = 4096

// Feed carries values from a producer to a model in batches, at most one batch every interval, so that a fast stream
// costs few redraws. A command calls Next, the model handles the batch and issues the command again.
type Feed[T any] struct {
	out  chan []T
	stop context.CancelFunc
}

// StartFeed runs produce in the background until it returns or Stop is called. emit must not be called after produce
// has returned.
func StartFeed[T any](ctx context.Context, every time.Duration, produce func(ctx context.Context, emit func(T))) *Feed[T] {
	ctx, stop := context.WithCancel(ctx)
	in := make(chan T)
	f := &Feed[T]{out: make(chan []T), stop: stop}
	go func() {
		defer close(in)
		produce(ctx, func(v T) {
			select {
			case in <- v:
			case <-ctx.Done():
			}
		})
	}()
	go f.collect(ctx, in, every)
	return f
}

// collect hands the first value over at once and later ones at ticks; what is left at the end goes as the last batch.
func (f *Feed[T]) collect(ctx context.Context, in <-chan T, every time.Duration) {
	defer close(f.out)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var waiting []T
	due := true
	for {
		source, sink := in, f.out
		if len(waiting) >= maxBatch {
			source = nil
		}
		if in != nil && (!due || len(waiting) == 0) {
			sink = nil
		}
		if in == nil && len(waiting) == 0 {
			return
		}
		select {
		case v, ok := <-source:
			if !ok {
				in = nil
				continue
			}
			waiting = append(waiting, v)
		case sink <- waiting:
			waiting, due = nil, false
		case <-tick.C:
			due = true
		case <-ctx.Done():
			return
		}
	}
}

// Next waits for a batch; false when the feed is over.
func (f *Feed[T]) Next() ([]T, bool) {
	b, ok := <-f.out
	return b, ok
}

// Stop ends the feed; a waiting Next returns false.
func (f *Feed[T]) Stop() {
	if f != nil {
		f.stop()
	}
}
