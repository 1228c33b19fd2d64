package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctor: what fails is told in the error, which is the exit code; programs read an object a line.
func TestDoctor(t *testing.T) {
	data, bases := t.TempDir(), t.TempDir()
	settings := filepath.Join(data, "config.yaml")
	trainer := filepath.Join(data, "trainer")
	for path, content := range map[string]string{
		settings: "bases: " + bases + "\ntrainer: " + trainer + "\n",
		trainer:  "#!/bin/sh\necho cultivar-trainer version other\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := doctorCommand()
		cmd.SetArgs(args)
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	out, err := run("--data", data)
	if err == nil || !strings.HasPrefix(err.Error(), "1 of ") || !strings.Contains(out, "FAILED   base models") || !strings.Contains(out, "ok       settings     "+settings) {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = run("--config", settings, "--data", data, "--json")
	if err == nil {
		t.Error("nothing failed")
	}
	states := map[string]int{}
	for line := range strings.Lines(out) {
		var c map[string]string
		if err := json.Unmarshal([]byte(line), &c); err != nil || c["message_type"] != "check" || c["check"] == "" || c["text"] == "" {
			t.Errorf("%v: %s", err, line)
		}
		states[c["state"]]++
	}
	if states["failed"] != 1 || states["warning"] == 0 || states["ok"] == 0 || len(states) != 3 {
		t.Errorf("states are %v\n%s", states, out)
	}
	out, err = run("--config", filepath.Join(data, "none.yaml"))
	if err == nil || err.Error() != "1 of 1 checks failed" || !strings.Contains(out, "FAILED   settings     read settings: open ") {
		t.Errorf("%v\n%s", err, out)
	}
}
