package graph

import (
	"fmt"
	"slices"

	graft "github.com/wamuir/graft/tensorflow"
	"github.com/wamuir/graft/tensorflow/op"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// Options of a Frozen network.
type Options struct {
	// Threads is how many cores one Run uses; 1 when 0. A Frozen per core with 1 each is what is fastest on many
	// images: then nothing is handed from thread to thread.
	Threads int
	// Uint8 makes Run take uint8 images instead of float32.
	Uint8 bool
}

// Frozen is a network ready for inference in a session of its own. Run may be called from several goroutines, but
// the intended use is one Frozen a worker.
type Frozen struct {
	session *tf.Session
	input   tf.Output
	dims    []int64 // of one input, without the batch
	outputs []tf.Output
}

// NewFrozen builds the part of net that outputs need (see Append) and opens a session for it. The caller closes it.
func NewFrozen(net network.Network, w network.Weights, outputs []string, options Options) (*Frozen, error) {
	part, err := net.Only(outputs...)
	if err != nil {
		return nil, err
	}
	if len(part.Layers) == 0 || part.Layers[0].Kind != network.Input {
		return nil, fmt.Errorf("graph of %s: the network does not begin with its input", net.Name)
	}
	shapes, err := part.Shapes()
	if err != nil {
		return nil, err
	}
	dims := []int64{-1}
	for _, d := range shapes[part.Layers[0].Name] {
		dims = append(dims, int64(d))
	}
	kind := graft.Float
	if options.Uint8 {
		kind = graft.Uint8
	}
	scope := op.NewScope()
	input := op.Placeholder(scope.SubScope("images"), kind, op.PlaceholderShape(graft.MakeShape(dims...)))
	named, err := Append(scope.SubScope("network"), part, w, input, outputs...)
	if err != nil {
		return nil, err
	}
	fetched := make([]tf.Output, len(outputs))
	for i, name := range outputs {
		fetched[i] = named[name]
	}
	graph, err := scope.Finalize()
	if err != nil {
		return nil, fmt.Errorf("graph of %s: %w", net.Name, err)
	}
	threads := tf.Threads{Intra: max(1, options.Threads), Inter: -1}
	session, err := tf.NewSession(graph, threads)
	if err != nil {
		return nil, err
	}
	return &Frozen{session: session, input: input, dims: dims[1:], outputs: fetched}, nil
}

// Run computes the outputs, in the order given to NewFrozen, for a batch [n,…] of inputs of the network's size.
func (f *Frozen) Run(batch *tf.Tensor) ([]*tf.Tensor, error) {
	// TensorFlow does not hold a fed value against its placeholder's shape, and pooling takes any size.
	if shape := batch.Shape(); len(shape) == 0 || !slices.Equal(shape[1:], f.dims) {
		return nil, fmt.Errorf("run the network on a batch of shape %v: its inputs have shape %v", shape, f.dims)
	}
	values, err := tf.Run(f.session, f.input, batch, f.outputs...)
	if err != nil {
		return nil, fmt.Errorf("run the network on a batch of shape %v: %w", batch.Shape(), err)
	}
	return values, nil
}

// Close frees the session; Run fails from then on.
func (f *Frozen) Close() error {
	if err := f.session.Close(); err != nil {
		return fmt.Errorf("close the network's session: %w", err)
	}
	return nil
}
