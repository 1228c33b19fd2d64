package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/journal"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// asTrainer makes the test binary be cultivar-trainer, so that whole processes with their signals, environments and exit
// codes can be tested.
const asTrainer = "CULTIVAR_TEST_AS_TRAINER"

func TestMain(m *testing.M) {
	if os.Getenv(asTrainer) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// trainer is a process that works on a spec.
type trainer struct {
	*exec.Cmd
	dir    string // its folder
	output *bytes.Buffer
}

// slow is the environment of a trainer that can be met in the middle of its work on any machine.
const slow = "GOMAXPROCS=1"

// start starts one part of a task as a pod of that name.
func start(t *testing.T, spec runspec.Spec, pod string, index int, env ...string) trainer {
	t.Helper()
	p := trainer{dir: filepath.Join(spec.Paths.Attempt, pod), output: &bytes.Buffer{},
		Cmd: exec.Command(os.Args[0], string(spec.Kind), "--spec", tasktest.WriteSpec(t, t.TempDir(), spec))}
	p.Env = append(os.Environ(), asTrainer+"=1", journal.ExecutorEnv+"="+pod, fmt.Sprint(partEnv, "=", index))
	p.Env = append(p.Env, env...)
	p.Stdout, p.Stderr = p.output, p.output
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // in vain when it has ended
	return p
}

// end waits for the process and checks its exit code; −1 is the end by a signal.
func (p trainer) end(t *testing.T, code int) {
	t.Helper()
	_ = p.Wait() // the code says it
	if got := p.ProcessState.ExitCode(); got != code {
		t.Fatalf("exit code %d, want %d\n%s", got, code, p.output)
	}
	_, err := os.Stat(filepath.Join(p.dir, runspec.ResultFile))
	if (err == nil) != (code == 0) {
		t.Errorf("exit code %d, result.json: %v", code, err)
	}
}

// progress is what the spool has of it so far; the last line may be written just now.
func (p trainer) progress() []runspec.Progress {
	var told []runspec.Progress
	content, _ := os.ReadFile(filepath.Join(p.dir, runspec.RecordsFile)) // not there at first
	for line := range strings.Lines(string(content)) {
		var r runspec.Record
		if json.Unmarshal([]byte(line), &r) != nil {
			continue
		}
		if body, ok := r.Body.(runspec.Progress); ok && body.Phase == runspec.PhaseFeatures {
			told = append(told, body)
		}
	}
	return told
}

// amid waits until the process is in the middle of its work.
func (p trainer) amid(t *testing.T) {
	t.Helper()
	deadline, poll := time.Now().Add(time.Minute), time.NewTicker(10*time.Millisecond)
	defer poll.Stop()
	for ; time.Now().Before(deadline); <-poll.C {
		if told := p.progress(); len(told) > 0 {
			if last := told[len(told)-1]; last.Done > 0 && last.Done < last.Total/2 {
				return
			} else if last.Done >= last.Total/2 {
				break
			}
		}
	}
	t.Fatalf("the process was never seen in the middle of its work: %v\n%s", p.progress(), p.output)
}

// cached are the bits of all rows that a cache has of the spec's images.
func cached(t *testing.T, spec runspec.Spec) map[features.Row]string {
	t.Helper()
	keys, err := filepath.Glob(filepath.Join(spec.Paths.Features, "*", "key.json"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	content, err := os.ReadFile(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	var key features.Key
	if err := json.Unmarshal(content, &key); err != nil {
		t.Fatal(err)
	}
	cache, err := features.Open(spec.Paths.Features, key, "nobody")
	if err != nil {
		t.Fatal(err)
	}
	var rows []features.Row
	for _, im := range tasktest.Manifest(t, spec).Images {
		hash, err := data.ParseHash(im.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		for v := range runspec.Default(runspec.Best).Views { // more than the recipe asks for
			rows = append(rows, features.Row{Hash: hash, View: v})
		}
	}
	set, err := cache.Find(rows)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	out := map[features.Row]string{}
	values := make([]float32, set.Dim())
	for i, row := range rows {
		if !set.Has(i) {
			continue
		}
		if err := set.Read(i, values); err != nil {
			t.Fatal(err)
		}
		out[row] = fmt.Sprintf("%x", values) // the hexadecimal form of a float has all its bits
	}
	return out
}

// on is the same task with a cache and an attempt of its own.
func on(t *testing.T, spec runspec.Spec, parts int) runspec.Spec {
	t.Helper()
	dir := t.TempDir()
	spec.Kind, spec.Parts = runspec.Features, parts
	spec.Paths.Features, spec.Paths.Attempt = filepath.Join(dir, "features"), filepath.Join(dir, "attempts", "1")
	for _, folder := range []string{spec.Paths.Features, spec.Paths.Attempt} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return spec
}

// Four trainers with a part each, two of them at the same time, one killed and one told to leave in the middle and both
// started again, fill the cache with the same bits as one trainer, and a training decodes nothing.
func TestFeaturesInParts(t *testing.T) {
	const base, perClass, views, classes = "efficientnet_lite0", 100, 4, 6
	installed := tasktest.Bases(t, base)
	spec := tasktest.Train(t, t.TempDir(), tasktest.Data(t, "trashnet"), perClass)
	spec.Paths.Bases, spec.Recipe.Base, spec.Recipe.ImageSize, spec.Recipe.Views = installed, base, 128, views

	whole := on(t, spec, 1)
	start(t, whole, "alone", 0).end(t, runspec.ExitOK)
	want := cached(t, whole)
	if len(want) != perClass*classes*views {
		t.Fatalf("one trainer computed %d rows", len(want))
	}

	parts := on(t, spec, 4)
	killed, beside := start(t, parts, "pod-0", 0, slow), start(t, parts, "pod-1", 1)
	killed.amid(t)
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed.end(t, -1)
	again := start(t, parts, "pod-0b", 0)
	beside.end(t, runspec.ExitOK)
	again.end(t, runspec.ExitOK)

	told := start(t, parts, "pod-2", 2, slow)
	told.amid(t)
	if err := told.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	told.end(t, runspec.ExitInterrupted)
	kept := len(cached(t, parts)) - 2*len(want)/4
	last := start(t, parts, "pod-3", 3)
	again = start(t, parts, "pod-2", 2) // as a container that is started again within its pod
	last.end(t, runspec.ExitOK)
	again.end(t, runspec.ExitOK)
	if first := again.progress()[0]; kept <= 0 || first.Done != kept {
		t.Errorf("%d rows were kept when told to leave, the second run began with %+v", kept, first)
	}

	got := cached(t, parts)
	if !maps.Equal(got, want) {
		different := 0
		for row := range want {
			if got[row] != want[row] {
				different++
			}
		}
		t.Errorf("%d rows instead of %d, %d differ", len(got), len(want), different)
	}

	// Four times the work takes no more memory; what differs is chance in the order of things.
	const chance = 100 << 20
	if four, one := peak(t, whole, "alone"), peak(t, parts, "pod-3"); four > one+chance {
		t.Errorf("all parts at once took %d MiB of memory, a quarter %d MiB", four>>20, one>>20)
	} else {
		t.Logf("all parts at once took %d MiB of memory, a quarter %d MiB", four>>20, one>>20)
	}

	segments := names(t, parts.Paths.Features)
	train := parts
	train.Kind, train.Parts, train.Recipe.Seed, train.Recipe.Exports = runspec.Train, 0, 99, []string{"h5"}
	train.Paths.Attempt = filepath.Join(t.TempDir(), "1")
	p := start(t, train, "train", 0)
	p.end(t, runspec.ExitOK)
	if first := p.progress()[0]; first.Done != first.Total || first.Total < perClass*classes {
		t.Errorf("the training begins with %+v", first)
	}
	if now := names(t, parts.Paths.Features); !slices.Equal(now, segments) {
		t.Errorf("the training changed the cache from %q to %q", segments, now)
	}
}

// peak is the most memory that a trainer took.
func peak(t *testing.T, spec runspec.Spec, pod string) int64 {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(spec.Paths.Attempt, pod, runspec.ResultFile))
	if err != nil {
		t.Fatal(err)
	}
	var f runspec.Finish
	if err := json.Unmarshal(content, &f); err != nil {
		t.Fatal(err)
	}
	return f.Result.PeakMemoryBytes
}

// names are the cache's segments.
func names(t *testing.T, folder string) []string {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(folder, "*", "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	return segments
}

func TestPartNotANumber(t *testing.T) {
	t.Setenv(partEnv, "first")
	if _, err := part(); err == nil || !strings.Contains(err.Error(), `"first"`) {
		t.Errorf("error is %v", err)
	}
}
