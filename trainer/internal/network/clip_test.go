package network_test

import (
	"math"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

func TestClipped(t *testing.T) {
	n := base(t, "mobilenet_v2")
	layers := len(n.Layers)
	clipped, err := n.Clipped()
	if err != nil {
		t.Fatal(err)
	}
	if len(n.Layers) != layers || len(clipped.Layers) != layers+2 || clipped.Features != network.ClipName || clipped.FeatureDim != n.FeatureDim {
		t.Errorf("%d layers became %d, the features are %s", layers, len(clipped.Layers), clipped.Features)
	}
	if _, err := clipped.WithHead(3, 0); err != nil {
		t.Error(err)
	}
	if _, err := clipped.Clipped(); err == nil {
		t.Error("they were clipped twice")
	}
	head, err := n.WithHead(3, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := head.Clipped(); err == nil {
		t.Error("they were clipped behind a head")
	}
}

func TestClipWeights(t *testing.T) {
	mean, deviation := []float32{5, -1}, []float32{2, 1e-4}
	w := network.ClipWeights(mean, deviation, 2)
	const epsilon = 1e-3
	for j := range mean {
		of := func(name string) float64 { return float64(w[network.ClipNormName+"/"+name].Data[j]) }
		for steps, want := range map[float64]float64{-2: 0, 0: 3, 1: 4.5, 2: 6} {
			x := float64(mean[j]) + steps*float64(deviation[j])
			got := of("gamma")*(x-of("moving_mean"))/math.Sqrt(of("moving_variance")+epsilon) + of("beta")
			if math.Abs(got-want) > 1e-3 {
				t.Errorf("feature %d, %g deviations out: %g, want %g", j, steps, got, want)
			}
		}
	}
}
