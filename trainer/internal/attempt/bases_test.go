package attempt_test

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// drawn installs a base with weights drawn at random (He et al. 2015) into a folder of its own: a network of that shape
// that has learned nothing.
func drawn(t *testing.T, name string) string {
	t.Helper()
	file := tasktest.BaseFile(t, name, func(a network.Array) []float32 {
		key := fnv.New64a()
		_, _ = key.Write([]byte(a.Name)) // never fails
		r := rand.New(rand.NewPCG(key.Sum64(), 1))
		fan := a.Size() / a.Shape[len(a.Shape)-1]
		if strings.HasSuffix(a.Name, "/depthwise_kernel") {
			fan = a.Shape[0] * a.Shape[1]
		}
		data := make([]float32, a.Size())
		for i := range data {
			switch _, weight, _ := strings.Cut(a.Name, "/"); weight {
			case "kernel", "depthwise_kernel":
				data[i] = float32(r.NormFloat64() * math.Sqrt(2/float64(fan)))
			case "gamma", "moving_variance":
				data[i] = 1
			}
		}
		return data
	})
	dir := t.TempDir()
	if _, err := bases.Install(dir, name, file); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestEveryBaseTrains goes from photos to a file with each base. Weights are drawn where no real ones can be had without
// the network; then only shapes and agreement are checked.
func TestEveryBaseTrains(t *testing.T) {
	for _, name := range network.Names() {
		t.Run(name, func(t *testing.T) {
			learned := !strings.HasPrefix(name, "mobilenet_v2_")
			if testing.Short() && name != "mobilenet_v2_035" {
				t.Skip("slow: run without -short")
			}
			spec := tasktest.Train(t, t.TempDir(), tasktest.Data(t, "trashnet"), 30)
			spec.Recipe.Base = name
			spec.Recipe.FinetuneEpochs = 1
			if learned {
				spec.Paths.Bases = tasktest.Bases(t, name)
			} else {
				spec.Paths.Bases = drawn(t, name)
			}
			result, err := attempt.Run(t.Context(), spec, attempt.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if result.TestAccuracy == nil || learned && *result.TestAccuracy < 0.6 {
				t.Errorf("result %+v", result)
			}
			models := 0
			for _, a := range finish(t, folder(t, spec)).Artifacts {
				if a.Format == "h5" {
					models++
					if a.Agreement == nil || *a.Agreement != 1 {
						t.Errorf("%+v", a)
					}
				}
			}
			if models != 1 {
				t.Errorf("%d models", models)
			}
			for _, p := range bodies[runspec.Problem](tasktest.Records(t, folder(t, spec))) {
				t.Errorf("problem %+v", p)
			}
		})
	}
}
