package export

import (
	"fmt"
	"time"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// timedRounds is how often Speeds runs a batch of each model; the fastest counts, as what else the machine does only makes it
// slower.
const timedRounds = 12

// Speeds are milliseconds an image that models in memory take in batches on all cores, as Check times its files. The models
// take turns, so that they are compared fairly.
func Speeds(models ...network.Model) ([]float64, error) {
	runners := make([]*Runner, len(models))
	for i, m := range models {
		r, err := runnerOf(m)
		if err != nil {
			return nil, fmt.Errorf("time %s: %w", m.Network.Name, err)
		}
		defer r.Close()
		runners[i] = r
	}
	ms := make([]float64, len(models))
	for round := range timedRounds + 1 {
		for i, r := range runners {
			images := make([]float32, batchSize*r.Size*r.Size*3)
			start := time.Now()
			if _, err := r.predict(images); err != nil {
				return nil, fmt.Errorf("time %s: %w", models[i].Network.Name, err)
			}
			// The first run of a session plans its memory and optimises the graph.
			if took := float64(time.Since(start).Microseconds()) / 1000 / batchSize; round == 1 || round > 1 && took < ms[i] {
				ms[i] = took
			}
		}
	}
	return ms, nil
}
