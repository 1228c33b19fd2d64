package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/trainer/bench/compare"
	"github.com/cultivar-ml/cultivar/trainer/bench/peers"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-sets", "leaves,stones", "-seeds", "1,5", "-systems", "quick,probe", "-budget", "10m"})
	if err != nil || len(o.sets) != 2 || o.seeds[1] != 5 || o.systems[1] != compare.Probe || o.budget != 10*time.Minute {
		t.Errorf("%+v, %v", o, err)
	}
	for name, args := range map[string][]string{
		"system":   {"-systems", "quick,qui"},
		"seed":     {"-seeds", "1,x"},
		"argument": {"more"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(args); err == nil || errors.Is(err, flag.ErrHelp) {
				t.Errorf("%q was understood: %v", args, err)
			}
		})
	}
}

// TestTrialsAreKeptApart checks that peers with fewer epochs than their recipe has never meet measured rows.
func TestTrialsAreKeptApart(t *testing.T) {
	if (options{epochs: 1}).machine() == (options{}).machine() {
		t.Error("a trial has the rows of measurements")
	}
}

func TestSameSplit(t *testing.T) {
	line := func(name, side string) peers.Line {
		return peers.Line{SplitLine: manifest.SplitLine{SHA256: strings.Repeat("a", 64), Path: name, Split: manifest.Side(side)}, Class: "c", File: name}
	}
	split := []peers.Line{line("c/1.jpg", "train"), line("c/2.jpg", "test")}
	encoded := func(side manifest.Side) []byte {
		var b bytes.Buffer
		images := []manifest.Image{{SHA256: split[0].SHA256, Path: "c/1.jpg"}, {SHA256: split[1].SHA256, Path: "c/2.jpg"}}
		if err := manifest.EncodeSplit(&b, images, []manifest.Side{manifest.Train, side}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if err := sameSplit(split, encoded(manifest.Test)); err != nil {
		t.Error(err)
	}
	if sameSplit(split, encoded(manifest.Validation)) == nil {
		t.Error("another split was taken for the same")
	}
	if sameSplit(split[:1], encoded(manifest.Test)) == nil {
		t.Error("a longer split was taken for the same")
	}
}

func TestProcess(t *testing.T) {
	out, seconds, err := process(t.Context(), []string{"WORD=yes"}, "sh", "-c", `echo "$WORD"; echo noise >&2`)
	if err != nil || string(out) != "yes\n" || seconds <= 0 {
		t.Errorf("%q, %v, %v", out, seconds, err)
	}
	_, _, err = process(t.Context(), nil, "sh", "-c", "echo reason >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "reason") {
		t.Errorf("a failure says %v", err)
	}
}

// TestProcessKillsGroup checks that what a process started does not outlive it when it is cut off.
func TestProcessKillsGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ready := filepath.Join(t.TempDir(), "ready")
	go func() {
		for {
			if _, err := os.Stat(ready); err == nil || t.Context().Err() != nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	start := time.Now()
	// The child holds the output open: Run would wait for it.
	_, _, err := process(ctx, nil, "sh", "-c", `sleep 600 & : >"$0"; wait`, ready)
	if err == nil || time.Since(start) > killWait {
		t.Errorf("it ended with %v after %s", err, time.Since(start))
	}
}

func TestMeasureReportsFailures(t *testing.T) {
	b := failing(t)
	err := b.measure(t.Context())
	if err == nil || !strings.Contains(err.Error(), "2 cells failed") {
		t.Errorf("it says %v", err)
	}
	if rows, err := compare.Read(b.out); len(rows) > 0 || err != nil {
		t.Errorf("cells that failed have rows: %v, %v", rows, err)
	}
}

// failing is a bench whose peers end with an error.
func failing(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	m := &manifest.Manifest{Classes: []string{"a", "b"}}
	for i := range 60 {
		class := m.Classes[i/30]
		name := string(rune('0'+i/10)) + string(rune('0'+i%10))
		m.Images = append(m.Images, manifest.Image{Class: class, Path: class + "/" + name, SHA256: strings.Repeat(name, 32), DHash: strings.Repeat(name, 8)})
	}
	set := compare.Set{Name: "leaves", Images: 60, Classes: 2}
	return &bench{work: dir, known: []compare.Set{set}, manifests: map[string]*manifest.Manifest{"leaves": m},
		options: options{out: filepath.Join(dir, "rows"), python: "false", sets: []string{"leaves"}, seeds: []int64{1, 2},
			systems: []compare.System{compare.Probe}, budget: time.Hour}}
}

// TestMeasureNotStarted checks that a cell which is likely to end after the budget is not begun.
func TestMeasureNotStarted(t *testing.T) {
	b := failing(t)
	b.budget = time.Second
	if err := b.measure(t.Context()); err != nil {
		t.Errorf("a cell was begun: %v", err)
	}
}
