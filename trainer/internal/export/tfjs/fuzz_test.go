package tfjs

import (
	"encoding/base64"
	"reflect"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// tiny is a page without its scripts.
func tiny(f *testing.F) string {
	n := network.Network{Name: "tiny", Size: 4, Layers: []network.Layer{
		{Name: "input", Kind: network.Input},
		{Name: "conv", Kind: network.Conv2D, Inputs: []string{"input"}, Filters: 2, Kernel: 1, Stride: 1, Padding: network.Same},
		{Name: "norm", Kind: network.BatchNormalization, Inputs: []string{"conv"}, Epsilon: 1e-3},
		{Name: "pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{"norm"}},
		{Name: "predictions", Kind: network.Dense, Inputs: []string{"pool"}, Units: 2, Bias: true},
		{Name: "probabilities", Kind: network.Softmax, Inputs: []string{"predictions"}},
	}}
	arrays, err := n.Arrays()
	if err != nil {
		f.Fatal(err)
	}
	m := network.Model{Network: n, Weights: network.Weights{}, Labels: []string{"<a>", "b"}}
	for _, a := range arrays {
		data := make([]float32, a.Size())
		for i := range data {
			data[i] = float32(i) + 0.5
		}
		m.Weights[a.Name] = network.Tensor{Shape: a.Shape, Data: data}
	}
	described, data, err := describe(m)
	if err != nil {
		f.Fatal(err)
	}
	text, err := encode(described)
	if err != nil {
		f.Fatal(err)
	}
	return modelMark + string(text) + endMark + weightsMark + base64.StdEncoding.EncodeToString(data) + endMark
}

// A page that is accepted holds a model that can be written again and reads as the same one; nothing makes the reader panic
// or ask for memory that the page does not fill.
func FuzzParsePage(f *testing.F) {
	whole := tiny(f)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	for _, change := range [][2]string{{`[1,1,3,2]`, `[1,1,3,-2]`}, {`[1,1,3,2]`, `[]`}, {`"filters":2`, `"filters":16384`}, {`"weightsManifest"`, `"was"`},
		{weightsMark, weightsMark + "!"}, {endMark, ""}, {`"labels":`, `"was":`}, {"layers-model", ""}} {
		f.Add(strings.Replace(whole, change[0], change[1], 1))
	}
	f.Fuzz(func(t *testing.T, page string) {
		m, err := parsePage([]byte(page))
		if err != nil {
			return
		}
		described, data, err := describe(m)
		if err != nil {
			t.Fatalf("an accepted model cannot be written: %v", err)
		}
		text, err := encode(described)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(text, func([]string, int) ([]byte, error) { return data, nil })
		if err != nil {
			t.Fatalf("what was written is refused: %v", err)
		}
		// NaN weights differ from themselves; the bytes do not.
		_, second, err := describe(again)
		if err != nil || !reflect.DeepEqual(m.Network, again.Network) || string(data) != string(second) {
			t.Fatalf("got\n%+v\nfrom\n%+v (%v)", again.Network, m.Network, err)
		}
	})
}
