package graph_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	graft "github.com/wamuir/graft/tensorflow"
	"github.com/wamuir/graft/tensorflow/op"

	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// fixture is a whole base with a head and weights of a size that keeps activations alive through all layers.
func fixture(t *testing.T, name string) (network.Network, network.Weights) {
	t.Helper()
	base, err := network.ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	net, err := base.WithHead(4, 0.3)
	if err != nil {
		t.Fatal(err)
	}
	arrays, err := net.Arrays()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	w := network.Weights{}
	for _, a := range arrays {
		data := make([]float32, a.Size())
		inputs := 1
		for _, d := range a.Shape[:len(a.Shape)-1] {
			inputs *= d
		}
		if strings.HasSuffix(a.Name, "/depthwise_kernel") {
			inputs = a.Shape[0] * a.Shape[1]
		}
		for i := range data {
			switch {
			case strings.HasSuffix(a.Name, "kernel"):
				data[i] = float32(random.NormFloat64() * math.Sqrt(2/float64(inputs)))
			case strings.HasSuffix(a.Name, "moving_variance"), strings.HasSuffix(a.Name, "gamma"):
				data[i] = 0.5 + random.Float32()
			default:
				data[i] = float32(random.NormFloat64() * 0.2)
			}
		}
		w[a.Name] = network.Tensor{Shape: a.Shape, Data: data}
	}
	return net, w
}

func image(n, size int) ([]int, []byte) {
	random := rand.New(rand.NewPCG(3, 4))
	data := make([]byte, n*size*size*3)
	for i := range data {
		data[i] = byte(random.UintN(256))
	}
	return []int{n, size, size, 3}, data
}

func run(t *testing.T, session *tf.Session, input tf.Output, in *tf.Tensor, fetch tf.Output) []float32 {
	t.Helper()
	out, err := tf.Run(session, input, in, fetch)
	if err != nil {
		t.Fatal(err)
	}
	values, err := tf.Floats(out[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func frozen(t *testing.T, net network.Network, w network.Weights, in *tf.Tensor, options graph.Options, output string) []float32 {
	t.Helper()
	f, err := graph.NewFrozen(net, w, []string{output}, options)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, err := f.Run(in)
	if err != nil {
		t.Fatal(err)
	}
	values, err := tf.Floats(out[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// agree compares by the largest difference relative to the largest value.
func agree(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) || len(want) == 0 {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	var largest, worst float64
	for i := range want {
		largest = max(largest, math.Abs(float64(want[i])))
		worst = max(worst, math.Abs(float64(got[i])-float64(want[i])))
	}
	if !(worst <= 1e-4*largest) || largest == 0 {
		t.Errorf("%s: differs by %g of %g", what, worst, largest)
	}
}

// constants gives weights as they are, so that Layers computes the unfolded network.
func constants(w network.Weights) graph.Arrays {
	return func(scope *op.Scope, name string) tf.Output {
		tensor, err := tf.FromFloats(w[name].Shape, w[name].Data)
		if err != nil {
			scope.UpdateErr(name, err)
			return tf.Output{}
		}
		return op.Const(scope, tensor)
	}
}

func TestFoldedEqualsUnfolded(t *testing.T) {
	for _, name := range []string{"mobilenet_v2_035", "efficientnet_lite0"} {
		t.Run(name, func(t *testing.T) {
			net, w := fixture(t, name)
			shape, pixels := image(2, net.Size)
			batch, err := tf.FromBytes(shape, pixels)
			if err != nil {
				t.Fatal(err)
			}
			scope := op.NewScope()
			input := op.Placeholder(scope, graft.Uint8)
			plain, err := graph.Layers(scope.SubScope("plain"), net, map[string]tf.Output{net.Layers[0].Name: input}, constants(w), net.Features)
			if err != nil {
				t.Fatal(err)
			}
			folded, err := graph.Append(scope.SubScope("folded"), net, w, input, net.Features)
			if err != nil {
				t.Fatal(err)
			}
			built, err := scope.Finalize()
			if err != nil {
				t.Fatal(err)
			}
			session, err := tf.NewSession(built, tf.Threads{Intra: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			want := run(t, session, input, batch, plain[net.Features])
			agree(t, "folded", run(t, session, input, batch, folded[net.Features]), want)
			agree(t, "frozen", frozen(t, net, w, batch, graph.Options{Uint8: true}, net.Features), want)
			floats := make([]float32, len(pixels))
			for i, p := range pixels {
				floats[i] = float32(p)
			}
			in, err := tf.FromFloats(shape, floats)
			if err != nil {
				t.Fatal(err)
			}
			agree(t, "float input, two threads", frozen(t, net, w, in, graph.Options{Threads: 2}, net.Features), want)
		})
	}
}

func TestPrefixThenSuffixIsTheWhole(t *testing.T) {
	net, w := fixture(t, "mobilenet_v2_035")
	shape, pixels := image(1, net.Size)
	batch, err := tf.FromBytes(shape, pixels)
	if err != nil {
		t.Fatal(err)
	}
	want := frozen(t, net, w, batch, graph.Options{Uint8: true}, network.ProbabilitiesName)
	shapes, err := net.Shapes()
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []string{"Conv1_relu", "block_2_add", "block_12_add", net.Features} {
		t.Run(cut, func(t *testing.T) {
			below, err := net.Only(cut)
			if err != nil {
				t.Fatal(err)
			}
			above, err := net.Suffix(cut)
			if err != nil {
				t.Fatal(err)
			}
			middle := frozen(t, below, w, batch, graph.Options{Uint8: true}, cut)
			in, err := tf.FromFloats(append([]int{1}, shapes[cut]...), middle)
			if err != nil {
				t.Fatal(err)
			}
			agree(t, cut, frozen(t, above, w, in, graph.Options{}, network.ProbabilitiesName), want)
		})
	}
}

func TestGradientsReachEveryWeight(t *testing.T) {
	net, w := fixture(t, "efficientnet_lite0")
	above, err := net.Suffix("block7a_project_bn")
	if err != nil {
		t.Fatal(err)
	}
	shapes, err := above.Shapes()
	if err != nil {
		t.Fatal(err)
	}
	scope := op.NewScope()
	input := op.Placeholder(scope.SubScope("input"), graft.Float)
	var names []string
	var reads []tf.Output
	arrays := func(s *op.Scope, name string) tf.Output {
		out := constants(w)(s, name)
		if !strings.Contains(name, "/moving_") {
			names, reads = append(names, name), append(reads, out)
		}
		return out
	}
	outputs, err := graph.Layers(scope, above, map[string]tf.Output{"block7a_project_bn": input}, arrays, network.PredictionsName)
	if err != nil {
		t.Fatal(err)
	}
	// Squared, because the sum alone would give the last bias a constant gradient whatever the graph.
	loss := op.Sum(scope, op.Square(scope, outputs[network.PredictionsName]), op.Const(scope.SubScope("axes"), []int32{0, 1}))
	gradients := op.Gradients(scope, []tf.Output{loss}, reads)
	built, err := scope.Finalize()
	if err != nil {
		t.Fatal(err)
	}
	session, err := tf.NewSession(built, tf.Threads{})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	shape := append([]int{1}, shapes["block7a_project_bn"]...)
	values := make([]float32, shape[1]*shape[2]*shape[3])
	for i := range values {
		values[i] = float32(math.Sin(float64(i)))
	}
	in, err := tf.FromFloats(shape, values)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 5 { // top_conv, gamma and beta of top_bn, and the head's two
		t.Errorf("weights %v", names)
	}
	for i, name := range names {
		nonzero := false
		for _, v := range run(t, session, input, in, gradients[i]) {
			nonzero = nonzero || v != 0
		}
		if !nonzero {
			t.Errorf("no gradient for %s", name)
		}
	}
}

func TestFrozenRefuses(t *testing.T) {
	net, w := fixture(t, "mobilenet_v2_035")
	for output, want := range map[string]string{"nowhere": "no layer", "block_1_expand": "batch norm"} {
		f, err := graph.NewFrozen(net, w, []string{output, net.Features}, graph.Options{})
		if err == nil {
			f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("output %s: %v", output, err)
		}
	}
	delete(w, "Conv_1/kernel")
	if _, err := graph.NewFrozen(net, w, []string{net.Features}, graph.Options{}); err == nil || !strings.Contains(err.Error(), "Conv_1/kernel") {
		t.Errorf("missing weight: %v", err)
	}
	f, err := graph.NewFrozen(net, w, []string{"block_1_project_BN"}, graph.Options{Uint8: true})
	if err != nil {
		t.Fatalf("the missing weight is not needed here: %v", err)
	}
	defer f.Close()
	shape, pixels := image(1, 100)
	batch, err := tf.FromBytes(shape, pixels)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Run(batch); err == nil {
		t.Error("an image of another size passed")
	}
}
