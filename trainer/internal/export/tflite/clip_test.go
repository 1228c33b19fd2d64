package tflite

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
)

// answersOf runs a program on images.
func answersOf(t *testing.T, p *program, images []float32) []float32 {
	t.Helper()
	if err := p.check(); err != nil {
		t.Fatalf("%v\n%s", err, p.text())
	}
	s, err := newSession(p, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	out, err := s.vectors(images, s.values[p.output:p.output+1])
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

// Clipped before they are joined, features are computed as before, by operations that have a scale for each channel.
func TestClipEarly(t *testing.T) {
	const photos = 4
	r := rand.New(rand.NewPCG(1, 2))
	images := make([]float32, photos*5*5*3)
	for i := range images {
		images[i] = float32(255 * r.Float64())
	}
	for parts, joined := range map[int]bool{1: false, 2: true} {
		m := tiny(t, joined)
		norm := m.Weights["norm/gamma"].Data
		for j := range norm { // some beyond either bound
			norm[j] = float32(20 * r.NormFloat64())
		}
		p, err := lower(m, true)
		if err != nil {
			t.Fatal(err)
		}
		early := clipEarly(p)
		want := answersOf(t, p, images)
		if worst := exporttest.MaxDifference(t, answersOf(t, early, images), want); worst > 1e-6 {
			t.Errorf("%d parts: it differs by %g", parts, worst)
		}
		if got := early.text(); strings.Count(got, "/clip\" Float32[1 1 1 ") != parts || strings.Contains(got, "norm") || strings.Contains(got, "\"cut\"") {
			t.Errorf("%d parts: it is now\n%s", parts, got)
		}
		made, uses := early.uses()
		for i := range early.tensors {
			if _, ok := made[i]; !ok && uses[i] == 0 && i != early.input {
				t.Errorf("%d parts: nothing takes or makes tensor %d", parts, i)
			}
		}
	}
	for kind, p := range smalls(t) {
		if clipEarly(p) != p {
			t.Errorf("%s: a program that clips nothing was changed", kind)
		}
	}
}
