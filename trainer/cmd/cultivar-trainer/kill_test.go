package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// A training that is killed 20 times, at random, ends with the same weights as one that was left alone.
func TestKilledTwentyTimes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	const kills = 20
	base := "efficientnet_lite0"
	spec := tasktest.Train(t, t.TempDir(), tasktest.Data(t, "trashnet"), 16)
	spec.Paths.Bases = tasktest.Bases(t, base)
	r := &spec.Recipe
	r.Base, r.ImageSize, r.Views, r.Epochs, r.Patience, r.FinetuneEpochs, r.Exports = base, 96, 3, 8, 50, 8, []string{"h5"}
	root := filepath.Dir(spec.Paths.Attempt)
	left := spec
	left.Task, left.Paths.Attempt = "left alone", filepath.Join(root, "left alone")
	whole := start(t, left, "whole", 0)
	whole.end(t, 0)
	want := weights(t, whole)

	// What is computed already is found again; without this the features would be there from the beginning.
	spec.Paths.Features = filepath.Join(root, "other features")
	random := rand.New(rand.NewPCG(20, 20))
	killed, tuning := 0, 0
	for series := 1; killed < kills; series++ {
		previous := ""
		for attempt := 1; ; attempt++ {
			next := spec
			next.Task, next.Attempt, next.Paths.Previous = fmt.Sprint("series", series), attempt, previous
			next.Paths.Attempt = filepath.Join(root, next.Task, fmt.Sprint(attempt))
			p := start(t, next, fmt.Sprint("executor", attempt), 0)
			ended := make(chan struct{})
			go func() {
				_ = p.Wait() // its state tells
				close(ended)
			}()
			if killed < kills && !p.writes(ended, 1+random.IntN(35)) {
				_ = p.Process.Kill()
				killed++
				if spool, _ := os.ReadFile(filepath.Join(p.dir, runspec.RecordsFile)); bytes.Contains(spool, []byte(runspec.PhaseFinetune)) {
					tuning++
				}
			}
			<-ended
			previous = p.dir
			if code := p.ProcessState.ExitCode(); code == 0 {
				for name, got := range weights(t, p) {
					if !slices.Equal(got, want[name]) {
						t.Fatalf("series %d: after %d attempts %s differs from that of a training left alone", series, attempt, name)
					}
				}
				break
			} else if code != -1 {
				t.Fatalf("exit code %d\n%s", code, p.output)
			}
		}
	}
	if tuning == 0 || tuning == killed {
		t.Errorf("of %d killed, %d were fine-tuning", killed, tuning)
	}
}

// writes waits until the process has written so many records, or tells that it has ended before.
func (p trainer) writes(ended <-chan struct{}, records int) bool {
	poll, deadline := time.NewTicker(2*time.Millisecond), time.After(2*time.Minute)
	defer poll.Stop()
	for {
		select {
		case <-ended:
			return true
		case <-deadline:
			return false
		case <-poll.C:
			content, _ := os.ReadFile(filepath.Join(p.dir, runspec.RecordsFile)) // not there at first
			if bytes.Count(content, []byte("\n")) >= records {
				return false
			}
		}
	}
}

// weights are all arrays of the model that a training leaves.
func weights(t *testing.T, p trainer) map[string][]float32 {
	t.Helper()
	m, err := keras.Read(filepath.Join(p.dir, runspec.ArtifactsDir, "model.h5"))
	if err != nil {
		t.Fatalf("%v\n%s", err, p.output)
	}
	all := map[string][]float32{}
	for name, array := range m.Weights {
		all[name] = array.Data
	}
	return all
}
