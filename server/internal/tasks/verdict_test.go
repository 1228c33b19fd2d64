package tasks

import (
	"errors"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func TestJudge(t *testing.T) {
	good := &runspec.Result{State: "succeeded"}
	exit := func(code int) runner.Exit { return runner.Exit{Code: code} }
	for _, c := range []struct {
		name   string
		task   store.Task
		end    ending
		to     api.State
		reason string
		crash  bool
		inter  bool
	}{
		{"clean end with a result", store.Task{}, ending{phase: runner.Exited, result: good}, api.StateSucceeded, "", false, false},
		{"stopped", store.Task{Stop: true}, ending{phase: runner.Exited, result: good}, api.StateSucceeded, "best so far", false, false},
		{"clean end without a result", store.Task{}, ending{phase: runner.Exited, resultErr: errors.New("there is no result file")}, api.StateInterrupted, "no result file", true, false},
		{"a result does not outweigh a crash", store.Task{}, ending{phase: runner.Exited, exit: exit(1), result: good}, api.StateInterrupted, "exit code 1", true, false},
		{"lost with a result", store.Task{}, ending{phase: runner.Lost, result: good}, api.StateSucceeded, "", false, false},
		{"lost", store.Task{}, ending{phase: runner.Lost}, api.StateInterrupted, "vanished", false, true},
		{"lost with a failed result", store.Task{}, ending{phase: runner.Lost, result: &runspec.Result{State: "failed"}}, api.StateInterrupted, "vanished", false, true},
		{"lost for the 10th time", store.Task{Interruptions: 9}, ending{phase: runner.Lost}, api.StateInterrupted, "goes on", false, true},
		{"lost for the 11th time", store.Task{Interruptions: 10}, ending{phase: runner.Lost}, api.StateFailed, "11th", false, true},
		{"interrupted", store.Task{}, ending{phase: runner.Exited, exit: exit(runspec.ExitInterrupted)}, api.StateInterrupted, "checkpoint", false, true},
		{"second crash", store.Task{Crashes: 1}, ending{phase: runner.Exited, exit: exit(1)}, api.StateInterrupted, "tried again", true, false},
		{"third crash", store.Task{Crashes: 2}, ending{phase: runner.Exited, exit: exit(1), lastWords: " Its last words: boom"}, api.StateFailed, "boom", true, false},
		{"out of memory", store.Task{}, ending{phase: runner.Exited, exit: runner.Exit{Code: -1, Signal: "killed", Cause: runner.CauseOutOfMemory}}, api.StateInterrupted, "memory", true, false},
		{"segmentation fault", store.Task{}, ending{phase: runner.Exited, exit: runner.Exit{Code: -1, Signal: "segmentation fault"}}, api.StateInterrupted, "segmentation fault", true, false},
		{"machine shuts down", store.Task{}, ending{phase: runner.Exited, exit: runner.Exit{Code: -1, Signal: "terminated"}}, api.StateInterrupted, "outside", false, true},
		{"killed, not by wish", store.Task{}, ending{phase: runner.Exited, exit: runner.Exit{Code: -1, Signal: "killed", Cause: runner.CauseKilled}}, api.StateInterrupted, "outside", false, true},
		{"cancelled", store.Task{Cancel: true}, ending{phase: runner.Exited, exit: runner.Exit{Code: -1, Signal: "killed", Cause: runner.CauseKilled}}, api.StateCancelled, "request", false, false},
		{"cancelled too late", store.Task{Cancel: true}, ending{phase: runner.Exited, result: good}, api.StateCancelled, "request", false, false},
		{"cancelled by the trainer", store.Task{}, ending{phase: runner.Exited, exit: exit(runspec.ExitCancelled)}, api.StateCancelled, "request", false, false},
		{"a full disk", store.Task{}, ending{phase: runner.Exited, exit: exit(runspec.ExitNoSpace)}, api.StateFailed, "no space left on the server's disk", false, false},
		{"no trainer", store.Task{}, ending{phase: runner.Exited, exit: runner.Exit{Code: -1, Cause: runner.CauseNotStarted, Detail: "no such file"}}, api.StateFailed, "no such file", false, false},
		{"the trainer's own sentence", store.Task{}, ending{phase: runner.Exited, exit: exit(runspec.ExitTooFew), result: &runspec.Result{State: "failed", Reason: "Class b has 1 image."}}, api.StateFailed, "Class b", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := judge(c.task, c.end)
			if v.to != c.to || v.crash != c.crash || v.interrupted != c.inter || !strings.Contains(v.reason, c.reason) {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func TestEveryFinalCodeFailsWithASentence(t *testing.T) {
	for code := 10; code <= 19; code++ {
		v := judge(store.Task{}, ending{phase: runner.Exited, exit: runner.Exit{Code: code}})
		want := api.StateFailed
		if code == runspec.ExitCancelled {
			want = api.StateCancelled
		}
		if v.to != want || !strings.HasSuffix(v.reason, ".") || v.crash || v.interrupted {
			t.Errorf("exit code %d: %+v", code, v)
		}
	}
}

// TestVerdictsFollowTheTable asks for every kind of end from every executing state.
func TestVerdictsFollowTheTable(t *testing.T) {
	ends := []ending{{phase: runner.Lost}, {phase: runner.Lost, result: &runspec.Result{State: "succeeded"}}}
	for code := -1; code <= 40; code++ {
		ends = append(ends, ending{phase: runner.Exited, exit: runner.Exit{Code: code}}, ending{phase: runner.Exited, exit: runner.Exit{Code: code}, result: &runspec.Result{State: "succeeded"}})
	}
	for _, from := range []api.State{api.StateStarting, api.StateRunning, api.StateStopping} {
		for _, task := range []store.Task{{}, {Cancel: true}, {Stop: true}, {Crashes: 5, Interruptions: 50}} {
			for _, e := range ends {
				v := judge(task, e)
				if from == api.StateStarting && v.to == api.StateSucceeded {
					from = api.StateRunning // conclude says so in between
				}
				if !Allowed(from, v.to) {
					t.Errorf("%s → %s after %+v", from, v.to, e)
				}
			}
		}
	}
}
