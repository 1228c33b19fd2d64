package features

import "time"

// Timing is what the parts of a pass took. Durations but Find, Wall and Startup are sums over the workers.
type Timing struct {
	Workers int
	Find    time.Duration // looking up, reading and checking what the caches have
	Wall    time.Duration // of all that was computed
	Startup time.Duration // until the last worker had run its first batch, in which TensorFlow settles how to compute
	Decode  time.Duration // of Bytes of files
	Plain   time.Duration // making PlainRows squares of photos as they are
	Changed time.Duration // making ChangedRows squares of changed views
	Network time.Duration // running the network on NetworkRows, those after the first batches, and keeping what it gives
	Bytes   int64         // one that is decoded twice, smaller and larger, counts twice
	Written int64         // bytes of segments

	PlainRows, ChangedRows, NetworkRows int
}

// add adds a worker's share.
func (t *Timing) add(w Timing) {
	t.Startup = max(t.Startup, w.Startup)
	t.Decode += w.Decode
	t.Plain += w.Plain
	t.Changed += w.Changed
	t.Network += w.Network
	t.Bytes += w.Bytes
	t.PlainRows += w.PlainRows
	t.ChangedRows += w.ChangedRows
	t.NetworkRows += w.NetworkRows
}
