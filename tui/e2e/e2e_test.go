// Package e2e drives the built programs as a person would: from a folder of photos to a model file and its answers.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// event is a line of `cultivar … --json`; which fields are set depends on Event.
type event struct {
	Event        string         `json:"message_type"`
	Images       int            `json:"images"`
	KnownImages  int            `json:"known_images"`
	ID           int64          `json:"id"`
	Record       runspec.Record `json:"record"`
	State        string         `json:"state"`
	Number       int            `json:"number"`
	TestAccuracy float64        `json:"test_accuracy"`
	ValAccuracy  float64        `json:"val_accuracy"`
	Files        []string       `json:"files"`
	Run          json.RawMessage
}

// host is one person's machine: a data folder of its own with the server that the programs start in it.
type host struct {
	t    *testing.T
	root string // of the repository
	data string
	env  []string
}

func newHost(t *testing.T, env ...string) *host {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"cultivar", "cultivar-server", "cultivar-trainer"} {
		if _, err := os.Stat(filepath.Join(root, "bin", program)); err != nil {
			absent(t, "bin/%s is not built: run `make build`", program)
		}
	}
	data, err := os.MkdirTemp("", "cv") // short: a socket's path has to fit into an address
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, root: root, data: data}
	h.env = append(os.Environ(), "CULTIVAR_DATA="+data, "CULTIVAR_SERVER=", "CULTIVAR_TOKEN=")
	h.env = append(h.env, env...)
	t.Cleanup(h.close)
	return h
}

// absent ends a test that lacks something: it fails where everything has been set up, and is skipped loudly elsewhere.
func absent(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CULTIVAR_REQUIRE_PYTHON") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf("SKIPPED, NOT CHECKED: "+format, args...)
}

// photos is a folder of the real test data.
func (h *host) photos(name string) string {
	h.t.Helper()
	data := os.Getenv("CULTIVAR_TEST_DATA")
	if data == "" {
		data = filepath.Join(h.root, "..", "shared", "data")
	}
	dir := filepath.Join(data, name)
	if _, err := os.Stat(dir); err != nil {
		h.t.Skipf("SKIPPED, NOT CHECKED: the real photos %s are not here; CULTIVAR_TEST_DATA names their folder", name)
	}
	return dir
}

func (h *host) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(h.root, "bin", "cultivar"), args...)
	cmd.Env = h.env
	cmd.Dir = h.data
	return cmd
}

// run runs the program and returns what it printed and its exit code.
func (h *host) run(args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	var out, errs bytes.Buffer
	cmd := h.command(h.t.Context(), args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// events runs a verb with --json, which must succeed, and returns its lines.
func (h *host) events(args ...string) []event {
	h.t.Helper()
	stdout, stderr, code := h.run(append(args, "--json")...)
	if code != 0 {
		h.t.Fatalf("cultivar %s: exit code %d\n%s%s\n%s", strings.Join(args, " "), code, tail(stdout), stderr, h.serverLog())
	}
	var all []event
	lines := bufio.NewScanner(strings.NewReader(stdout))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			h.t.Fatalf("line %q: %v", lines.Text(), err)
		}
		all = append(all, e)
	}
	return all
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

func (h *host) serverLog() string {
	b, _ := os.ReadFile(filepath.Join(h.data, "server.log"))
	return "server.log: " + tail(string(b))
}

// serverPID asks the kernel who listens on the server's socket; 0 when nobody does.
func (h *host) serverPID() int {
	conn, err := net.DialTimeout("unix", filepath.Join(h.data, "server.sock"), time.Second)
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	var peer *syscall.Ucred
	_ = raw.Control(func(fd uintptr) {
		peer, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil || peer == nil {
		return 0
	}
	return int(peer.Pid)
}

// killServer ends the server as a power cut would and waits until it is gone.
func (h *host) killServer() {
	h.t.Helper()
	pid := h.serverPID()
	if pid == 0 {
		h.t.Fatal("no server is running")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); h.serverPID() == pid; {
		if time.Now().After(deadline) {
			h.t.Fatal("the server is still there")
		}
	}
}

func (h *host) close() {
	if h.t.Failed() {
		h.t.Log(h.serverLog())
	}
	if pid := h.serverPID(); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	_ = os.RemoveAll(h.data)
}

// result is the last line of `train --json`.
func result(t *testing.T, all []event) event {
	t.Helper()
	last := all[len(all)-1]
	if last.Event != "result" || last.State != "succeeded" {
		t.Fatalf("the last line is %+v, not a result that succeeded", last)
	}
	return last
}

// bodies are the records of one type that a run wrote.
func bodies[T any](all []event) []T {
	var out []T
	for _, e := range all {
		if b, ok := e.Record.Body.(T); ok {
			out = append(out, b)
		}
	}
	return out
}
