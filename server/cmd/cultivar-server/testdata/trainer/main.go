// Command trainer behaves towards the server as cultivar-trainer does, without learning anything: it registers, writes its
// spool, posts records, makes artifacts and a result. The file "script.json" in the folder of bases tells it what to do;
// while a file "hold" stands there it waits before the epoch that the script names.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cultivar-ml/cultivar/shared/pack"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

type script struct {
	Epochs     int  `json:"epochs"`
	HoldBefore int  `json:"hold_before"` // epoch; 0: never
	CrashAt    int  `json:"crash_at"`    // epoch, in the first attempt only
	ExitCode   int  `json:"exit_code"`   // instead of a result
	SpoolOnly  bool `json:"spool_only"`
	BadSum     bool `json:"bad_sum"` // lie about an artifact
}

type trainer struct {
	spec     runspec.Spec
	script   script
	dir      string
	executor string
	spool    *os.File
	seq      int64
	acked    int64
	unsent   [][]byte
	command  string

	artifacts []runspec.Artifact
}

func main() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		os.Exit(runspec.ExitInterrupted)
	}()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(runspec.ExitError)
	}
}

func run() error {
	b, err := os.ReadFile(os.Args[3])
	if err != nil {
		return err
	}
	t := &trainer{executor: "p" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)}
	if t.spec, err = runspec.ParseSpec(b); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(runspec.ExitBadSpec)
	}
	if b, err = os.ReadFile(filepath.Join(t.spec.Paths.Bases, "script.json")); err != nil {
		return err
	}
	if err := json.Unmarshal(b, &t.script); err != nil {
		return err
	}
	t.dir = filepath.Join(t.spec.Paths.Attempt, t.executor)
	if err := os.MkdirAll(filepath.Join(t.dir, runspec.ArtifactsDir), 0o700); err != nil {
		return err
	}
	if t.spool, err = os.Create(filepath.Join(t.dir, runspec.RecordsFile)); err != nil {
		return err
	}
	t.register()
	if t.spec.Kind == runspec.Predict {
		return t.predict()
	}
	return t.train()
}

func (t *trainer) train() error {
	first := 1
	if t.spec.Paths.Previous != "" {
		b, err := os.ReadFile(filepath.Join(t.spec.Paths.Previous, runspec.CheckpointDir, "epoch"))
		if err != nil {
			return err
		}
		done, err := strconv.Atoi(string(b))
		if err != nil {
			return err
		}
		first = done + 1
	}
	t.record(runspec.TypePhase, runspec.Phase{Phase: runspec.PhaseHead, Total: t.script.Epochs})
	last := 0
	for e := first; e <= t.script.Epochs; e++ {
		t.hold(e)
		if e == t.script.CrashAt && t.spec.Attempt == 1 {
			fmt.Fprintln(os.Stderr, "something \x1b[31mbroke")
			os.Exit(runspec.ExitError)
		}
		if t.script.ExitCode != 0 {
			os.Exit(t.script.ExitCode)
		}
		if _, err := os.Stat(t.spec.Paths.Stop); err == nil || t.command == "stop" {
			break
		}
		acc := runspec.Float(0.5 + 0.05*float64(e))
		t.record(runspec.TypeEpoch, runspec.Epoch{Phase: runspec.PhaseHead, Epoch: e, Attempt: t.spec.Attempt, ValAccuracy: acc})
		if err := t.write(filepath.Join(runspec.CheckpointDir, "epoch"), strconv.Itoa(e)); err != nil {
			return err
		}
		t.record(runspec.TypeCheckpoint, runspec.Checkpoint{Step: e, Epoch: e})
		last = e
	}
	for _, name := range []string{"model.h5", "labels.txt"} {
		if err := t.artifact(name); err != nil {
			return err
		}
	}
	test := runspec.Float(0.875)
	return t.finish(runspec.Result{State: "succeeded", BestEpoch: last, ValAccuracy: runspec.Float(0.5 + 0.05*float64(last)), TestAccuracy: &test, Recipe: &t.spec.Recipe})
}

func (t *trainer) predict() error {
	f, err := os.Open(t.spec.Inputs)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	index, err := pack.ReadIndex(f, info.Size())
	if err != nil {
		return err
	}
	if _, err := os.ReadFile(t.spec.Model); err != nil {
		return err
	}
	for i, e := range index.Entries {
		t.record(runspec.TypePrediction, runspec.Prediction{Index: i, SHA256: e.SHA256, Top: []runspec.Score{{Label: t.spec.Dataset.Classes[0], Probability: 1}}})
	}
	return t.finish(runspec.Result{State: "succeeded"})
}

func (t *trainer) hold(epoch int) {
	if epoch != t.script.HoldBefore {
		return
	}
	for {
		if _, err := os.Stat(filepath.Join(t.spec.Paths.Bases, "hold")); err != nil {
			return
		}
		if _, err := os.Stat(t.spec.Paths.Stop); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (t *trainer) write(name, content string) error {
	path := filepath.Join(t.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func (t *trainer) artifact(name string) error {
	content := "content of " + name + strings.Repeat(".", 1000)
	if err := t.write(filepath.Join(runspec.ArtifactsDir, name), content); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(content))
	if t.script.BadSum {
		sum[0]++
	}
	a := runspec.Artifact{Name: name, Format: strings.TrimPrefix(filepath.Ext(name), "."), Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
	t.artifacts = append(t.artifacts, a)
	t.record(runspec.TypeArtifact, a)
	return nil
}

func (t *trainer) finish(r runspec.Result) error {
	b, err := json.Marshal(runspec.Finish{Version: runspec.Version, Executor: t.executor, Result: r, Artifacts: t.artifacts})
	if err != nil {
		return err
	}
	if err := t.write(runspec.ResultFile, string(b)); err != nil {
		return err
	}
	t.record(runspec.TypeResult, r)
	return nil
}

// record writes to the spool first and then tries to post everything that is not acknowledged.
func (t *trainer) record(kind runspec.Type, body any) {
	t.seq++
	b, err := json.Marshal(runspec.Record{Seq: t.seq, Time: time.Now(), Type: kind, Body: body})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(runspec.ExitError)
	}
	b = append(b, '\n')
	_, _ = t.spool.Write(b)
	_ = t.spool.Sync()
	t.unsent = append(t.unsent, b)
	var ack struct {
		Ack     int64  `json:"ack"`
		Command string `json:"command"`
	}
	if t.post("records", bytes.Join(t.unsent, nil), &ack) {
		t.unsent = t.unsent[ack.Ack-t.acked:]
		t.acked, t.command = ack.Ack, ack.Command
	}
}

func (t *trainer) register() {
	b, _ := json.Marshal(map[string]any{"executor": t.executor, "version": runspec.Version, "pid": os.Getpid()})
	t.post("register", b, nil)
}

func (t *trainer) post(what string, body []byte, out any) bool {
	if t.script.SpoolOnly {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.spec.Callback.URL+"/"+what, bytes.NewReader(body))
	if err != nil {
		return false
	}
	token, err := os.ReadFile(t.spec.Callback.TokenFile)
	if err != nil {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Cultivar-Executor", t.executor)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		fmt.Fprintln(os.Stderr, what, resp.Status, string(text))
		return false
	}
	return out == nil || json.NewDecoder(resp.Body).Decode(out) == nil
}
