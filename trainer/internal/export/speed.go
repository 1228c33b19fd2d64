package export

import (
	"fmt"
	"time"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// timedRounds is how often Speed runs a batch; the fastest counts, as what else the machine does only makes it slower.
const timedRounds = 8

// Speed is milliseconds an image that a model in memory takes in batches on all cores, as Check times its files.
func Speed(m network.Model) (float64, error) {
	r, err := runnerOf(m)
	if err != nil {
		return 0, fmt.Errorf("time %s: %w", m.Network.Name, err)
	}
	defer r.Close()
	images := make([]float32, batchSize*r.Size*r.Size*3)
	var fastest time.Duration
	for round := range timedRounds + 1 {
		start := time.Now()
		if _, err := r.predict(images); err != nil {
			return 0, fmt.Errorf("time %s: %w", m.Network.Name, err)
		}
		// The first run of a session plans its memory and optimises the graph.
		if took := time.Since(start); round == 1 || round > 1 && took < fastest {
			fastest = took
		}
	}
	return float64(fastest.Microseconds()) / 1000 / batchSize, nil
}
