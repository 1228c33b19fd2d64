// Package runner is the port behind which attempts are executed. An implementation starts one trainer for an attempt and
// tells how it ended; it decides nothing: what an ending means for the task is package tasks' matter.
package runner

import (
	"context"
	"errors"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// ErrUnknown says that this runner was never asked to start a job of that name, or it was removed.
var ErrUnknown = errors.New("no such job")

// Job is one attempt of a task, complete: a runner needs to ask nobody for more.
type Job struct {
	Name    string       // deterministic: the same attempt has the same name for ever
	Kind    runspec.Kind // the trainer's verb
	Owner   string       // whose task it is
	Task    string
	Attempt int     // from 1
	Spec    string  // path of spec.json
	Dir     string  // folder of the attempt; its log goes there
	Mounts  []Mount // all of the volume that the trainer may see
	Profile string  // name of the machine size; empty: the runner's first
	Parts   int     // > 1: this many trainers at once, each told its index from 0; 0 and 1: one trainer, told none
}

// Mount is a folder of the shared volume that a job needs. It exists before Start.
type Mount struct {
	Name  string // relative to the volume's root, made of ids and hashes
	Write bool
}

// Phase is how far a job is.
type Phase string

// The phases. A lost job vanished without telling how it ended; it is never a success by itself.
const (
	Pending Phase = "pending" // known, not yet accepted: Start is to be called again
	Waiting Phase = "waiting" // accepted, not yet executing: nothing is to be done but to wait
	Running Phase = "running"
	Exited  Phase = "exited"
	Lost    Phase = "lost"
)

// Status is what a runner knows of a job.
type Status struct {
	Name  string
	Phase Phase
	Why   string // with Waiting: what for, in the executing system's own words; may be empty
	Stuck bool   // with Waiting: it has waited for longer than the runner is configured to
	Parts int    // how many parts have ended well
	Exit  Exit   // with Exited
}

// Cause is why a trainer ended when it did not choose to.
type Cause string

// The causes. Without one the trainer ended by itself, or by a fault within it.
const (
	CauseNotStarted  Cause = "not_started" // it never began
	CauseKilled      Cause = "killed"      // by Kill
	CauseOutOfMemory Cause = "out_of_memory"
	CauseOutOfDisk   Cause = "out_of_disk" // it wrote more than it may
	CauseDeadline    Cause = "deadline"    // it took longer than it may
	CauseEvicted     Cause = "evicted"     // the machine was needed otherwise
	CausePreempted   Cause = "preempted"   // for something more important
	CauseDeleted     Cause = "deleted"     // by a person or program with the right to
	CauseNodeLost    Cause = "node_lost"   // its machine went away
)

// Exit is how a trainer ended.
type Exit struct {
	Code    int       `json:"code"`             // −1 when it ended by a signal or never began
	Signal  string    `json:"signal,omitempty"` // such as "killed"
	Cause   Cause     `json:"cause,omitempty"`
	Detail  string    `json:"detail,omitempty"` // the executing system's own words on the cause; without one, the trainer's last line where the runner has it
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
}

// Runner executes jobs. Calls for one job come in the order Start (Status | Kill)* Remove, from one goroutine; calls for
// different jobs may come at once. A call cut off by a crash of the caller is made again after it, perhaps by another
// process: every method is idempotent, and what a job did outlives the process that started it.
type Runner interface {
	// Start begins the job, once: when a job of that name is accepted or has ended it does nothing. After it returns nil
	// the job is Waiting, Running, Exited or Lost. After an error nothing runs, or it runs and a second Start adopts it.
	Start(ctx context.Context, job Job) error
	// Status tells how the job is. ErrUnknown: it was never started, or removed, or ended by somebody else without a
	// trace; any other error: nobody knows. Exited and Lost are final.
	Status(ctx context.Context, name string) (Status, error)
	// Kill ends the job with all its processes. It does not wait; the job becomes Exited with CauseKilled, or unknown
	// where nothing is kept of a killed job, when and not before its last process has ended. A job that has ended or is
	// unknown is no error.
	Kill(ctx context.Context, name string) error
	// Remove forgets an ended job and frees what is kept of it. It fails while the job waits or runs; unknown is no error.
	Remove(ctx context.Context, name string) error
	// List names every job that is not removed, in no order.
	List(ctx context.Context) ([]string, error)
	// Slots is how many jobs of a kind may be active at once; 0: any number. Kinds with slots of their own don't wait for
	// each other.
	Slots(kind runspec.Kind) int
	// Changed receives a value after jobs changed; several changes may come as one. It is a hint: who misses it sees
	// the change by asking.
	Changed() <-chan struct{}
}
