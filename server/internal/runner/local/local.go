// Package local executes attempts as processes of this machine. Each has a supervising parent of its own, which is the
// server's binary started again: it outlives the server, so that a trainer goes on when the server is killed, and writes
// down how the trainer ended for whichever server asks next. Package tasks decides what that means.
package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Files of a job's folder, in the order they are written.
const (
	jobFile     = "job.json"     // by Start, before anything runs
	lockFile    = "lock"         // held by the supervising process for its whole life: at most one
	processFile = "process.json" // by the supervising process, before it starts the trainer
	killedFile  = "killed"       // by Kill, before the signal
	exitFile    = "exit.json"    // by the supervising process, after the trainer ended
)

// startPatience bounds the wait for a supervising process to say that it is there; it needs milliseconds.
const startPatience = 20 * time.Second

// Options are a local runner's settings.
type Options struct {
	Dir     string   // of its own, below the data folder
	Self    []string // the command that runs Supervise with a job's folder as its last argument
	Trainer string   // path of the trainer's binary
	Slots   map[runspec.Kind]int
}

// Runner is a runner.Runner on this machine.
type Runner struct {
	opts    Options
	changed chan struct{}
}

// New makes the runner's folder when it is absent. Jobs of an earlier process are there already: they are adopted.
func New(opts Options) (*Runner, error) {
	if err := files.MkdirAll(opts.Dir); err != nil {
		return nil, fmt.Errorf("open local runner: %w", err)
	}
	return &Runner{opts: opts, changed: make(chan struct{}, 1)}, nil
}

// job is what a supervising process needs to know; it is kept in job.json.
type job struct {
	Name    string   `json:"name"`
	Command []string `json:"command"`
	Env     []string `json:"env"`
	Dir     string   `json:"dir"`
	Log     string   `json:"log"`
}

func (r *Runner) dir(name string) string { return filepath.Join(r.opts.Dir, filepath.Base(name)) }

// Start implements runner.Runner.
func (r *Runner) Start(ctx context.Context, j runner.Job) error {
	status, err := r.Status(ctx, j.Name)
	if err == nil && status.Phase != runner.Pending {
		return nil
	}
	if err != nil && !errors.Is(err, runner.ErrUnknown) {
		return err
	}
	if err := r.write(j); err != nil {
		return fmt.Errorf("start job %s: %w", j.Name, err)
	}
	if err := r.spawn(ctx, j.Name); err != nil {
		return fmt.Errorf("start job %s: %w", j.Name, err)
	}
	return nil
}

func (r *Runner) write(j runner.Job) error {
	dir := r.dir(j.Name)
	if err := files.MkdirAll(dir); err != nil {
		return err
	}
	content, err := json.Marshal(job{
		Name:    j.Name,
		Command: []string{r.opts.Trainer, string(j.Kind), "--spec", j.Spec},
		Env:     environment(os.LookupEnv),
		Dir:     j.Dir,
		Log:     filepath.Join(j.Dir, "trainer.log"),
	})
	if err != nil {
		return err
	}
	return files.WriteBytes(filepath.Join(dir, jobFile), files.FileMode, content)
}

// environment is what a trainer may see of the server's: an allow-list, because secrets live in environments.
func environment(lookup func(string) (string, bool)) []string {
	env := []string{}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"} {
		if v, ok := lookup(name); ok {
			env = append(env, name+"="+v)
		}
	}
	// TensorFlow tells about its own start on stderr; only its errors help anybody.
	return append(env, "TF_CPP_MIN_LOG_LEVEL=2")
}

// spawn starts the supervising process in a session of its own and waits until it has said who it is.
func (r *Runner) spawn(ctx context.Context, name string) error {
	cmd := exec.Command(r.opts.Self[0], append(append([]string{}, r.opts.Self[1:]...), r.dir(name))...) //nolint:noctx // it must outlive the caller
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = environment(os.LookupEnv)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how the trainer ended is in exit.json
		close(ended)
		r.notify()
	}()
	deadline := time.NewTimer(startPatience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if status, err := r.Status(ctx, name); err != nil || status.Phase != runner.Pending {
			return err
		}
		select {
		case <-tick.C:
		case <-ended:
			if status, err := r.Status(ctx, name); err != nil || status.Phase != runner.Pending {
				return err
			}
			return errors.New("its supervising process ended at once")
		case <-deadline.C:
			return fmt.Errorf("its supervising process said nothing for %s", startPatience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *Runner) notify() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Status implements runner.Runner.
func (r *Runner) Status(_ context.Context, name string) (runner.Status, error) {
	dir := r.dir(name)
	if _, err := os.Stat(filepath.Join(dir, jobFile)); errors.Is(err, fs.ErrNotExist) {
		return runner.Status{}, fmt.Errorf("%w: %s", runner.ErrUnknown, name)
	}
	out := runner.Status{Name: name}
	p, err := readJSON[process](filepath.Join(dir, processFile))
	if errors.Is(err, fs.ErrNotExist) {
		out.Phase = runner.Pending
		return out, nil
	}
	if err != nil {
		return runner.Status{}, fmt.Errorf("status of job %s: %w", name, err)
	}
	alive := p.alive()
	// Read after the look at the process: one that wrote its exit and ended between both must not be called lost.
	exit, err := readJSON[runner.Exit](filepath.Join(dir, exitFile))
	switch {
	case err == nil:
		out.Phase, out.Exit = runner.Exited, exit
	case !errors.Is(err, fs.ErrNotExist):
		return runner.Status{}, fmt.Errorf("status of job %s: %w", name, err)
	case alive:
		out.Phase = runner.Running
	default:
		out.Phase = runner.Lost
		if _, err := os.Stat(filepath.Join(dir, killedFile)); err == nil {
			out.Phase, out.Exit = runner.Exited, runner.Exit{Code: -1, Signal: "killed", Cause: runner.CauseKilled}
		}
	}
	return out, nil
}

// Kill implements runner.Runner.
func (r *Runner) Kill(_ context.Context, name string) error {
	return r.signal(name, func(p process) error {
		if err := files.WriteBytes(filepath.Join(r.dir(name), killedFile), files.FileMode, nil); err != nil {
			return err
		}
		// The supervising process leads the session and the group, so the group's number is its own.
		if err := unix.Kill(-p.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		return nil
	})
}

func (r *Runner) signal(name string, send func(process) error) error {
	p, err := readJSON[process](filepath.Join(r.dir(name), processFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && p.alive() {
		err = send(p)
	}
	if err != nil {
		return fmt.Errorf("end job %s: %w", name, err)
	}
	return nil
}

// Remove implements runner.Runner.
func (r *Runner) Remove(ctx context.Context, name string) error {
	status, err := r.Status(ctx, name)
	if err == nil && status.Phase == runner.Running {
		return fmt.Errorf("remove job %s: it is running", name)
	}
	if err != nil && !errors.Is(err, runner.ErrUnknown) {
		return err
	}
	if err := os.RemoveAll(r.dir(name)); err != nil {
		return fmt.Errorf("remove job %s: %w", name, err)
	}
	return nil
}

// List implements runner.Runner.
func (r *Runner) List(context.Context) ([]string, error) {
	entries, err := os.ReadDir(r.opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	var names []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(r.opts.Dir, e.Name(), jobFile)); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Slots implements runner.Runner.
func (r *Runner) Slots(kind runspec.Kind) int { return r.opts.Slots[kind] }

// Changed implements runner.Runner.
func (r *Runner) Changed() <-chan struct{} { return r.changed }

func readJSON[T any](path string) (T, error) {
	var v T
	b, err := os.ReadFile(path)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return v, nil
}
