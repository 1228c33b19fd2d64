package fit_test

import (
	"math"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

// trainedHead is a head on clouds.
func trainedHead(t *testing.T) (fit.Data, *fit.Training, fit.State) {
	t.Helper()
	d := clouds(100, 1)
	tr, _ := training(t, d)
	r := resolve(t, tr, recipe(fit.Logistic))
	state, err := tr.Run(t.Context(), r, tr.Start())
	if err != nil {
		t.Fatal(err)
	}
	return d, tr, state
}

func TestFeaturesAreBounded(t *testing.T) {
	d, tr, state := trainedHead(t)
	head := tr.Head(state)
	plain := head.Unclipped()
	far := func(h fit.Head, by float32) []float32 {
		row := make([]float32, d.Dim)
		for j := range row {
			row[j] = 3
		}
		row[0] += by
		return h.Logits(row)
	}
	near, out, further := far(head, 1.5), far(head, 20), far(head, 2000)
	if !slices.Equal(out, further) || out[0]-out[1] < near[0]-near[1] {
		t.Errorf("features at 1.5, 20 and 2000 give %v, %v and %v", near, out, further)
	}
	if out, further = far(plain, 20), far(plain, 2000); further[0]-further[1] < 10*(out[0]-out[1]) {
		t.Errorf("not clipped, features at 20 and 2000 give %v and %v", out, further)
	}
}

// The head that is folded answers as the scaled one that was trained.
func TestClippedHeadIsTheTrainedOne(t *testing.T) {
	d, tr, state := trainedHead(t)
	s, head := tr.Scaled(state), tr.Head(state)
	row := make([]float32, d.Dim)
	clipped := 0
	for _, sample := range d.Val {
		if err := d.Read(sample.Row, row); err != nil {
			t.Fatal(err)
		}
		got := head.Cooled(2).Logits(row)
		for c := range d.Classes {
			want := float64(s.Bias[c])
			for j, x := range row {
				z := x - s.Mean[j]
				if limit := fit.Reach * s.Deviation[j]; z > limit || z < -limit {
					z = max(-limit, min(limit, z))
					clipped++
				}
				want += float64(s.Kernel[c*d.Dim+j]) * float64(z*s.Scale[j])
			}
			if math.Abs(float64(got[c])-want/2) > 1e-4 {
				t.Fatalf("class %d: %g, want %g", c, got[c], want/2)
			}
		}
	}
	if share := float64(clipped) / float64(len(d.Val)*d.Dim*d.Classes); share < 0.01 || share > 0.1 {
		t.Errorf("%.3f of the features are clipped", share) // of a Gaussian .046 lie further out
	}
	if state.BestAccuracy < 0.8 {
		t.Errorf("accuracy %.2f", state.BestAccuracy)
	}
}

// What a later training begins with is a head on plain features that agrees where none is clipped, and comes back as it was.
func TestUnclippedHeadAgrees(t *testing.T) {
	d, tr, state := trainedHead(t)
	clipped := tr.Head(state)
	plain := clipped.Unclipped()
	if plain.Deviation != nil {
		t.Fatal("it clips")
	}
	row := make([]float32, d.Dim)
	agreed := 0
	for _, sample := range d.Val {
		if err := d.Read(sample.Row, row); err != nil {
			t.Fatal(err)
		}
		far := false
		for j, x := range row {
			far = far || math.Abs(float64(x-clipped.Mean[j])) > fit.Reach*float64(clipped.Deviation[j])
		}
		a, b := clipped.Logits(row), plain.Logits(row)
		for c := range a {
			if !far && math.Abs(float64(a[c]-b[c])) > 1e-3 {
				t.Fatalf("class %d: %g, want %g", c, b[c], a[c])
			}
		}
		if !far {
			agreed++
		}
	}
	if agreed == 0 || agreed == len(d.Val) {
		t.Errorf("of %d rows %d have no feature that is clipped", len(d.Val), agreed)
	}
	s, best := tr.Scale(plain), tr.Scaled(state)
	for i, w := range best.Kernel {
		if math.Abs(float64(s.Kernel[i]-w)) > 1e-4*max(1, math.Abs(float64(w))) {
			t.Fatalf("weight %d is %g, was %g", i, s.Kernel[i], w)
		}
	}
}
