package tasks

import (
	"testing"

	"github.com/cultivar-ml/cultivar/shared/api"
)

var allStates = []api.State{
	api.StateQueued, api.StateStarting, api.StateRunning, api.StateStopping, api.StateInterrupted,
	api.StateSucceeded, api.StateFailed, api.StateCancelled,
}

// TestTable compares every pair of states with the drawing in the design: a row is "from", a column "to".
func TestTable(t *testing.T) {
	want := map[api.State]string{ // columns in the order of allStates
		api.StateQueued:      "-x-----x",
		api.StateStarting:    "--x-x-xx",
		api.StateRunning:     "---xxxxx",
		api.StateStopping:    "----xxxx",
		api.StateInterrupted: "x-----xx",
		api.StateSucceeded:   "--------",
		api.StateFailed:      "--------",
		api.StateCancelled:   "--------",
	}
	for _, from := range allStates {
		for i, to := range allStates {
			if got := Allowed(from, to); got != (want[from][i] == 'x') {
				t.Errorf("%s → %s: allowed %t", from, to, got)
			}
		}
		if terminal := from == api.StateSucceeded || from == api.StateFailed || from == api.StateCancelled; Terminal(from) != terminal {
			t.Errorf("%s: terminal %t", from, Terminal(from))
		}
	}
}

func TestEveryStateCanEnd(t *testing.T) {
	for _, s := range allStates {
		seen := map[api.State]bool{s: true}
		todo, ends := []api.State{s}, false
		for len(todo) > 0 {
			at := todo[0]
			todo = todo[1:]
			ends = ends || Terminal(at)
			for _, n := range next(at) {
				if !seen[n] {
					seen[n] = true
					todo = append(todo, n)
				}
			}
		}
		if !ends {
			t.Errorf("no way leads from %s to an end", s)
		}
	}
}
