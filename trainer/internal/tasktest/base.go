package tasktest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/weights"
)

// BaseFile writes a canonical file of a base with its ImageNet head, every array being what fill returns for it.
func BaseFile(t testing.TB, name string, fill func(network.Array) []float32) string {
	t.Helper()
	net, err := network.ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := net.WithHead(1000, 0)
	if err != nil {
		t.Fatal(err)
	}
	arrays, err := whole.Arrays()
	if err != nil {
		t.Fatal(err)
	}
	w := network.Weights{}
	for _, a := range arrays {
		w[strings.Replace(a.Name, network.PredictionsName+"/", "imagenet/", 1)] = network.Tensor{Shape: a.Shape, Data: fill(a)}
	}
	content, err := weights.Encode(w, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name+".safetensors")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
