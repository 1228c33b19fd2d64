package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
)

// openFiles is enough for every pack and cache segment of a training, and low enough to find a leak.
const openFiles = 8192

// Supervise is the life of a job's supervising process: start the trainer, pass SIGTERM on to it, wait, and write down
// durably how it ended. dir is the job's folder. A second process for the same job returns at once, and a job is never
// started twice, whatever was killed in between.
func Supervise(dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, files.FileMode)
	if err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil // another one supervises this job
	}
	if _, err := os.Stat(filepath.Join(dir, processFile)); !errors.Is(err, fs.ErrNotExist) {
		return err // it ran before; it has ended or is lost
	}
	j, err := readJSON[job](filepath.Join(dir, jobFile))
	if err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	// Signals first: one that comes between the name and the trainer must find somebody who passes it on.
	term := make(chan os.Signal, 8)
	signal.Notify(term, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	if err := announce(dir); err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	limit()
	exit := run(j, term)
	content, err := json.Marshal(exit)
	if err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	return files.WriteBytes(filepath.Join(dir, exitFile), files.FileMode, content)
}

func announce(dir string) error {
	start, err := startTime(os.Getpid())
	if err != nil {
		return err
	}
	content, err := json.Marshal(process{PID: os.Getpid(), Start: start})
	if err != nil {
		return err
	}
	return files.WriteBytes(filepath.Join(dir, processFile), files.FileMode, content)
}

// limit lowers what this process, and so the trainer, may use. A limit that cannot be set stays as it is.
func limit() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // a core of gigabytes helps nobody here
	var n unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &n) == nil {
		n.Cur = min(n.Max, openFiles)
		n.Max = n.Cur
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &n)
	}
	preferVictim()
}

func run(j job, term <-chan os.Signal) runner.Exit {
	// The trainer dies with the thread that started it, so that thread must be this one until the end.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	exit := runner.Exit{Code: -1, Started: time.Now().UTC()}
	log, err := openLog(j.Log)
	if err != nil {
		exit.Cause, exit.Detail, exit.Ended = runner.CauseNotStarted, err.Error(), time.Now().UTC()
		return exit
	}
	defer func() { _ = log.Close() }()
	before := oomKills()
	cmd := exec.CommandContext(context.Background(), j.Command[0], j.Command[1:]...) //nolint:gosec // the command is the server's own
	cmd.Dir, cmd.Env, cmd.SysProcAttr = j.Dir, j.Env, childAttr()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		exit.Cause, exit.Detail, exit.Ended = runner.CauseNotStarted, err.Error(), time.Now().UTC()
		return exit
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-term:
				_ = cmd.Process.Signal(unix.SIGTERM) // an error says that it has ended
			case <-done:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(done)
	exit.Ended = time.Now().UTC()
	exit.Code = cmd.ProcessState.ExitCode()
	if ws, ok := cmd.ProcessState.Sys().(interface {
		Signaled() bool
		Signal() unix.Signal
	}); ok && ws.Signaled() {
		exit.Signal = ws.Signal().String()
		if ws.Signal() == unix.SIGKILL && oomKills() > before {
			exit.Cause = runner.CauseOutOfMemory
		}
	}
	var other *exec.ExitError
	if err != nil && !errors.As(err, &other) && exit.Code == 0 {
		exit.Code, exit.Cause, exit.Detail = -1, runner.CauseNotStarted, err.Error()
	}
	return exit
}
