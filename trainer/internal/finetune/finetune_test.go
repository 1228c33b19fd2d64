package finetune_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/calibrate"
	"github.com/cultivar-ml/cultivar/trainer/internal/finetune"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// The network behind a cut: a convolution with its batch norm, and a depthwise one.
const (
	side, channels, width = 4, 8, 16
	rowLength             = side * side * channels
)

func behind() network.Network {
	return network.Network{Name: "behind", Size: side, Features: "pool", FeatureDim: width, Layers: []network.Layer{
		{Name: "cut", Kind: network.Input, Filters: channels},
		{Name: "conv", Kind: network.Conv2D, Inputs: []string{"cut"}, Filters: width, Kernel: 1, Stride: 1, Padding: network.Same},
		{Name: "conv_bn", Kind: network.BatchNormalization, Inputs: []string{"conv"}, Epsilon: 1e-3},
		{Name: "conv_relu", Kind: network.ReLU6, Inputs: []string{"conv_bn"}},
		{Name: "depth", Kind: network.DepthwiseConv2D, Inputs: []string{"conv_relu"}, Kernel: 3, Stride: 1, Padding: network.Same},
		{Name: "depth_bn", Kind: network.BatchNormalization, Inputs: []string{"depth"}, Epsilon: 1e-3},
		{Name: "depth_relu", Kind: network.ReLU6, Inputs: []string{"depth_bn"}},
		{Name: "sum", Kind: network.Add, Inputs: []string{"conv_relu", "depth_relu"}},
		{Name: "pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{"sum"}},
	}}
}

func weights(t *testing.T, n network.Network) network.Weights {
	t.Helper()
	arrays, err := n.Arrays()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	w := network.Weights{}
	for _, a := range arrays {
		data := make([]float32, a.Size())
		for i := range data {
			data[i] = float32(0.3 * r.NormFloat64())
			if a.Name == "conv_bn/gamma" || a.Name == "depth_bn/gamma" || a.Name == "conv_bn/moving_variance" || a.Name == "depth_bn/moving_variance" {
				data[i] = float32(0.5 + r.Float64())
			}
		}
		w[a.Name] = network.Tensor{Shape: a.Shape, Data: data}
	}
	return w
}

// set is photos of three classes that differ in how two channels go together, which no average of a channel tells.
type set struct {
	rows [][]float32
	data finetune.Data
}

func photos(n, views int) *set {
	s := &set{}
	r := rand.New(rand.NewPCG(3, 4))
	add := func(i, view int) fit.Sample {
		class := i % 3
		row := make([]float32, rowLength)
		for p := range side * side {
			for c := range channels {
				row[p*channels+c] = float32(r.NormFloat64())
			}
			row[p*channels+1] = float32(class-1)*row[p*channels] + 0.5*row[p*channels+1]
		}
		s.rows = append(s.rows, row)
		return fit.Sample{Row: len(s.rows) - 1, Class: class, View: view, Key: uint64(1000 + i)}
	}
	for i := range n {
		for v := range views {
			s.data.Train = append(s.data.Train, add(i, v))
		}
	}
	for i := range 60 {
		s.data.Val = append(s.data.Val, add(n+i, 0))
	}
	s.data.Weights = []float64{1, 1, 1}
	s.data.Read = func(one fit.Sample, dst []byte) error {
		for j, x := range s.rows[one.Row] {
			binary.LittleEndian.PutUint16(dst[2*j:], half(x))
		}
		return nil
	}
	return s
}

// half cuts a float32 within float16's normal range to it, and the row to what is left.
func half(x float32) uint16 {
	bits := math.Float32bits(x)
	exponent := int(bits>>23&0xff) - 127
	if exponent < -14 {
		return uint16(bits >> 16 & 0x8000)
	}
	return uint16(bits>>16&0x8000) | uint16(exponent+15)<<10 | uint16(bits>>13&0x3ff)
}

func unhalf(h uint16) float32 {
	if h&0x7fff == 0 {
		return 0
	}
	return math.Float32frombits(uint32(h&0x8000)<<16 | (uint32(h>>10&0x1f)+112)<<23 | uint32(h&0x3ff)<<13)
}

// flat is a head that knows nothing.
func flat() fit.Scaled {
	const dim = width
	h := fit.Scaled{Mean: make([]float32, dim), Scale: make([]float32, dim), Kernel: make([]float32, 3*dim), Bias: make([]float32, 3)}
	r := rand.New(rand.NewPCG(5, 6))
	for j := range dim {
		h.Mean[j], h.Scale[j] = float32(0.1*r.NormFloat64()), float32(0.5+r.Float64())
	}
	for j := range h.Kernel {
		h.Kernel[j] = float32(0.01 * r.NormFloat64())
	}
	return h
}

func settings() finetune.Settings {
	return finetune.Settings{Epochs: 12, BatchSize: 32, Rate: 0.02, Smoothing: 0.1, Patience: 100, Seed: 7, HeadLoss: math.Log(3)}
}

func open(t *testing.T, s *set, o finetune.Settings) *finetune.Training {
	t.Helper()
	net := behind()
	tr, err := finetune.New(net, weights(t, net), flat(), s.data, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	tr.Warn = func(text string) { t.Error(text) }
	tr.Epoch = func(runspec.Epoch, finetune.State) (bool, error) { return false, nil }
	return tr
}

func start(t *testing.T, tr *finetune.Training) finetune.State {
	t.Helper()
	s, err := tr.Start()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func run(t *testing.T, tr *finetune.Training, from finetune.State) finetune.State {
	t.Helper()
	s, err := tr.Run(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What the head alone cannot see is learned, and the model that comes out answers what the training measured.
func TestLearns(t *testing.T) {
	for name, change := range map[string]func(*finetune.Settings){
		"plain":     func(*finetune.Settings) {},
		"mixup":     func(s *finetune.Settings) { s.Mixup = 0.2 },
		"one batch": func(s *finetune.Settings) { s.BatchSize, s.Epochs = 150, 60 },
	} {
		t.Run(name, func(t *testing.T) {
			o := settings()
			change(&o)
			s := photos(150, 2)
			tr := open(t, s, o)
			from := start(t, tr)
			var epochs []runspec.Epoch
			tr.Epoch = func(e runspec.Epoch, _ finetune.State) (bool, error) {
				epochs = append(epochs, e)
				return false, nil
			}
			last := run(t, tr, from)
			if len(epochs) != o.Epochs || last.BestAccuracy < 0.85 || last.BestLoss >= 0.7 {
				t.Fatalf("%d epochs, to %v (loss %v)", len(epochs), last.BestAccuracy, last.BestLoss)
			}
			if first, end := epochs[0], epochs[len(epochs)-1]; end.TrainLoss >= first.TrainLoss || end.TrainAccuracy <= first.TrainAccuracy || end.Phase != runspec.PhaseFinetune {
				t.Errorf("from %+v to %+v", first, end)
			}
			agrees(t, tr, s, last)
		})
	}
}

// agrees runs the finished model, batch norms unfolded and folded again, and compares.
func agrees(t *testing.T, tr *finetune.Training, s *set, last finetune.State) {
	t.Helper()
	arrays, head := tr.Model(last)
	net := behind()
	w := weights(t, net)
	changed := 0
	for name, array := range arrays {
		if !slices.Equal(w[name].Data, array.Data) {
			changed++
		}
		w[name] = array
	}
	if changed != 6 { // two kernels, and gamma and beta of two batch norms
		t.Errorf("%d arrays have changed", changed)
	}
	got, err := tr.Logits(last, s.data.Val)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range s.data.Val {
		for c, x := range head.Logits(pooled(t, net, w, s.rows[v.Row])) {
			if math.Abs(float64(x-got[3*i+c])) > 1e-3 {
				t.Fatalf("image %d: the model says %v, the training said %v", i, x, got[3*i+c])
			}
		}
	}
}

// pooled are the features of a row by the plain forward pass.
func pooled(t *testing.T, net network.Network, w network.Weights, row []float32) []float32 {
	t.Helper()
	row = slices.Clone(row)
	for i, x := range row {
		row[i] = unhalf(half(x))
	}
	part, err := net.Only("pool")
	if err != nil {
		t.Fatal(err)
	}
	frozen, err := graph.NewFrozen(part, w, []string{"pool"}, graph.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	in, err := tf.FromFloats([]int{1, side, side, channels}, row[:side*side*channels])
	if err != nil {
		t.Fatal(err)
	}
	out, err := frozen.Run(in)
	if err != nil {
		t.Fatal(err)
	}
	values, err := tf.Floats(out[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Clone(row[side*side*channels:]), values...)
}

func same(a, b finetune.State) bool {
	return a.Epoch == b.Epoch && a.Step == b.Step && slices.Equal(a.Weights, b.Weights) && slices.Equal(a.M, b.M) && slices.Equal(a.V, b.V) &&
		slices.Equal(a.Mean, b.Mean) && slices.Equal(a.Best, b.Best) && a.BestEpoch == b.BestEpoch && a.BestLoss == b.BestLoss
}

// Interrupted after each epoch in turn, it ends as it does uninterrupted, whatever the number of cores.
func TestResumes(t *testing.T) {
	o := settings()
	o.Epochs, o.Mixup = 4, 0.2
	s := photos(70, 3)
	whole := open(t, s, o)
	want := run(t, whole, start(t, whole))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	reason := errors.New("told to leave")
	tr := open(t, s, o)
	state := start(t, tr)
	for state.Epoch < o.Epochs {
		ctx, leave := context.WithCancelCause(t.Context())
		tr := open(t, s, o)
		tr.Epoch = func(_ runspec.Epoch, after finetune.State) (bool, error) {
			state = after
			leave(reason)
			return false, nil
		}
		if _, err := tr.Run(ctx, state); err != nil && !errors.Is(err, reason) {
			t.Fatal(err)
		}
	}
	if !same(state, want) {
		t.Errorf("resumed it ends at step %d with loss %v, uninterrupted at %d with %v", state.Step, state.BestLoss, want.Step, want.BestLoss)
	}
}

// A rate that ruins what the head knew already is lowered, with a word, and one that never works leaves nothing to keep.
func TestSetback(t *testing.T) {
	for name, c := range map[string]struct {
		rate        float64
		least, most int  // warnings
		none        bool // nothing to keep
	}{"too high": {30, 1, 3, false}, "far too high": {1e30, 4, 4, true}} {
		t.Run(name, func(t *testing.T) {
			o := settings()
			o.Rate, o.Epochs, o.HeadLoss = c.rate, 8, 0.2
			s := photos(90, 1)
			tr := open(t, s, o)
			warned := 0
			tr.Warn = func(string) { warned++ }
			tr.Epoch = func(runspec.Epoch, finetune.State) (bool, error) { return false, nil }
			last := run(t, tr, start(t, tr))
			if warned < c.least || warned > c.most || (last.BestEpoch == 0) != c.none {
				t.Errorf("best in epoch %d with loss %v after %d warnings", last.BestEpoch, last.BestLoss, warned)
			}
		})
	}
}

func TestStopsWhenTold(t *testing.T) {
	s := photos(40, 1)
	tr := open(t, s, settings())
	tr.Epoch = func(e runspec.Epoch, _ finetune.State) (bool, error) { return e.Epoch == 2, nil }
	if last := run(t, tr, start(t, tr)); last.Epoch != 2 {
		t.Errorf("it stopped after epoch %d", last.Epoch)
	}
}

// Fresh views are numbered by the epoch, and measured is the plain one.
func TestFreshViews(t *testing.T) {
	s := photos(40, 1)
	o := settings()
	o.Epochs = 3
	var mu sync.Mutex
	seen := map[[2]int]int{}
	read := s.data.Read
	s.data.Fresh, s.data.Read = true, func(one fit.Sample, dst []byte) error {
		mu.Lock()
		defer mu.Unlock()
		seen[[2]int{one.Row, one.View}]++
		return read(one, dst)
	}
	tr := open(t, s, o)
	run(t, tr, start(t, tr))
	for i, one := range s.data.Train {
		for epoch := range o.Epochs {
			if n := seen[[2]int{one.Row, epoch + 1}]; n != 1 {
				t.Fatalf("image %d was looked at %d times in epoch %d", i, n, epoch+1)
			}
		}
	}
	for _, one := range s.data.Val {
		if n := seen[[2]int{one.Row, 0}]; n != o.Epochs {
			t.Fatalf("a validation image was looked at %d times", n)
		}
	}
}

// valLoss is the mean loss on the validation images.
func valLoss(t *testing.T, tr *finetune.Training, s *set, state finetune.State) float64 {
	t.Helper()
	logits, err := tr.Logits(state, s.data.Val)
	if err != nil {
		t.Fatal(err)
	}
	truth := make([]int, len(s.data.Val))
	for i, v := range s.data.Val {
		truth[i] = v.Class
	}
	return calibrate.Loss(logits, truth, 1)
}

// The validation images are learned from in the end, always in the same way; one that is broken off changes nothing.
func TestRefit(t *testing.T) {
	s := photos(90, 2)
	o := settings()
	o.Smoothing, o.Epochs = 0, 24
	tr := open(t, s, o)
	last := run(t, tr, start(t, tr))
	refit, err := tr.Refit(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	if before, after := valLoss(t, tr, s, last), valLoss(t, tr, s, refit); after >= 0.9*before {
		t.Errorf("the loss on the validation images goes from %v to %v", before, after)
	}
	if again, err := open(t, s, o).Refit(t.Context(), last); err != nil || !same(refit, again) {
		t.Errorf("a second time it ends differently (%v)", err)
	}
	reason := errors.New("told to leave")
	ctx, leave := context.WithCancelCause(t.Context())
	leave(reason)
	if none, err := tr.Refit(ctx, last); !errors.Is(err, reason) || !same(none, last) {
		t.Errorf("broken off: %v", err)
	}
}
