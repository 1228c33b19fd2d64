package features_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// What comes out for an image depends neither on its place in the batch nor on its neighbours, so that the same features
// come out of any division of the work. Checked bit by bit, at the end of the network and of each block.
func TestPlaceInBatch(t *testing.T) {
	const base, batch = "efficientnet_lite0", 8
	for _, size := range []int{96, 224, 260} {
		t.Run(fmt.Sprint(size, " pixels"), func(t *testing.T) {
			net, weights, _, err := bases.Load(tasktest.Bases(t, base), base)
			if err != nil {
				t.Fatal(err)
			}
			net.Size = size
			if net, err = net.Deep(); err != nil {
				t.Fatal(err)
			}
			outputs := []string{net.Features}
			for _, l := range slices.Clone(net.Layers) {
				if l.Kind == network.Add {
					pool := network.Layer{Name: "mean_" + l.Name, Kind: network.GlobalAveragePooling2D, Inputs: []string{l.Name}}
					net.Layers = append(net.Layers, pool)
					outputs = append(outputs, pool.Name)
				}
			}
			frozen, err := graph.NewFrozen(net, weights, outputs, graph.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer frozen.Close()
			want := make([][]float32, len(outputs))
			for at := range 2 * batch {
				for i, row := range inBatch(t, frozen, size, at%batch, batch, at >= batch) {
					if want[i] == nil {
						want[i] = row
					}
					if !slices.Equal(row, want[i]) {
						t.Errorf("%s differs at place %d, neighbours are zero: %v", outputs[i], at%batch, at >= batch)
					}
				}
			}
		})
	}
}

// inBatch computes one image's outputs at that place of a batch, among others or zeros.
func inBatch(t *testing.T, frozen *graph.Frozen, size, place, batch int, alone bool) [][]float32 {
	t.Helper()
	each := size * size * 3
	pixels := make([]float32, batch*each)
	for k := range batch {
		seed := uint64(100*place + k + 1)
		if k == place {
			seed = 0
		} else if alone {
			continue
		}
		r := rand.New(rand.NewPCG(seed, 1))
		for i := range each {
			pixels[k*each+i] = float32(r.IntN(256))
		}
	}
	tensor, err := tf.FromFloats([]int{batch, size, size, 3}, pixels)
	if err != nil {
		t.Fatal(err)
	}
	out, err := frozen.Run(tensor)
	if err != nil {
		t.Fatal(err)
	}
	rows := make([][]float32, len(out))
	for i := range out {
		values, err := tf.Floats(out[i], nil)
		if err != nil {
			t.Fatal(err)
		}
		dim := len(values) / batch
		rows[i] = values[place*dim : (place+1)*dim]
	}
	return rows
}
