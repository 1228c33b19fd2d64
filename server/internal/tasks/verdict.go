package tasks

import (
	"fmt"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

// How often a task is tried again: a disruption comes from outside and says nothing about the task; a crash comes from
// within and will most likely come again.
const (
	maxInterruptions = 10
	maxCrashes       = 2
)

// cancelled is the reason of every cancelled task that had begun or waited.
const cancelled = "Cancelled on request."

// ending is what is known of an attempt that is over.
type ending struct {
	phase     runner.Phase // Exited or Lost
	exit      runner.Exit
	result    *runspec.Result // nil: none, or not valid
	resultErr error           // why there is no valid result
	lastWords string          // end of the trainer's log, fit to be shown
}

// verdict is what an ending means for the task.
type verdict struct {
	to          api.State
	reason      string
	crash       bool
	interrupted bool
}

// judge decides what follows from the end of an attempt. Success needs a valid result and its artifacts, whatever the
// exit code says; a process that vanished is a disruption unless it left just that.
func judge(t store.Task, e ending) verdict {
	succeeded := e.result != nil && api.State(e.result.State) == api.StateSucceeded
	switch {
	case t.Cancel:
		return verdict{to: api.StateCancelled, reason: cancelled}
	case e.phase == runner.Lost && succeeded, e.exit.Code == runspec.ExitOK && e.phase == runner.Exited && succeeded:
		return success(t, *e.result)
	case e.phase == runner.Lost:
		return interruption(t, "The trainer vanished without a word, as happens when the machine restarts.")
	case e.exit.Cause != "":
		return judgeCause(t, e)
	case e.exit.Code == runspec.ExitInterrupted:
		return interruption(t, "The trainer was told to end and wrote a checkpoint.")
	case e.exit.Code == runspec.ExitCancelled:
		return verdict{to: api.StateCancelled, reason: cancelled}
	case runspec.Final(e.exit.Code):
		return verdict{to: api.StateFailed, reason: finalReason(e)}
	case e.exit.Signal == "terminated", e.exit.Signal == "interrupt", e.exit.Signal == "hangup":
		return interruption(t, fmt.Sprintf("The trainer was ended from outside (%s).", e.exit.Signal))
	case e.exit.Signal != "":
		return crash(t, fmt.Sprintf("The trainer was ended by the system (%s).%s", e.exit.Signal, e.lastWords))
	case e.exit.Code == runspec.ExitOK:
		return crash(t, fmt.Sprintf("The trainer ended without a valid result: %v.%s", e.resultErr, e.lastWords))
	}
	return crash(t, fmt.Sprintf("The trainer stopped unexpectedly (exit code %d).%s", e.exit.Code, e.lastWords))
}

// judgeCause decides on an end that came from outside the trainer. A trainer that was told to leave and wrote its
// checkpoint has the exit code that says so; whatever it says, the cause tells more.
func judgeCause(t store.Task, e ending) verdict {
	detail := ""
	if e.exit.Detail != "" {
		detail = " (" + safe.Text(e.exit.Detail).Cut(lastWords).String() + ")"
	}
	switch e.exit.Cause {
	case runner.CauseNotStarted:
		return verdict{to: api.StateFailed, reason: fmt.Sprintf("The trainer could not be started%s. Whoever runs the server can see why with: cultivar-server doctor", detail)}
	case runner.CauseOutOfMemory:
		return crash(t, fmt.Sprintf("The trainer needed more memory than it may use and was ended%s. A smaller batch size or image size needs less.", detail))
	case runner.CauseOutOfDisk:
		return crash(t, fmt.Sprintf("The trainer wrote more to disk than it may and was ended%s.", detail))
	case runner.CauseDeadline:
		return verdict{to: api.StateFailed, reason: fmt.Sprintf("The training took longer than this server allows and was ended%s. A smaller preset or fewer photos take less.", detail)}
	case runner.CauseEvicted:
		return interruption(t, fmt.Sprintf("The trainer had to leave its machine%s.", detail))
	case runner.CausePreempted:
		return interruption(t, fmt.Sprintf("The trainer had to make room for something more important%s.", detail))
	case runner.CauseNodeLost:
		return interruption(t, fmt.Sprintf("The trainer's machine went away%s.", detail))
	case runner.CauseDeleted, runner.CauseKilled:
		return interruption(t, fmt.Sprintf("The trainer was ended from outside%s.", detail))
	}
	return crash(t, fmt.Sprintf("The trainer was ended: %s%s.", e.exit.Cause, detail))
}

func success(t store.Task, r runspec.Result) verdict {
	reason := r.Reason
	if reason == "" && t.Stop {
		reason = "Stopped on request; the best so far was kept."
	}
	return verdict{to: api.StateSucceeded, reason: reason}
}

func interruption(t store.Task, why string) verdict {
	if t.Interruptions >= maxInterruptions {
		return verdict{to: api.StateFailed, interrupted: true, reason: fmt.Sprintf("%s That was the %dth time, so it is not tried again; start it anew with retry.", why, t.Interruptions+1)}
	}
	return verdict{to: api.StateInterrupted, interrupted: true, reason: why + " It goes on from the last checkpoint."}
}

func crash(t store.Task, why string) verdict {
	if t.Crashes >= maxCrashes {
		return verdict{to: api.StateFailed, crash: true, reason: fmt.Sprintf("%s It happened %d times, so it is not tried again.", why, t.Crashes+1)}
	}
	return verdict{to: api.StateInterrupted, crash: true, reason: why + " It is tried again from the last checkpoint."}
}

// finalReason prefers the trainer's own sentence, which names the file.
func finalReason(e ending) string {
	if e.result != nil && e.result.Reason != "" {
		return e.result.Reason
	}
	switch e.exit.Code {
	case runspec.ExitBadSpec:
		return "The trainer did not understand the task: server and trainer are of different releases. Install both of the same." + e.lastWords
	case runspec.ExitNoImages:
		return "No image of the dataset can be read. Run cultivar check on the folder to see why."
	case runspec.ExitOneClass:
		return "Fewer than two classes have images that can be read. Run cultivar check on the folder to see why."
	case runspec.ExitTooFew:
		return "A class has too few images to learn from. Add photos to it or leave it out."
	case runspec.ExitNoBase:
		return "The base model's weights are absent or damaged. Install them again with cultivar-trainer bases." + e.lastWords
	case runspec.ExitNoSpace:
		return "There is no space left on the server's disk. Free some, then retry; what is computed of the photos is kept." + e.lastWords
	case runspec.ExitBadData:
		return "The dataset's files on the server are damaged. Delete the dataset and send it again." + e.lastWords
	}
	return fmt.Sprintf("The trainer gave up (exit code %d).%s", e.exit.Code, e.lastWords)
}
