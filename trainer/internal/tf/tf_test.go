package tf_test

import (
	"slices"
	"testing"

	graft "github.com/wamuir/graft/tensorflow"
	"github.com/wamuir/graft/tensorflow/op"

	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

func TestFloatsRoundTrip(t *testing.T) {
	for _, shape := range [][]int{{}, {6}, {2, 3}, {0, 4}} {
		n := 1
		for _, d := range shape {
			n *= d
		}
		data := make([]float32, n)
		for i := range data {
			data[i] = float32(i) + 0.5
		}
		tensor, err := tf.FromFloats(shape, data)
		if err != nil {
			t.Fatal(err)
		}
		if len(tensor.Shape()) != len(shape) {
			t.Errorf("shape %v, want %v", tensor.Shape(), shape)
		}
		buffer := make([]float32, 0, 16)
		got, err := tf.Floats(tensor, buffer)
		if err != nil || !slices.Equal(got, data) {
			t.Errorf("%v: got %v (%v), want %v", shape, got, err, data)
		}
		if n > 0 && &got[0] != &buffer[:1][0] {
			t.Error("a buffer that is large enough was not used")
		}
	}
}

func TestWrongSizes(t *testing.T) {
	if _, err := tf.FromFloats([]int{2, 2}, make([]float32, 3)); err == nil {
		t.Error("3 values filled shape [2 2]")
	}
	if _, err := tf.FromBytes([]int{4}, make([]byte, 5)); err == nil {
		t.Error("5 bytes filled shape [4]")
	}
	tensor, err := tf.FromBytes([]int{1}, []byte{1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tf.Floats(tensor, nil); err == nil {
		t.Error("bytes were read as floats")
	}
}

func TestSession(t *testing.T) {
	for name, threads := range map[string]tf.Threads{
		"automatic": {}, "caller's thread": {Intra: 1, Inter: -1}, "two": {Intra: 2, Inter: 2},
	} {
		t.Run(name, func(t *testing.T) {
			scope := op.NewScope()
			x := op.Placeholder(scope, graft.Float)
			y := op.Mul(scope, x, op.Const(scope.SubScope("two"), float32(2)))
			graph, err := scope.Finalize()
			if err != nil {
				t.Fatal(err)
			}
			session, err := tf.NewSession(graph, threads)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			in, err := tf.FromFloats([]int{2}, []float32{1, 3})
			if err != nil {
				t.Fatal(err)
			}
			out, err := tf.Run(session, x, in, y)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tf.Floats(out[0], nil); err != nil || !slices.Equal(got, []float32{2, 6}) {
				t.Errorf("got %v (%v)", got, err)
			}
		})
	}
}
