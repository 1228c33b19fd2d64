package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/trainer/bench/compare"
	"github.com/cultivar-ml/cultivar/trainer/bench/peers"
)

const (
	cellLimit = 2 * time.Hour // a process that takes longer hangs: the slowest recipe needs a tenth on the sets measured
	killWait  = 10 * time.Second
	tailBytes = 2000 // of what a failed process said
)

// process runs a program to its end and returns what it printed and its wall time. It and all that it starts are
// killed when ctx ends.
func process(ctx context.Context, env []string, name string, args ...string) (stdout []byte, seconds float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, cellLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killWait
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err = cmd.Run()
	seconds = time.Since(start).Seconds()
	if err != nil {
		said := append(out.Bytes(), errs.Bytes()...)
		return nil, seconds, fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, said[max(0, len(said)-tailBytes):])
	}
	return out.Bytes(), seconds, nil
}

// peer runs a peer's script: from the start of Python to the saved model and its test accuracy.
func (b *bench) peer(ctx context.Context, c compare.Cell, split []peers.Line, dir string) (accuracy, seconds float64, err error) {
	path := filepath.Join(dir, "split.jsonl")
	f, err := os.Create(path)
	if err != nil {
		return 0, 0, err
	}
	if err := errors.Join(peers.WriteSplit(f, split), f.Close()); err != nil {
		return 0, 0, err
	}
	args := []string{filepath.Join(b.peers, string(c.System)+".py"), "--base", b.base, "--features", b.features,
		"--photos", b.folder(c.Set.Name), "--split", path, "--seed", strconv.FormatInt(c.Seed, 10),
		"--out", filepath.Join(dir, "model.h5")}
	if b.epochs > 0 {
		args = append(args, "--epochs", strconv.Itoa(b.epochs))
	}
	// The trainer's own TensorFlow must not be found before the wheel's.
	env := []string{"LD_LIBRARY_PATH=", "TF_CPP_MIN_LOG_LEVEL=2", "CUDA_VISIBLE_DEVICES=", "PYTHONDONTWRITEBYTECODE=1"}
	out, seconds, err := process(ctx, env, b.python, args...)
	if err != nil {
		return 0, 0, err
	}
	var answer struct {
		Images   int      `json:"images"`
		Accuracy *float64 `json:"test_accuracy"`
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &answer); err != nil || answer.Accuracy == nil {
		return 0, 0, fmt.Errorf("its last line is %q, not a result", lines[len(lines)-1])
	}
	if n := tested(split); answer.Images != n {
		return 0, 0, fmt.Errorf("it was tested on %d photos, not on the %d of the split", answer.Images, n)
	}
	return *answer.Accuracy, seconds, saved(dir)
}

// own runs a preset of the project: the command line with an empty data folder, from the scan to the saved model.
func (b *bench) own(ctx context.Context, c compare.Cell, split []peers.Line, dir string) (accuracy, seconds float64, err error) {
	data := filepath.Join(dir, "data")
	env := []string{"CULTIVAR_DATA=" + data, "CULTIVAR_SERVER=", "CULTIVAR_TOKEN="}
	defer endServer(data)
	program := filepath.Join(b.bin, "cultivar")
	out, seconds, err := process(ctx, env, program, "train", b.folder(c.Set.Name), "--server", "own", "--base", baseName,
		"--preset", string(c.System), "--seed", strconv.FormatInt(c.Seed, 10), "--exports", "h5", "--wait", "--json", "-o", dir)
	if err != nil {
		giveUp(ctx, env, program)
		return 0, 0, err
	}
	var result struct {
		Type     string   `json:"message_type"`
		Accuracy *float64 `json:"test_accuracy"`
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &result); err != nil || result.Type != "result" || result.Accuracy == nil {
		return 0, 0, fmt.Errorf("its last line is %q, not a result with a test accuracy", lines[len(lines)-1])
	}
	used, _, err := process(ctx, env, program, "download", "latest", "split.jsonl", "--server", "own", "-o", "-")
	if err != nil {
		return 0, 0, err
	}
	return *result.Accuracy, seconds, errors.Join(sameSplit(split, used), saved(dir))
}

// giveUp ends a training that may go on by itself, as trainings do when the command line or the server is gone.
func giveUp(ctx context.Context, env []string, program string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*killWait)
	defer cancel()
	for _, verb := range []string{"cancel", "watch"} { // watch returns once it has ended
		_, _, _ = process(ctx, env, program, verb, "latest", "--server", "own") // there may be none
	}
}

// sameSplit checks that the project was measured on the split that the peers get.
func sameSplit(split []peers.Line, used []byte) error {
	lines, err := manifest.DecodeSplit(bytes.NewReader(used))
	if err != nil {
		return err
	}
	same := len(lines) == len(split)
	for i := 0; same && i < len(lines); i++ {
		same = lines[i] == split[i].SplitLine
	}
	if !same {
		return errors.New("the project used another split than the peers get")
	}
	return nil
}

// saved checks that a system has left a model.
func saved(dir string) error {
	found, err := filepath.Glob(filepath.Join(dir, "*.h5"))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("it left %d model files, not one", len(found))
	}
	return err
}

func tested(split []peers.Line) int {
	n := 0
	for _, l := range split {
		if l.Split == manifest.Test {
			n++
		}
	}
	return n
}
