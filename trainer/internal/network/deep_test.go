package network_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

func TestDeep(t *testing.T) {
	parts := map[string][]int{
		"mobilenet_v2":       {384, 576, 960, 1280},
		"mobilenet_v2_050":   {192, 288, 480, 1280},
		"mobilenet_v2_035":   {144, 192, 336, 1280},
		"efficientnet_lite0": {480, 672, 1152, 1280},
		"efficientnet_lite1": {480, 672, 1152, 1280},
		"efficientnet_lite2": {528, 720, 1248, 1280},
	}
	for _, name := range network.Names() {
		t.Run(name, func(t *testing.T) {
			n := base(t, name)
			deep, err := n.Deep()
			if err != nil {
				t.Fatal(err)
			}
			got, err := deep.Parts()
			if err != nil || !slices.Equal(got, parts[name]) {
				t.Errorf("parts %v (%v), want %v", got, err, parts[name])
			}
			shapes, err := n.Shapes()
			if err != nil {
				t.Fatal(err)
			}
			for i, shrunk := range []int{16, 16, 32} {
				if side := shapes[n.Taps[i]][0]; side != (n.Size+shrunk-1)/shrunk {
					t.Errorf("%s is %d pixels wide, not a %dth of %d", n.Taps[i], side, shrunk, n.Size)
				}
			}
			total := 0
			for _, width := range got {
				total += width
			}
			if deep.FeatureDim != total {
				t.Errorf("%d features of parts %v", deep.FeatureDim, got)
			}
			before, errBefore := n.Params()
			after, errAfter := deep.Params()
			if errBefore != nil || errAfter != nil || before != after {
				t.Errorf("%d weights became %d (%v, %v)", before, after, errBefore, errAfter)
			}
			if _, err := deep.WithHead(3, 0.1); err != nil {
				t.Error(err)
			}
			if !slices.Equal(deep.Cuts, n.Cuts) {
				t.Errorf("cuts %v", deep.Cuts)
			}
			if plain, err := n.Parts(); err != nil || !slices.Equal(plain, []int{1280}) {
				t.Errorf("the last layer's parts %v (%v)", plain, err)
			}
			if _, err := deep.Deep(); err == nil {
				t.Error("was made deep twice")
			}
		})
	}
}

func TestDeepNeedsItsTaps(t *testing.T) {
	n := base(t, "efficientnet_lite0")
	above, err := n.Suffix("block5b_add") // behind the first tap
	if err != nil {
		t.Fatal(err)
	}
	if _, err := above.Deep(); err == nil || !strings.Contains(err.Error(), "several depths") {
		t.Errorf("with a part of the taps: %v", err)
	}
}

func TestJoin(t *testing.T) {
	image := network.Layer{Name: "input", Kind: network.Input}
	pool := network.Layer{Name: "pool", Kind: network.GlobalAveragePooling2D, Inputs: []string{"input"}}
	join := func(inputs ...string) network.Network {
		return network.Network{Name: "n", Size: 4, Layers: []network.Layer{image, pool,
			{Name: "joined", Kind: network.Concatenate, Inputs: inputs}}}
	}
	for name, test := range map[string]struct {
		inputs []string
		want   []int
	}{
		"images": {[]string{"input", "input"}, []int{4, 4, 6}},
		"flat":   {[]string{"pool", "pool", "pool"}, []int{9}},
		"one":    {[]string{"pool"}, nil},
		"mixed":  {[]string{"pool", "input"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			shapes, err := join(test.inputs...).Shapes()
			if (err == nil) != (test.want != nil) || !slices.Equal(shapes["joined"], test.want) {
				t.Errorf("shape %v (%v), want %v", shapes["joined"], err, test.want)
			}
		})
	}
}

func TestDefaultCut(t *testing.T) {
	for name, want := range map[string]string{
		"efficientnet_lite0": "block3b_add",
		"efficientnet_lite2": "block3c_add",
		"mobilenet_v2":       "block_5_add",
		"mobilenet_v2_035":   "block_5_add",
	} {
		n, err := network.ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		cut, err := n.DefaultCut()
		if err != nil || cut != want {
			t.Errorf("%s: %q (%v), want %q", name, cut, err, want)
		}
		n.Cuts = nil
		if cut, err := n.DefaultCut(); err == nil {
			t.Errorf("%s without cuts has %q", name, cut)
		}
	}
	// Of these taps two lie before this cut.
	n := base(t, "efficientnet_lite0")
	if before := n.Before("block5c_add", n.Taps); !slices.Equal(before, n.Taps[:2]) {
		t.Errorf("before it lie %v", before)
	}
}
