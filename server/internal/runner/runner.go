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
	Name string       // deterministic: the same attempt has the same name for ever
	Kind runspec.Kind // the trainer's verb
	Spec string       // path of spec.json
	Dir  string       // folder of the attempt; its log goes there
}

// Phase is how far a job is.
type Phase string

// The phases. A lost job vanished without telling how it ended; it is never a success by itself.
const (
	Pending Phase = "pending" // known, not yet executing: Start is to be called again
	Running Phase = "running"
	Exited  Phase = "exited"
	Lost    Phase = "lost"
)

// Status is what a runner knows of a job.
type Status struct {
	Name  string
	Phase Phase
	Exit  Exit // with Exited
}

// Exit is how a trainer ended.
type Exit struct {
	Code       int       `json:"code"`             // −1 when it ended by a signal or never began
	Signal     string    `json:"signal,omitempty"` // such as "killed"
	OOM        bool      `json:"oom,omitempty"`    // the system ran out of memory and ended it
	Killed     bool      `json:"killed,omitempty"` // by Kill
	StartError string    `json:"start_error,omitempty"`
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended"`
}

// Runner executes jobs. Calls for one job come in the order Start (Status | Interrupt | Kill)* Remove, from one
// goroutine; calls for different jobs may come at once. A call cut off by a crash of the caller is made again after it,
// perhaps by another process: every method is idempotent, and what a job did outlives the process that started it.
type Runner interface {
	// Start begins the job, once: when a job of that name is running or has ended it does nothing. After it returns nil
	// the job is Running, Exited or Lost. After an error nothing runs, or it runs and a second Start adopts it.
	Start(ctx context.Context, job Job) error
	// Status tells how the job is. ErrUnknown: it was never started, or removed. Exited and Lost are final.
	Status(ctx context.Context, name string) (Status, error)
	// Interrupt asks the trainer to write a checkpoint and end (SIGTERM). It does not wait. A job that has ended or is
	// unknown is no error.
	Interrupt(ctx context.Context, name string) error
	// Kill ends the job with all its processes. It does not wait; the job becomes Exited with Killed set. A job that
	// has ended or is unknown is no error.
	Kill(ctx context.Context, name string) error
	// Remove forgets an ended job and frees what is kept of it. It fails while the job runs; unknown is no error.
	Remove(ctx context.Context, name string) error
	// List names every job that is not removed, in no order.
	List(ctx context.Context) ([]string, error)
	// Slots is how many jobs of a kind may run at once; 0: any number. Kinds with slots of their own don't wait for
	// each other.
	Slots(kind runspec.Kind) int
	// Changed receives a value after jobs changed; several changes may come as one. It is a hint: who misses it sees
	// the change by asking.
	Changed() <-chan struct{}
}
