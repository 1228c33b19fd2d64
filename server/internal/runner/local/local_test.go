package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/runner/local"
	"github.com/cultivar-ml/cultivar/server/internal/runner/runnertest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// The test's own binary, started again with this argument, is the supervising process.
const supervise = "supervise-for-test"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == supervise {
		if err := local.Supervise(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// script is a trainer: its spec file holds its behaviour. A line in <spec>.runs counts its starts.
const script = `#!/bin/sh
echo started >> "$3.runs"
echo "hello from $1" >&2
case "$(cat "$3")" in
succeed) exit 0 ;;
noimage) exit 11 ;;
env) env > "$3.env"; exit 0 ;;
interrupted) exit 30 ;;
deaf) trap '' TERM; touch "$3.ready"; while :; do sleep 0.02; done ;;
esac
`

type fixture struct {
	dir  string
	opts local.Options
}

func setup(t *testing.T) fixture {
	t.Helper()
	dir := t.TempDir()
	trainer := filepath.Join(dir, "trainer")
	if err := os.WriteFile(trainer, []byte(script), 0o700); err != nil { //nolint:gosec // it is executed
		t.Fatal(err)
	}
	return fixture{dir, local.Options{
		Dir: filepath.Join(dir, "jobs"), Self: []string{os.Args[0], supervise}, Trainer: trainer,
		Slots: map[runspec.Kind]int{runspec.Train: 1},
	}}
}

func (f fixture) open(t *testing.T) *local.Runner {
	t.Helper()
	r, err := local.New(f.opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f fixture) job(t *testing.T, name, behaviour string) runner.Job {
	t.Helper()
	spec := filepath.Join(f.dir, name+".spec")
	if err := os.WriteFile(spec, []byte(behaviour), 0o600); err != nil {
		t.Fatal(err)
	}
	return runner.Job{Name: name, Kind: runspec.Train, Spec: spec, Dir: f.dir}
}

func (f fixture) process(t *testing.T, name string) (pid int) {
	t.Helper()
	var p struct{ PID int }
	b, err := os.ReadFile(filepath.Join(f.opts.Dir, name, "process.json"))
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p.PID
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never happened: %s", what)
		}
	}
}

func exists(path string) func() bool {
	return func() bool { _, err := os.Stat(path); return err == nil }
}

func TestContract(t *testing.T) {
	runnertest.Run(t, func(t *testing.T) runnertest.Harness {
		f := setup(t)
		ready := map[string]string{}
		return runnertest.Harness{
			Open: func() runner.Runner { return readyRunner{f.open(t), t, ready} },
			Job: func(name string, b runnertest.Behaviour) runner.Job {
				j := f.job(t, name, string(b))
				if b == runnertest.Deaf {
					ready[name] = j.Spec + ".ready"
				}
				return j
			},
		}
	})
}

// readyRunner waits after Start until the script has set its trap: a shell dies of a signal that comes before.
type readyRunner struct {
	*local.Runner
	t     *testing.T
	ready map[string]string
}

func (r readyRunner) Start(ctx context.Context, j runner.Job) error {
	err := r.Runner.Start(ctx, j)
	if file := r.ready[j.Name]; err == nil && file != "" {
		eventually(r.t, "the trainer is ready", exists(file))
	}
	return err
}

func TestTrainerDiesWithItsSupervisor(t *testing.T) {
	f := setup(t)
	r := f.open(t)
	j := f.job(t, "cv-lost-1", "deaf")
	if err := r.Start(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the trainer runs", exists(j.Spec+".ready"))
	pid := f.process(t, j.Name)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the job is lost", func() bool {
		st, err := r.Status(t.Context(), j.Name)
		return err == nil && st.Phase == runner.Lost
	})
	// The supervising process led the group; when nothing of it is left, signal 0 finds nobody.
	eventually(t, "the trainer is gone too", func() bool { return errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) })
	if err := r.Start(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if st, err := r.Status(t.Context(), j.Name); err != nil || st.Phase != runner.Lost {
		t.Errorf("a lost job was started again: %+v, %v", st, err)
	}
	if b, _ := os.ReadFile(j.Spec + ".runs"); strings.Count(string(b), "started") != 1 {
		t.Errorf("the trainer was started %q", b)
	}
}

func TestReusedProcessNumberIsNotAdopted(t *testing.T) {
	f := setup(t)
	r := f.open(t)
	j := f.job(t, "cv-reused-1", "succeed")
	if err := r.Start(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(f.opts.Dir, j.Name)
	eventually(t, "it ended", exists(filepath.Join(dir, "exit.json")))
	// As after a crash without exit.json, its number now belonging to another process: this test.
	if err := os.Remove(filepath.Join(dir, "exit.json")); err != nil {
		t.Fatal(err)
	}
	content := fmt.Sprintf(`{"pid":%d,"start":"another boot/1"}`, os.Getpid())
	if err := os.WriteFile(filepath.Join(dir, "process.json"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if st, err := r.Status(t.Context(), j.Name); err != nil || st.Phase != runner.Lost {
		t.Errorf("status: %+v, %v; want lost", st, err)
	}
	if err := r.Kill(t.Context(), j.Name); err != nil { // had it been adopted, this would end the test
		t.Errorf("kill: %v", err)
	}
}

func TestMissingTrainerIsToldAsSuch(t *testing.T) {
	f := setup(t)
	f.opts.Trainer = filepath.Join(f.dir, "absent")
	r := f.open(t)
	j := f.job(t, "cv-absent-1", "succeed")
	if err := r.Start(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it ended", exists(filepath.Join(f.opts.Dir, j.Name, "exit.json")))
	st, err := r.Status(t.Context(), j.Name)
	if err != nil || st.Phase != runner.Exited || st.Exit.Cause != runner.CauseNotStarted || !strings.Contains(st.Exit.Detail, "no such file") {
		t.Errorf("status: %+v, %v", st, err)
	}
}

func TestTrainerSeesNoSecrets(t *testing.T) {
	t.Setenv("CULTIVAR_TOKEN", "canary-7391")
	f := setup(t)
	r := f.open(t)
	j := f.job(t, "cv-env-1", "env")
	if err := r.Start(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it ended", exists(filepath.Join(f.opts.Dir, j.Name, "exit.json")))
	b, err := os.ReadFile(j.Spec + ".env")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "canary") {
		t.Error("the server's environment reached the trainer")
	}
	for _, want := range []string{"PATH=", "TF_CPP_MIN_LOG_LEVEL=2"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the trainer's environment lacks %s:\n%s", want, b)
		}
	}
	log, err := os.ReadFile(filepath.Join(f.dir, "trainer.log"))
	if err != nil || !strings.Contains(string(log), "hello from train") {
		t.Errorf("trainer.log: %q, %v", log, err)
	}
}
