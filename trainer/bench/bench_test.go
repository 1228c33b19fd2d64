// Package bench compares the trainer with what people would use instead. It holds no code of the product, and nothing
// here decides whether a test passes.
package bench

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/trainer/bench/peers"
	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

const base = "efficientnet_lite0"

// BenchmarkFeaturePass prints images a second of the feature pass (with start-up, decoding and the cache's writes) and
// of Keras predict (after tracing), and their ratio.
func BenchmarkFeaturePass(b *testing.B) {
	photos := tasktest.Data(b, "trashnet")
	net, weights, entry, err := bases.Load(tasktest.Bases(b, base), base)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n, ours, busy := pass(b, photos, net, weights, entry.SHA256)
		keras := kerasPredict(b, photos, net, weights)
		rate := float64(n) / ours.Seconds()
		fmt.Printf("feature pass   %6.1f images/s (%d photos in %.1f s, %.2f cores busy)\n", rate, n, ours.Seconds(), busy)
		fmt.Printf("Keras predict  %6.1f images/s\n", keras)
		fmt.Printf("ratio          %6.2f\n", rate/keras)
		b.ReportMetric(rate, "images/s")
		b.ReportMetric(rate/keras, "×Keras")
	}
}

// pass runs one feature pass into an empty cache.
func pass(b *testing.B, photos string, net network.Network, weights network.Weights, hash string) (int, time.Duration, float64) {
	dir := b.TempDir()
	items, packs := tasktest.Items(b, dir, photos, 0)
	cache, err := features.Open(dir, features.NewKey(hash, net, data.Stretch), "bench")
	if err != nil {
		b.Fatal(err)
	}
	p := features.Pass{Network: net, Weights: weights, Fit: data.Stretch, Packs: packs, Items: items, Notes: dir,
		Progress: func(int, int) {}, Problem: func(item data.Item, f *data.Fault) { b.Errorf("%s: %v", item.Path, f) }}
	for i := range items {
		p.Wants = append(p.Wants, features.Want{Item: i})
	}
	start, cpu := time.Now(), processorTime()
	sets, err := p.Run(b.Context(), cache)
	if err != nil {
		b.Fatal(err)
	}
	sets[0].Close()
	took := time.Since(start)
	return len(items), took, (processorTime() - cpu).Seconds() / took.Seconds()
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func kerasPredict(b *testing.B, photos string, net network.Network, weights network.Weights) float64 {
	path := filepath.Join(b.TempDir(), "base.h5")
	if err := peers.WriteBase(path, net, weights); err != nil {
		b.Fatal(err)
	}
	out := tasktest.Python(b, filepath.Join("testdata", "keras_features.py"), path, net.Features, photos, fmt.Sprint(net.Size))
	var answer struct {
		Images  int     `json:"images"`
		Seconds float64 `json:"seconds"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		b.Fatalf("%v in %q", err, out)
	}
	return float64(answer.Images) / answer.Seconds
}
