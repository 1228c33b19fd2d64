package attempt

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// Whatever side an image may come to with any seed, its views are there; and none are computed that no seed asks for.
func TestMayTrain(t *testing.T) {
	const V, T, L, N = manifest.Validation, manifest.Test, manifest.Train, manifest.Side("")
	for name, classes := range map[string][]manifest.Side{
		"nothing given":              {N, N, N, N, N, N, N, N},
		"all given":                  {L, L, L, L, V, V, T, T},
		"no validation given":        {L, L, L, L, L, L, T, T},
		"nothing to train on given":  {V, V, V, V, T, T, T, T},
		"some given":                 {N, N, N, N, V, V, T, T},
		"a mixture without training": {V, V, N, N, T, T, T, T},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 1))
			var images []manifest.Image
			for i := range 4 * len(classes) {
				images = append(images, manifest.Image{Class: "a", Path: fmt.Sprint(i), SHA256: fmt.Sprintf("%064x", r.Uint64()), Split: classes[i%len(classes)]})
			}
			for i := range 12 { // another class, with all sides
				images = append(images, manifest.Image{Class: "b", Path: fmt.Sprint(i), SHA256: fmt.Sprintf("%064x", r.Uint64()), Split: []manifest.Side{L, V, T}[i%3]})
			}
			may := mayTrain(images)
			trained := make([]bool, len(images))
			for seed := range int64(300) {
				sides, _ := manifest.Split(images, manifest.SplitOptions{Seed: seed, Validation: 0.15, Test: 0.15})
				for i, side := range sides {
					trained[i] = trained[i] || side == manifest.Train
				}
			}
			for i := range images {
				if trained[i] != may[i] {
					t.Errorf("image %d of %s, given %q: trained with some seed %v, expected %v", i, images[i].Class, images[i].Split, trained[i], may[i])
				}
			}
		})
	}
}
