package tasks

import (
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func TestFair(t *testing.T) {
	for _, c := range []struct {
		name   string
		queue  string // "owner" + "number", in the order they were queued
		starts map[string]int64
		want   string
	}{
		{"empty", "", nil, ""},
		{"one owner: in order", "a1 a2 a3", nil, "a1 a2 a3"},
		{"a flood of one does not hold up another", "a1 a2 a3 b1", nil, "a1 b1 a2 a3"},
		{"who had a turn waits for who had none", "a1 a2 b1 c1", map[string]int64{"a": 9}, "b1 c1 a1 a2"},
		{"longest without a turn first", "a1 b1 c1", map[string]int64{"a": 3, "b": 1, "c": 2}, "b1 c1 a1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := []store.Task{
				{ID: "running", Owner: "a", Kind: runspec.Train, State: api.StateRunning},
				{ID: "predict", Owner: "a", Kind: runspec.Predict, State: api.StateQueued},
			}
			for _, id := range strings.Fields(c.queue) {
				all = append(all, store.Task{ID: id, Owner: id[:1], Kind: runspec.Train, State: api.StateQueued})
			}
			var got []string
			for _, task := range fair(all, runspec.Train, c.starts) {
				got = append(got, task.ID)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

func TestPause(t *testing.T) {
	for n, want := range map[int]time.Duration{0: 0, 1: 0, 2: time.Second, 3: 2 * time.Second, 8: time.Minute, 100: time.Minute} {
		if got := pause(n); got != want {
			t.Errorf("after interruption %d: %s, want %s", n, got, want)
		}
	}
}
