package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// binaries are built once: the real server, and a trainer that does what a script says.
var serverBinary, trainerBinary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cultivar-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	serverBinary, trainerBinary = filepath.Join(dir, "cultivar-server"), filepath.Join(dir, "cultivar-trainer")
	for out, source := range map[string]string{serverBinary: ".", trainerBinary: "./testdata/trainer"} {
		args := append([]string{"build", "-tags", "failpoints", "-o", out}, append(buildFlags(), source)...)
		if b, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", source, err, b)
			os.Exit(1)
		}
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// machine is a data folder with a server on it.
type machine struct {
	t      *testing.T
	dir    string // of the server
	bases  string
	log    *bytes.Buffer
	server *exec.Cmd
	client *client.Client
	gone   <-chan struct{} // see ended
	// damaged tells that the test has broken what fsck looks for.
	damaged bool
}

func newMachine(t *testing.T, script string) *machine {
	t.Helper()
	// t.TempDir is too long for a socket's path on some systems.
	dir, err := os.MkdirTemp("", "cv")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, dir: dir, bases: filepath.Join(dir, "testbases"), log: &bytes.Buffer{}}
	if err := os.Mkdir(m.bases, 0o700); err != nil {
		t.Fatal(err)
	}
	m.write("bases.json", `[{"name":"tiny","title":"Tiny","size":32,"params":1,"macs":1,"feature_dim":1}]`)
	m.write("script.json", script)
	m.start()
	t.Cleanup(func() {
		m.release() // a trainer that waits would outlive the test
		m.stop()
		if !m.damaged {
			m.wholesome()
		}
		if t.Failed() {
			t.Log(m.log.String())
		}
		_ = os.RemoveAll(dir)
	})
	return m
}

func (m *machine) write(name, content string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.bases, name), []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) hold()    { m.write("hold", "") }
func (m *machine) release() { _ = os.Remove(filepath.Join(m.bases, "hold")) }

func (m *machine) command(extra ...string) *exec.Cmd {
	args := append([]string{"serve", "--data", m.dir, "--bases", m.bases, "--trainer", trainerBinary}, extra...)
	cmd := exec.Command(serverBinary, args...) //nolint:gosec // built by this test
	return cmd
}

func (m *machine) start() {
	m.t.Helper()
	m.server = m.command()
	m.server.Stderr = m.log
	if err := m.server.Start(); err != nil {
		m.t.Fatal(err)
	}
	c, err := client.New(client.Options{Server: "unix://" + filepath.Join(m.dir, "server.sock")})
	if err != nil {
		m.t.Fatal(err)
	}
	m.client = c
	eventually(m.t, "the server answers", func() bool {
		_, err := c.Version(m.t.Context())
		return err == nil
	})
}

// kill ends the server as a power cut of its process does.
func (m *machine) kill() {
	m.t.Helper()
	if err := m.server.Process.Kill(); err != nil {
		m.t.Fatal(err)
	}
	_ = m.server.Wait()
}

func (m *machine) stop() {
	_ = m.server.Process.Signal(syscall.SIGTERM)
	_ = m.server.Wait()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(40 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never happened: %s", what)
		}
	}
}

// folder makes a dataset of n files in each of two classes; their bytes are what counts here, not their pixels.
func folder(t *testing.T, n int) (root string, m *manifest.Manifest) {
	t.Helper()
	return folderOf(t, n, "")
}

// folderOf is folder with other photos for another salt.
func folderOf(t *testing.T, n int, salt string) (root string, m *manifest.Manifest) {
	t.Helper()
	root = t.TempDir()
	m = &manifest.Manifest{Name: "things", Classes: []string{"a", "b"}}
	for _, class := range m.Classes {
		if err := os.Mkdir(filepath.Join(root, class), 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			name := fmt.Sprintf("%s/%03d.jpg", class, i)
			content := bytes.Repeat([]byte(name+salt), 400)
			if err := os.WriteFile(filepath.Join(root, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(content)
			m.Images = append(m.Images, manifest.Image{
				Class: class, Path: name, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content)), Width: 64, Height: 64, Format: manifest.JPEG,
			})
		}
	}
	return root, m
}

func (m *machine) upload() api.Dataset {
	m.t.Helper()
	root, man := folder(m.t, 5)
	d, err := m.client.Upload(m.t.Context(), root, man, client.UploadOptions{Name: "things"})
	if err != nil {
		m.t.Fatal(err)
	}
	return d
}

func (m *machine) run(d api.Dataset) api.Run {
	m.t.Helper()
	r, err := m.client.CreateRun(m.t.Context(), api.RunCreate{Dataset: d.Id})
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

// story collects a task's events to its end through whatever happens to the server.
type story struct {
	events []api.Event
	err    error
	done   chan struct{}
}

func (m *machine) watch(task string) *story {
	s := &story{done: make(chan struct{})}
	c := m.client
	go func() {
		defer close(s.done)
		for e, err := range c.Events(context.WithoutCancel(m.t.Context()), task, 0, nil) {
			if err != nil {
				s.err = err
				return
			}
			s.events = append(s.events, e)
		}
	}()
	return s
}

func (s *story) wait(t *testing.T) {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(60 * time.Second):
		t.Fatal("the stream did not end")
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	for i, e := range s.events {
		if e.Id != int64(i+1) {
			t.Fatalf("event %d of the stream has number %d: one was lost or came twice", i+1, e.Id)
		}
	}
}

// epochs lists "attempt:epoch" in the order they came; states, the states.
func (s *story) epochs() (out []string) {
	for _, e := range s.events {
		if b, ok := e.Record.Body.(runspec.Epoch); ok {
			out = append(out, fmt.Sprintf("%d:%d", e.Attempt, b.Epoch))
		}
	}
	return out
}

func (s *story) states() (out []string) {
	for _, e := range s.events {
		if b, ok := e.Record.Body.(runspec.State); ok {
			out = append(out, b.State)
		}
	}
	return out
}

func equal(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if strings.Join(got, " ") != want {
		t.Errorf("%s: %v, want %s", what, got, want)
	}
}

func TestTrainDownloadPredict(t *testing.T) {
	m := newMachine(t, `{"epochs":4}`)
	d := m.upload()
	if d.State != api.DatasetReady || d.Images != 10 || len(d.Classes) != 2 || d.Classes[0].Images != 5 {
		t.Fatalf("dataset: %+v", d)
	}
	again := m.upload() // nothing to send
	if again.Id != d.Id {
		t.Errorf("the same digest became another dataset: %s and %s", again.Id, d.Id)
	}
	r := m.run(d)
	s := m.watch(r.Id)
	s.wait(t)
	equal(t, "epochs", s.epochs(), "1:1 1:2 1:3 1:4")
	equal(t, "states", s.states(), "queued starting running succeeded")
	r, err := m.client.Run(t.Context(), r.Id)
	if err != nil {
		t.Fatal(err)
	}
	if r.State != api.StateSucceeded || *r.Epoch != 4 || *r.TestAccuracy != 0.875 || *r.ValAccuracy < 0.69 || r.Ended == nil || r.LastEvent != int64(len(s.events)) {
		b, _ := json.Marshal(r)
		t.Errorf("run: %s", b)
	}
	files, err := m.client.Artifacts(t.Context(), r.Id)
	if err != nil || len(files) != 2 || files[0].Name != "model.h5" {
		t.Fatalf("artifacts: %+v, %v", files, err)
	}
	dest := filepath.Join(t.TempDir(), "model.h5")
	if err := m.client.Download(t.Context(), r.Id, files[0], dest, nil); err != nil {
		t.Fatal(err)
	}
	root, man := folder(t, 2)
	var paths []string
	for _, im := range man.Images {
		paths = append(paths, filepath.Join(root, im.Path))
	}
	n := 0
	for p, err := range m.client.Predict(t.Context(), r.Id, paths) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Top[0].Label != "a" {
			t.Errorf("prediction: %+v", p)
		}
		n++
	}
	if n != len(paths) {
		t.Errorf("%d predictions for %d images", n, len(paths))
	}
}

func TestServerKilledInTheMiddle(t *testing.T) {
	for _, c := range []struct {
		name   string
		script string
	}{
		{"callbacks", `{"epochs":6,"hold_before":3}`},
		{"spool only", `{"epochs":6,"hold_before":3,"spool_only":true}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, c.script)
			m.hold()
			r := m.run(m.upload())
			s := m.watch(r.Id)
			eventually(t, "epoch 2 is stored", func() bool {
				got, err := m.client.Run(t.Context(), r.Id)
				return err == nil && got.Epoch != nil && *got.Epoch == 2
			})
			m.kill()
			m.release() // the trainer goes on, and perhaps ends, without a server
			m.start()
			s.wait(t)
			equal(t, "epochs", s.epochs(), "1:1 1:2 1:3 1:4 1:5 1:6")
			equal(t, "states", s.states(), "queued starting running succeeded")
		})
	}
}

func TestServerKilledWhileTrainerWaitsForItsReturn(t *testing.T) {
	m := newMachine(t, `{"epochs":5,"hold_before":3}`)
	m.hold()
	r := m.run(m.upload())
	s := m.watch(r.Id)
	eventually(t, "epoch 2 is stored", func() bool {
		got, err := m.client.Run(t.Context(), r.Id)
		return err == nil && got.Epoch != nil && *got.Epoch == 2
	})
	for range 3 {
		m.kill()
		m.start()
	}
	got, err := m.client.Run(t.Context(), r.Id)
	if err != nil || got.State != api.StateRunning || got.Attempt != 1 {
		t.Fatalf("after three restarts: %+v, %v", got, err)
	}
	m.release()
	s.wait(t)
	equal(t, "epochs", s.epochs(), "1:1 1:2 1:3 1:4 1:5")
}

func TestCrashResumesFromCheckpoint(t *testing.T) {
	m := newMachine(t, `{"epochs":4,"crash_at":3}`)
	r := m.run(m.upload())
	s := m.watch(r.Id)
	s.wait(t)
	equal(t, "epochs", s.epochs(), "1:1 1:2 2:3 2:4")
	equal(t, "states", s.states(), "queued starting running interrupted queued starting running succeeded")
	for _, e := range s.events {
		if b, ok := e.Record.Body.(runspec.State); ok && b.State == "interrupted" {
			if !strings.Contains(b.Reason, "exit code 1") || !strings.Contains(b.Reason, "broke") || strings.Contains(b.Reason, "\x1b") {
				t.Errorf("reason: %q", b.Reason)
			}
		}
	}
}

func TestEndings(t *testing.T) {
	for _, c := range []struct {
		name, script string
		act          func(m *machine, run string) error
		states       string
		reason       string
		artifacts    int
	}{
		{"final exit code", `{"epochs":1,"exit_code":13}`, nil, "queued starting running failed", "too few images", 0},
		{"an artifact that is not what it says", `{"epochs":1,"bad_sum":true}`, nil,
			"queued starting running interrupted queued starting running interrupted queued starting running failed", "hashes to", 0},
		{"cancel", `{"epochs":9,"hold_before":2}`, func(m *machine, run string) error {
			_, err := m.client.CancelRun(m.t.Context(), run)
			return err
		}, "queued starting running cancelled", "Cancelled on request", 0},
		{"stop keeps the best so far", `{"epochs":9,"hold_before":2}`, func(m *machine, run string) error {
			r, err := m.client.StopRun(m.t.Context(), run)
			if err == nil && r.State != api.StateStopping {
				m.t.Errorf("after stop the run is %s", r.State)
			}
			return err
		}, "queued starting running stopping succeeded", "Stopped on request", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, c.script)
			m.hold()
			r := m.run(m.upload())
			s := m.watch(r.Id)
			if c.act != nil {
				eventually(t, "epoch 1 is stored", func() bool {
					got, err := m.client.Run(t.Context(), r.Id)
					return err == nil && got.Epoch != nil
				})
				if err := c.act(m, r.Id); err != nil {
					t.Fatal(err)
				}
			}
			s.wait(t)
			// Registration may be seen after the end of a trainer that is very quick; then "running" is never said.
			equal(t, "states", s.states(), c.states)
			got, err := m.client.Run(t.Context(), r.Id)
			if err != nil || got.Reason == nil || !strings.Contains(*got.Reason, c.reason) {
				t.Errorf("reason: %v, %v; want %q in it", got.Reason, err, c.reason)
			}
			files, err := m.client.Artifacts(t.Context(), r.Id)
			if err != nil || len(files) != c.artifacts {
				t.Errorf("artifacts: %v, %v; want %d", files, err, c.artifacts)
			}
		})
	}
}

func TestSecondServerLeavesTheFirstAlone(t *testing.T) {
	m := newMachine(t, `{"epochs":1}`)
	out, err := m.command().CombinedOutput()
	if err != nil || !strings.Contains(string(out), "already running") {
		t.Errorf("a second server: %v\n%s", err, out)
	}
	if _, err := m.client.Version(t.Context()); err != nil {
		t.Errorf("the first server: %v", err)
	}
}

func TestIdleExit(t *testing.T) {
	m := newMachine(t, `{"epochs":1}`)
	m.stop()
	m.server = m.command("--idle-exit", "100ms")
	m.server.Stderr = m.log
	if err := m.server.Run(); err != nil {
		t.Errorf("an idle server ended with %v", err)
	}
}

func TestLoopbackNeedsTheToken(t *testing.T) {
	m := newMachine(t, `{"epochs":1}`)
	m.stop()
	out, err := m.command("--listen", "0.0.0.0:0").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "other machines") {
		t.Errorf("a public address: %v\n%s", err, out)
	}
}
