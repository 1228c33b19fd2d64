package network_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// drawn are weights at random, normalisations like trained ones.
func drawn(t *testing.T, n network.Network) network.Weights {
	t.Helper()
	arrays, err := n.Arrays()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(7, 8))
	w := network.Weights{}
	for _, a := range arrays {
		data := make([]float32, a.Size())
		for i := range data {
			data[i] = float32(0.2 * r.NormFloat64())
			if strings.HasSuffix(a.Name, "/gamma") || strings.HasSuffix(a.Name, "/moving_variance") {
				data[i] = float32(0.5 + r.Float64())
			}
		}
		w[a.Name] = network.Tensor{Shape: a.Shape, Data: data}
	}
	return w
}

func TestPruneEveryBase(t *testing.T) {
	for _, name := range network.Names() {
		t.Run(name, func(t *testing.T) {
			n := base(t, name)
			w := drawn(t, n)
			cut, err := n.DefaultCut()
			if err != nil {
				t.Fatal(err)
			}
			before, err := n.Params()
			if err != nil {
				t.Fatal(err)
			}
			last := before
			for _, c := range []struct {
				cut   string
				share float64
			}{{cut, 0.3}, {cut, 0.5}, {cut, 0.9}, {"", 0.9}} {
				smaller, weights, err := n.Prune(w, c.cut, c.share)
				if err != nil {
					t.Fatal(err)
				}
				if err := smaller.Validate(weights); err != nil {
					t.Fatal(err)
				}
				params, err := smaller.Params()
				if err != nil || params >= last {
					t.Errorf("%v leaves %d weights of %d (%v)", c, params, last, err)
				}
				last = params
				shapes, err := smaller.Shapes()
				if err != nil || !slices.Equal(shapes[n.Features], []int{n.FeatureDim}) {
					t.Errorf("%v: features %v (%v)", c, shapes[n.Features], err)
				}
				for i, l := range smaller.Layers {
					if l.Kind == network.Conv2D && l.Filters%8 != 0 {
						t.Errorf("%v: %s has %d filters", c, l.Name, l.Filters)
					}
					if l.Kernel > 1 && l.Filters != n.Layers[i].Filters {
						t.Errorf("%v: %s is no expansion and has changed", c, l.Name)
					}
					if c.cut != "" && i <= index(n, cut) && l.Filters != n.Layers[i].Filters {
						t.Errorf("%v: %s lies before the cut and has changed", c, l.Name)
					}
				}
				if whole, err := n.Params(); err != nil || whole != before {
					t.Fatalf("the network itself has %d weights now (%v)", whole, err)
				}
			}
			if same, weights, err := n.Prune(w, cut, 0); err != nil || !slices.EqualFunc(same.Layers, n.Layers, func(a, b network.Layer) bool { return a.Filters == b.Filters }) ||
				!slices.Equal(weights["Conv_1/kernel"].Data, w["Conv_1/kernel"].Data) {
				t.Errorf("a share of 0 changes it (%v)", err)
			}
		})
	}
}

func index(n network.Network, name string) int {
	return slices.IndexFunc(n.Layers, func(l network.Layer) bool { return l.Name == name })
}

func TestPruneRefuses(t *testing.T) {
	n := base(t, "mobilenet_v2_035")
	w := drawn(t, n)
	for name, c := range map[string]struct {
		cut   string
		share float64
		w     network.Weights
		want  string
	}{
		"all":           {"", 1, w, "below 1"},
		"NaN":           {"", math.NaN(), w, "below 1"},
		"no cut":        {"block_3_expand", 0.5, w, "cannot be cut"},
		"nothing left":  {n.Features, 0.5, w, "no block with an expansion"},
		"other weights": {"", 0.5, network.Weights{}, "do not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := n.Prune(c.w, c.cut, c.share); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
