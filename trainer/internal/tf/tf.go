// Package tf is the thin layer between the trainer and TensorFlow's Go binding: session settings, and float32 slices
// to tensors and back without more copies than needed. It builds no graphs.
package tf

import (
	"bytes"
	"fmt"
	"os"
	"unsafe"

	graft "github.com/wamuir/graft/tensorflow"
	"google.golang.org/protobuf/encoding/protowire"
)

// The binding's types under one roof, so that most packages import only this one.
type (
	// Graph is graft's graph.
	Graph = graft.Graph
	// Operation is graft's node of a graph.
	Operation = graft.Operation
	// Output is graft's output of an operation.
	Output = graft.Output
	// Session is graft's session; open it with NewSession.
	Session = graft.Session
	// Shape is graft's shape.
	Shape = graft.Shape
	// Tensor is graft's tensor.
	Tensor = graft.Tensor
)

// Threads sets how a session uses the processor. Zero leaves a choice to TensorFlow (all cores).
type Threads struct {
	Intra int // threads within one operation
	Inter int // operations that run at once; −1 runs them all in the thread that calls Run
	// Plain runs a graph as it is. Optimising one holds many copies of its constants for a while, and fuses nothing of a graph
	// that differentiates or rounds.
	Plain bool
}

// perSessionPools is what makes Threads.Intra true for each session: by default TensorFlow shares one pool, sized by
// whichever session of the process came first (tensorflow/core/common_runtime/local_device.cc).
const perSessionPools = "TF_OVERRIDE_GLOBAL_THREADPOOL"

// Set before any thread of TensorFlow can read the environment, as setenv is not safe beside getenv.
func init() {
	if _, set := os.LookupEnv(perSessionPools); !set {
		_ = os.Setenv(perSessionPools, "true")
	}
}

// Field numbers of tensorflow.ConfigProto (tensorflow/core/protobuf/config.proto).
const (
	fieldIntra         = 2
	fieldInter         = 5
	fieldUsePerSession = 9
	fieldGraphOptions  = 10
	fieldRewrite       = 10 // of GraphOptions
	fieldUnoptimised   = 19 // of RewriterConfig (tensorflow/core/protobuf/rewriter_config.proto): disable_meta_optimizer
)

// config encodes a ConfigProto: a few numbers need no generated code.
func (t Threads) config() []byte {
	var b []byte
	b = protowire.AppendTag(b, fieldIntra, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(t.Intra))
	b = protowire.AppendTag(b, fieldInter, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(int64(t.Inter))) // a negative int32 is sign-extended to 64 bits
	b = protowire.AppendTag(b, fieldUsePerSession, protowire.VarintType)
	b = protowire.AppendVarint(b, 1)
	if !t.Plain {
		return b
	}
	rewrite := protowire.AppendVarint(protowire.AppendTag(nil, fieldUnoptimised, protowire.VarintType), 1)
	options := protowire.AppendBytes(protowire.AppendTag(nil, fieldRewrite, protowire.BytesType), rewrite)
	return protowire.AppendBytes(protowire.AppendTag(b, fieldGraphOptions, protowire.BytesType), options)
}

// NewSession opens a session on graph with thread pools of its own. The caller closes it.
func NewSession(graph *Graph, threads Threads) (*Session, error) {
	session, err := graft.NewSession(graph, &graft.SessionOptions{Config: threads.config()})
	if err != nil {
		return nil, fmt.Errorf("open a TensorFlow session: %w", err)
	}
	return session, nil
}

// Run runs session once with one feed and returns the fetched tensors in order.
func Run(session *Session, input Output, value *Tensor, fetches ...Output) ([]*Tensor, error) {
	return session.Run(map[Output]*Tensor{input: value}, fetches, nil)
}

// FromFloats copies data into a new tensor of that shape. The product of shape must be len(data).
func FromFloats(shape []int, data []float32) (*Tensor, error) {
	raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), 4*len(data))
	return fromBytes(graft.Float, shape, len(data), raw)
}

// FromBytes copies data into a new uint8 tensor of that shape. The product of shape must be len(data).
func FromBytes(shape []int, data []byte) (*Tensor, error) {
	return fromBytes(graft.Uint8, shape, len(data), data)
}

func fromBytes(kind graft.DataType, shape []int, elements int, raw []byte) (*Tensor, error) {
	dims := make([]int64, len(shape))
	want := 1
	for i, d := range shape {
		dims[i] = int64(d)
		want *= d
	}
	if want != elements {
		return nil, fmt.Errorf("a tensor of shape %v has %d elements, not %d", shape, want, elements)
	}
	tensor, err := graft.ReadTensor(kind, dims, bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("make a tensor of shape %v: %w", shape, err)
	}
	return tensor, nil
}

// Floats copies a float32 tensor into dst, in row-major order, and returns it; a dst that is too short is replaced.
func Floats(t *Tensor, dst []float32) ([]float32, error) {
	if t.DataType() != graft.Float {
		return nil, fmt.Errorf("tensor has type %v, not float32", t.DataType())
	}
	n := 1
	for _, d := range t.Shape() {
		n *= int(d)
	}
	if cap(dst) < n {
		dst = make([]float32, n)
	}
	dst = dst[:n]
	into := &fixed{unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(dst))), 4*n)}
	if _, err := t.WriteContentsTo(into); err != nil {
		return nil, fmt.Errorf("read a tensor of shape %v: %w", t.Shape(), err)
	}
	return dst, nil
}

// fixed is a writer into memory that was sized before.
type fixed struct{ left []byte }

// Write fails when more comes than fits.
func (f *fixed) Write(p []byte) (int, error) {
	if len(p) > len(f.left) {
		return 0, fmt.Errorf("%d bytes do not fit into %d", len(p), len(f.left))
	}
	f.left = f.left[copy(f.left, p):]
	return len(p), nil
}

// FromHalves copies float16 numbers, two bytes each in little-endian order, into a new tensor of uint16, since the binding
// has none of float16: Bitcast in the graph makes them what they are. The product of shape must be half of len(data).
func FromHalves(shape []int, data []byte) (*Tensor, error) {
	return fromBytes(graft.Uint16, shape, len(data)/2, data)
}
