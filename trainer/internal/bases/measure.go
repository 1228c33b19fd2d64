package bases

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/machine"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// What is measured: rounds of at least roundTime each, of batches as large as the feature pass has.
const (
	measuredBatch = 8
	rounds        = 5
	roundTime     = 200 * time.Millisecond
)

// Measure times the installed base name on this machine, as the feature pass runs it (a session for each core, no image
// decoded), and returns the fastest of a few rounds: what else the machine does only makes it slower. It takes some
// seconds.
func Measure(dir, name string) (runspec.Speed, error) {
	net, w, _, err := Load(dir, name)
	if err != nil {
		return runspec.Speed{}, err
	}
	sessions := make([]*graph.Frozen, features.Workers(runtime.GOMAXPROCS(0), features.MemoryLimit(os.DirFS("/")), net.Size))
	for i := range sessions {
		if sessions[i], err = graph.NewFrozen(net, w, []string{net.Features}, graph.Options{Threads: 1}); err != nil {
			return runspec.Speed{}, fmt.Errorf("measure base model %s: %w", name, err)
		}
		defer sessions[i].Close()
	}
	fastest := 0.0
	for round := range rounds + 1 {
		ms, err := timeRound(sessions, net.Size)
		if err != nil {
			return runspec.Speed{}, fmt.Errorf("measure base model %s: %w", name, err)
		}
		// The first round plans memory and optimises the graphs.
		if round == 1 || round > 1 && ms < fastest {
			fastest = ms
		}
	}
	return runspec.Speed{Base: name, MsPerImage: fastest, Machine: machine.Name(), Measured: time.Now().UTC().Truncate(time.Second)}, nil
}

// timeRound runs batches in all sessions at once and returns milliseconds an image.
func timeRound(sessions []*graph.Frozen, size int) (float64, error) {
	counts := make([]int, len(sessions))
	var group errgroup.Group
	start := time.Now()
	for i, session := range sessions {
		group.Go(func() error {
			batch, err := tf.FromFloats([]int{measuredBatch, size, size, 3}, make([]float32, measuredBatch*size*size*3))
			if err != nil {
				return err
			}
			for counts[i] == 0 || time.Since(start) < roundTime {
				if _, err := session.Run(batch); err != nil {
					return err
				}
				counts[i] += measuredBatch
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	ms := time.Since(start).Seconds() * 1000 / float64(total)
	return math.Round(100*ms) / 100, nil
}

// Speeds reads what was measured of the bases in dir, by name. A folder where nothing was measured has none.
func Speeds(dir string) (map[string]runspec.Speed, error) {
	path := filepath.Join(dir, runspec.SpeedsFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]runspec.Speed{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the speeds of base models: %w", err)
	}
	var list []runspec.Speed
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("read the speeds of base models %q: it is damaged (%w); remove it and measure again", path, err)
	}
	speeds := make(map[string]runspec.Speed, len(list))
	for _, s := range list {
		speeds[s.Base] = s
	}
	return speeds, nil
}

// keepSpeed writes s into the folder's list in place of what was measured of that base before.
func keepSpeed(dir string, s runspec.Speed) error {
	unlock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer unlock()
	speeds, err := Speeds(dir)
	if err != nil {
		return err
	}
	speeds[s.Base] = s
	list := make([]runspec.Speed, 0, len(speeds))
	for _, s := range speeds {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b runspec.Speed) int { return strings.Compare(a.Base, b.Base) })
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	return writeOnce(dir, runspec.SpeedsFile, append(data, '\n'))
}
