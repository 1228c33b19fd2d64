package network_test

import (
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// TestFork: what lies behind the cut is there twice, each copy fed by copies or by the cut, and both kinds of features are
// joined in the order that heads count on.
func TestFork(t *testing.T) {
	for name, test := range map[string]struct {
		base, cut string
		deep      bool
		parts     []int
	}{
		"behind a cut":      {"efficientnet_lite0", "block5c_add", true, []int{480, 672, 1152, 1280, 1280}},
		"the last features": {"efficientnet_lite0", "block5c_add", false, []int{1280, 1280}},
		"early":             {"mobilenet_v2", "block_5_add", true, []int{384, 576, 960, 1280, 1280}},
		"all of it":         {"mobilenet_v2_035", "", true, []int{144, 192, 336, 1280, 1280}},
	} {
		t.Run(name, func(t *testing.T) {
			plain := base(t, test.base)
			n := plain
			if test.deep {
				n = ok(t)(plain.Deep())
			}
			forked := ok(t)(n.Fork(plain, test.cut))
			if got, err := forked.Parts(); err != nil || !slices.Equal(got, test.parts) || forked.FeatureDim != sum(test.parts) {
				t.Errorf("parts %v (%v) and %d features, want %v", got, err, forked.FeatureDim, test.parts)
			}
			copies := 0
			from := slices.IndexFunc(plain.Layers, func(l network.Layer) bool { return l.Name == test.cut })
			for i, l := range plain.Layers {
				twin, found := forked.Layer(network.Forked(l.Name))
				if want := l.Kind != network.Input && i > from; found != want {
					t.Errorf("%s is there twice: %v", l.Name, found)
				}
				if !found {
					continue
				}
				copies++
				for j, in := range l.Inputs {
					if own := network.Forked(in); twin.Inputs[j] != own && (in != test.cut && in != plain.Layers[0].Name || twin.Inputs[j] != in) {
						t.Errorf("%s takes %s", twin.Name, twin.Inputs[j])
					}
				}
			}
			before, after := len(n.Layers), len(forked.Layers)
			if want := before + copies; after != want && after != want+1 { // joined anew
				t.Errorf("%d layers and %d copies became %d", before, copies, after)
			}
			if _, err := forked.Fork(plain, test.cut); err == nil {
				t.Error("was forked twice")
			}
			if _, err := n.Fork(plain, "predictions"); err == nil {
				t.Error("was forked where nothing can be cut")
			}
		})
	}
}

func ok(t *testing.T) func(network.Network, error) network.Network {
	return func(n network.Network, err error) network.Network {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

func sum(all []int) (total int) {
	for _, n := range all {
		total += n
	}
	return total
}
