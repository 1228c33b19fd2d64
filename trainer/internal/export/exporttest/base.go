package exporttest

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Base is a base model with its ImageNet weights and a random head for Labels on features of several depths. The test is skipped when the base was
// not installed: with random weights a deep network answers alike for all photos, and agreement would say little.
func Base(t *testing.T, name string) network.Model { return withHead(t, name, false) }

// Clipped is Base with features that are clipped, as those of heads that were not fine-tuned are.
func Clipped(t *testing.T, name string) network.Model { return withHead(t, name, true) }

// Forked is Clipped with the part behind the default cut twice, as in ensembles; the copies differ a little from what they are
// of.
func Forked(t *testing.T, name string) network.Model {
	t.Helper()
	plain, w := load(t, name)
	cut, err := plain.DefaultCut()
	if err != nil {
		t.Fatal(err)
	}
	n, err := plain.Deep()
	if err == nil {
		n, err = n.Fork(plain, cut)
	}
	if err != nil {
		t.Fatal(err)
	}
	for array, values := range maps.Clone(w) {
		layer, kind, _ := strings.Cut(array, "/")
		if _, ok := n.Layer(network.Forked(layer)); !ok {
			continue
		}
		data := slices.Clone(values.Data)
		for i := range data {
			if strings.HasSuffix(kind, "kernel") {
				data[i] *= 1 + float32(i%3)/20
			}
		}
		w[network.Forked(array)] = network.Tensor{Shape: values.Shape, Data: data}
	}
	return finished(t, n, w, true)
}

// load reads a base that is installed; its weights are the caller's own.
func load(t *testing.T, name string) (network.Network, network.Weights) {
	t.Helper()
	dir := filepath.Join(root(t), ".deps", "bases")
	n, w, _, err := bases.Load(dir, name)
	if err != nil {
		t.Skipf("SKIPPED, NOT CHECKED: the weights of %s are not in %s: %v", name, dir, err)
	}
	return n, maps.Clone(w)
}

func withHead(t *testing.T, name string, clipped bool) network.Model {
	t.Helper()
	n, w := load(t, name)
	n, err := n.Deep()
	if err != nil {
		t.Fatal(err)
	}
	return finished(t, n, w, clipped)
}

// finished is a network with a random head that is balanced, w with its arrays.
func finished(t *testing.T, n network.Network, w network.Weights, clipped bool) network.Model {
	t.Helper()
	var err error
	if clipped {
		maps.Copy(w, clip(t, network.Model{Network: n, Weights: w}))
		if n, err = n.Clipped(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err = n.WithHead(len(Labels()), 0.2); err != nil {
		t.Fatal(err)
	}
	for name, array := range Random(t, n) {
		if strings.HasPrefix(name, network.PredictionsName+"/") {
			w[name] = array
		}
	}
	m := network.Model{Network: n, Weights: w, Labels: Labels()}
	balance(t, m)
	return m
}
