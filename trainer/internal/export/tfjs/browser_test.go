package tfjs_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
)

// browser is a headless Chromium, spoken to in its DevTools protocol through a pipe: JSON messages that end with a NUL.
type browser struct {
	t       *testing.T
	in      io.Writer
	out     *bufio.Reader
	session string
	id      int
	// events are the messages that were no answers.
	events []message
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// openPage starts a browser of its own with the page.
func openPage(t *testing.T, page string) *browser {
	t.Helper()
	program := exporttest.Tool(t, "install Chromium with trainer/setup/browser.sh", "chromium", "chromium-browser", "google-chrome")
	theirIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	profile, err := os.MkdirTemp("", "browser")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--remote-debugging-pipe", "--user-data-dir="+profile, "--no-first-run",
		"--disable-gpu", "--disable-background-networking", "--disable-component-update", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	// A browser that hangs must not hang the tests.
	kill := func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	watchdog := time.AfterFunc(3*time.Minute, kill)
	b := &browser{t: t, in: in, out: bufio.NewReader(out)}
	var once sync.Once
	t.Cleanup(func() {
		once.Do(func() {
			in.Close()
			watchdog.Stop()
			kill()
			cmd.Wait()
			out.Close()
			removeProfile(t, profile)
		})
	})
	target := struct {
		TargetID string `json:"targetId"`
	}{}
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	attached := struct {
		SessionID string `json:"sessionId"`
	}{}
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "DOM", "Network", "Log"} {
		b.call(domain+".enable", nil, nil)
	}
	b.call("Page.navigate", map[string]any{"url": "file://" + page}, nil)
	return b
}

// removeProfile removes the folder of a browser that was killed. The
// browser's children are not ours to wait for, and the last of them may
// still write there.
func removeProfile(t *testing.T, folder string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := os.RemoveAll(folder)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
}

// call sends a command and waits for its answer.
func (b *browser) call(method string, params any, result any) {
	b.t.Helper()
	b.id++
	command := map[string]any{"id": b.id, "method": method}
	if params != nil {
		command["params"] = params
	}
	if b.session != "" {
		command["sessionId"] = b.session
	}
	text, err := json.Marshal(command)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.in.Write(append(text, 0)); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	for {
		line, err := b.out.ReadBytes(0)
		if err != nil {
			b.t.Fatalf("%s: the browser is gone: %v", method, err)
		}
		var m message
		if err := json.Unmarshal(line[:len(line)-1], &m); err != nil {
			b.t.Fatal(err)
		}
		if m.ID != b.id {
			b.events = append(b.events, m)
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.t.Fatal(err)
			}
		}
		return
	}
}

// eval gives the value of an expression in the page.
func (b *browser) eval(expression string, value any) {
	b.t.Helper()
	var answer struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text string `json:"text"`
		} `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true}, &answer)
	if answer.Exception != nil {
		b.t.Fatalf("%s: %s", expression, answer.Exception.Text)
	}
	if len(answer.Result.Value) > 0 {
		if err := json.Unmarshal(answer.Result.Value, value); err != nil {
			b.t.Fatal(err)
		}
	}
}

// await waits until an expression is true.
func (b *browser) await(expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var done bool
		if b.eval("!!("+expression+")", &done); done {
			return
		}
		if time.Now().After(deadline) {
			var text string
			b.eval("document.body ? document.body.innerText.slice(0, 500) : ''", &text)
			b.t.Fatalf("%s is not so in a minute; the page says %q; %s", expression, text, b.complaints())
		}
	}
}

// choose gives the page a file, as a person does, and returns its probabilities.
func (b *browser) choose(path string) []float32 {
	b.t.Helper()
	var document struct {
		Root struct {
			ID int `json:"nodeId"`
		} `json:"root"`
	}
	b.call("DOM.getDocument", nil, &document)
	var input struct {
		ID int `json:"nodeId"`
	}
	b.call("DOM.querySelector", map[string]any{"nodeId": document.Root.ID, "selector": "#file"}, &input)
	b.call("DOM.setFileInputFiles", map[string]any{"nodeId": input.ID, "files": []string{path}}, nil)
	b.await("document.getElementById('status').textContent.startsWith('Answered') && document.getElementById('results').dataset.probabilities")
	var text string
	b.eval("document.getElementById('results').dataset.probabilities", &text)
	var probabilities []float32
	if err := json.Unmarshal([]byte(text), &probabilities); err != nil {
		b.t.Fatal(err)
	}
	return probabilities
}

// complaints are the errors of the page, among them what its policy forbade. What the browser warns of its own graphics is
// not the page's.
func (b *browser) complaints() string {
	var all []string
	for _, e := range b.events {
		var p struct {
			Entry struct {
				Level string `json:"level"`
			} `json:"entry"`
		}
		if e.Method == "Runtime.exceptionThrown" || e.Method == "Log.entryAdded" && json.Unmarshal(e.Params, &p) == nil && p.Entry.Level == "error" {
			all = append(all, string(e.Params))
		}
	}
	return strings.Join(all, "\n")
}

// requested are the addresses that the page asked for, itself left out.
func (b *browser) requested(page string) []string {
	own := url.URL{Scheme: "file", Path: page}
	var all []string
	for _, e := range b.events {
		var p struct {
			Request struct {
				URL string `json:"url"`
			} `json:"request"`
		}
		if e.Method == "Network.requestWillBeSent" && json.Unmarshal(e.Params, &p) == nil && p.Request.URL != own.String() {
			all = append(all, fmt.Sprintf("%.80s", p.Request.URL))
		}
	}
	return all
}
