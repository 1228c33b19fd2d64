package tflite

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// tiny is a network of a few layers that clips the features of its head, which are one average or two that are joined.
func tiny(tb testing.TB, joined bool) network.Model {
	tb.Helper()
	n := network.Network{Name: "tiny", Size: 5, Layers: []network.Layer{
		{Name: "input", Kind: network.Input},
		{Name: "rescaling", Kind: network.Rescaling, Inputs: []string{"input"}, Scale: 1 / 127.5, Offset: -1},
		{Name: "pad", Kind: network.ZeroPadding2D, Inputs: []string{"rescaling"}, Pad: [4]int{0, 1, 0, 1}},
		{Name: "conv", Kind: network.Conv2D, Inputs: []string{"pad"}, Filters: 4, Kernel: 3, Stride: 2, Padding: network.Valid, Bias: true},
		{Name: "depth", Kind: network.DepthwiseConv2D, Inputs: []string{"conv"}, Kernel: 3, Stride: 1, Padding: network.Same, Bias: true},
		{Name: "relu", Kind: network.ReLU6, Inputs: []string{"depth"}},
		{Name: "sum", Kind: network.Add, Inputs: []string{"conv", "relu"}},
		{Name: "left", Kind: network.GlobalAveragePooling2D, Inputs: []string{"sum"}},
		{Name: "right", Kind: network.GlobalAveragePooling2D, Inputs: []string{"conv"}},
		{Name: "joined", Kind: network.Concatenate, Inputs: []string{"left", "right"}},
		{Name: "norm", Kind: network.BatchNormalization, Inputs: []string{"joined"}, Epsilon: 1e-3},
		{Name: "cut", Kind: network.ReLU6, Inputs: []string{"norm"}},
		{Name: "predictions", Kind: network.Dense, Inputs: []string{"cut"}, Units: 2, Bias: true},
		{Name: "probabilities", Kind: network.Softmax, Inputs: []string{"predictions"}},
	}}
	if !joined {
		n.Layers = slices.DeleteFunc(n.Layers, func(l network.Layer) bool { return l.Name == "right" || l.Name == "joined" })
		for i, l := range n.Layers {
			if l.Name == "norm" {
				n.Layers[i].Inputs = []string{"left"}
			}
		}
	}
	arrays, err := n.Arrays()
	if err != nil {
		tb.Fatal(err)
	}
	m := network.Model{Network: n, Weights: network.Weights{}, Labels: []string{"a", "b"}}
	for _, a := range arrays {
		data := make([]float32, a.Size())
		for i := range data {
			data[i] = float32(i%7)/7 + 0.1
		}
		m.Weights[a.Name] = network.Tensor{Shape: a.Shape, Data: data}
	}
	return m
}

// tinies are files of every kind for the tiny network, made without running it.
func tinies(tb testing.TB) [][]byte {
	tb.Helper()
	m := tiny(tb, true)
	p, err := lower(m, true)
	if err != nil {
		tb.Fatal(err)
	}
	r := ranges{spans: map[int]span{}}
	for _, o := range p.ops {
		r.spans[o.output] = span{-1, 6}
	}
	q, err := quantize(p, r)
	if err != nil {
		tb.Fatal(err)
	}
	var files [][]byte
	for _, p := range []*program{p, halve(p), q} {
		if err := p.check(); err != nil {
			tb.Fatal(err)
		}
		file, err := withFiles(encode(p, "tiny", describe(about{name: "tiny", side: 5})), m.Labels, network.Usage{Threshold: 0.5})
		if err != nil {
			tb.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// A file that is accepted describes a program that can be written again and reads as the same one; no file whatever
// makes the reader panic.
func FuzzDecode(f *testing.F) {
	for _, file := range tinies(f) {
		f.Add(file)
		f.Add(file[:len(file)/2])
	}
	f.Add([]byte("\x08\x00\x00\x00TFL3"))
	f.Fuzz(func(t *testing.T, file []byte) {
		_, _, _ = filesOf(file)
		p, err := decode(file)
		if err != nil {
			return
		}
		again, err := decode(encode(p, "", nil))
		if err != nil {
			t.Fatalf("what was written is refused: %v", err)
		}
		if !reflect.DeepEqual(p, again) {
			t.Fatalf("got\n%s\nfrom\n%s", again.text(), p.text())
		}
	})
}

// Damaged files are refused, or are still programs that hold together; and they cost no more memory than whole ones.
func TestDamagedFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	refused, total := 0, 0
	var before, after runtime.MemStats
	for _, file := range tinies(t) {
		if _, err := decode(file); err != nil {
			t.Fatal(err)
		}
		for range 3000 {
			damaged := bytes.Clone(file)
			for range 1 + r.IntN(4) {
				at := r.IntN(len(damaged))
				switch r.IntN(3) {
				case 0:
					damaged[at] = byte(r.IntN(256))
				case 1: // large counts and far offsets
					copy(damaged[at&^3:], []byte{255, 255, 255, byte(r.IntN(256))})
				default:
					damaged = damaged[:max(8, at)]
				}
			}
			runtime.ReadMemStats(&before)
			_, err := decode(damaged)
			_, _, _ = filesOf(damaged)
			runtime.ReadMemStats(&after)
			total++
			if err != nil {
				refused++
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
				t.Fatalf("%d bytes of memory for a file of %d", used, len(damaged))
			}
		}
	}
	t.Logf("%d of %d damaged files refused", refused, total)
	if refused < total/4 {
		t.Error("hardly any was refused: this no longer damages the files")
	}
}

// A small file may name one thing many times; what is taken over stays below its size.
func TestTakingIsCounted(t *testing.T) {
	d := decoder{left: 10}
	if err := d.take(10); err != nil {
		t.Error(err)
	}
	if err := d.take(1); err == nil {
		t.Error("more was taken than there is")
	}
}
