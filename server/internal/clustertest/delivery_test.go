//go:build cluster

package clustertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/deliver/dropboxtest"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/smtptest"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// post is where results go: a mail server, and a double of Dropbox, which nothing here can reach.
type post struct {
	mails   string // folder
	dropbox *dropboxtest.Server
}

// openPost starts both where the server's pod reaches them, and sets c.deliver to their settings.
func (c *cluster) openPost(t *testing.T) post {
	t.Helper()
	p := post{mails: t.TempDir(), dropbox: dropboxtest.New(dropboxtest.Options{AppKey: "app", AppSecret: "secret", RefreshToken: "refresh"})}
	host := c.bridge
	smtp, err := smtptest.Start(t.Context(), host+":0", smtptest.Options{Dir: p.mails, TLS: "none"})
	must(t, err)
	t.Cleanup(func() { _ = smtp.Close() })
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", host+":0")
	must(t, err)
	web := &http.Server{Handler: p.dropbox, ReadHeaderTimeout: time.Minute}
	go func() { _ = web.Serve(l) }()
	t.Cleanup(func() { _ = web.Close() })
	c.deliver = fmt.Sprintf(`deliver:
  dropbox: {app_key: app, app_secret_file: /etc/cultivar-deliver/dropbox-app-secret, refresh_token_file: /etc/cultivar-deliver/dropbox-refresh-token, api_url: "http://%s"}
  mail: {from: "Cultivar <cultivar@example.org>", smtp: {host: %q, port: %d, tls: none}}
`, l.Addr(), host, smtp.Addr().Port)
	return p
}

// cultivar runs the program that people use, and returns what it wrote.
func (c *cluster) cultivar(t *testing.T, dir string, args ...string) (stdout string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(env(t, "CULTIVAR_BIN"), "cultivar"), args...) //nolint:gosec // built for this test
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CULTIVAR_SERVER="+c.api.url(), "CULTIVAR_TOKEN="+c.token, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("cultivar %s: %v\n%s\n%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// testDelivery trains by the command line on the deployed server, in four parts and a head, and follows the mail to the
// file. It returns the dataset.
func testDelivery(t *testing.T, c *cluster, p post) string {
	photos := filepath.Join(env(t, "CULTIVAR_TEST_DATA"), "sign-digits")
	dir := t.TempDir()
	began := time.Now()
	out := c.cultivar(t, dir, "train", photos, "--email", "me@example.org", "--profile", "small", "--wait", "--json")
	t.Logf("trained and delivered in %s", time.Since(began).Round(time.Second))
	page, err := c.client.Runs(t.Context(), "")
	must(t, err)
	if len(page.Runs) != 1 || page.Runs[0].State != api.StateSucceeded || page.Runs[0].TestAccuracy == nil || *page.Runs[0].TestAccuracy < 0.9 {
		t.Fatalf("runs: %+v\n%s", page.Runs, out)
	}
	run := page.Runs[0]
	t.Logf("test accuracy %.3f", *run.TestAccuracy)

	link := p.mail(t, run)
	resp, err := http.Get(link) //nolint:noctx // the test's own server
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	model, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the link answers %s", resp.Status)
	}
	files, err := c.client.Artifacts(t.Context(), run.Id)
	must(t, err)
	sum := sha256.Sum256(model)
	i := slices.IndexFunc(files, func(a runspec.Artifact) bool { return a.Format == "h5" })
	if i < 0 || files[i].SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the link leads to other bytes than those of the .h5 among %v", files)
	}
	opensInKeras(t, model)
	if s := p.dropbox.State(); len(s.Files) != 1 || len(s.Links) != 1 {
		t.Errorf("the account has %d files and %d links, want one of each", len(s.Files), len(s.Links))
	}
	readInParts(t, c, run)
	return run.Dataset
}

var linkForm = regexp.MustCompile(`https?://[^\s"<>]+/s/[^\s"<>]+`)

// mail waits for the one mail and returns the share link in it.
func (p post) mail(t *testing.T, run api.Run) string {
	t.Helper()
	var all []string
	eventually(t, time.Minute, "the mail", func() bool {
		var err error
		all, err = smtptest.Mails(p.mails)
		must(t, err)
		return len(all) > 0
	})
	if len(all) != 1 {
		t.Errorf("%d mails, want 1", len(all))
	}
	m, err := mail.ReadMessage(strings.NewReader(all[0]))
	must(t, err)
	body, err := io.ReadAll(m.Body)
	must(t, err)
	text := strings.ReplaceAll(string(body), "=\r\n", "")
	if to := m.Header.Get("To"); !strings.Contains(to, "me@example.org") {
		t.Errorf("the mail goes to %q", to)
	}
	t.Logf("mail: %s", m.Header.Get("Subject"))
	link := linkForm.FindString(strings.ReplaceAll(text, "=3D", "="))
	if link == "" || !strings.Contains(text, fmt.Sprintf("#%d", run.Number)) {
		t.Fatalf("the mail has no link, or not the run's number:\n%s", text)
	}
	return link
}

// opensInKeras loads the delivered file as its receiver would.
func opensInKeras(t *testing.T, model []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "model.h5")
	must(t, os.WriteFile(file, model, 0o600))
	python := env(t, "CULTIVAR_TEST_PYTHON")
	script := `import sys, keras, numpy
m = keras.models.load_model(sys.argv[1], compile=False)
p = m.predict(numpy.zeros((1, *m.input_shape[1:]), "float32"), verbose=0)
print(m.input_shape, p.shape, float(p.sum()))`
	cmd := exec.CommandContext(t.Context(), python, "-c", script, file) //nolint:gosec // the tests' own interpreter
	cmd.Env = append(os.Environ(), "KERAS_BACKEND=tensorflow", "TF_CPP_MIN_LOG_LEVEL=3")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "10)") {
		t.Fatalf("keras: %v\n%s", err, out)
	}
	t.Logf("keras: %s", strings.TrimSpace(string(out)))
}

// readInParts checks that the photos were read by an Indexed Job and none by the run, and that a run on this machine, which
// read them all by itself, learned from the very same features: the losses of all epochs are equal to the last bit.
func readInParts(t *testing.T, c *cluster, run api.Run) {
	t.Helper()
	var cluster []string
	parts := false
	for e, err := range c.client.Events(t.Context(), run.Id, 0, nil) {
		must(t, err)
		b, err := json.Marshal(e.Record.Body)
		must(t, err)
		parts = parts || bytes.Contains(b, []byte("of 4 parts are done"))
		if epoch(e) > 0 {
			cluster = append(cluster, losses(t, b))
		}
	}
	if !parts {
		t.Error("the run never said that its photos are read in parts")
	}
	here := trainHere(t)
	if len(cluster) == 0 || strings.Join(cluster, "\n") != strings.Join(here, "\n") {
		t.Errorf("%d epochs on the cluster and %d here differ", len(cluster), len(here))
		return
	}
	t.Logf("%d epochs have the same losses, bit for bit, after four parts and after one", len(here))
}

// losses is what of an epoch says which features it saw.
func losses(t *testing.T, record []byte) string {
	t.Helper()
	var r struct {
		Epoch     int         `json:"epoch"`
		TrainLoss json.Number `json:"train_loss"`
		ValLoss   json.Number `json:"val_loss"`
	}
	must(t, json.Unmarshal(record, &r))
	return fmt.Sprint(r.Epoch, r.TrainLoss, r.ValLoss)
}

// trainHere does the same run with the local runner.
func trainHere(t *testing.T) (epochs []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cv") // t.TempDir is too long for a socket's path
	must(t, err)
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(env(t, "CULTIVAR_BIN"), "cultivar"), "train", //nolint:gosec // built for this test
		filepath.Join(env(t, "CULTIVAR_TEST_DATA"), "sign-digits"), "--wait", "--json")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CULTIVAR_DATA="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir)
	out, err := cmd.Output()
	must(t, err)
	for line := range strings.Lines(string(out)) {
		var m struct {
			Type   string          `json:"message_type"`
			Record json.RawMessage `json:"record"`
		}
		if json.Unmarshal([]byte(line), &m) == nil && strings.Contains(line, `"train_loss"`) {
			body := m.Record
			if body == nil {
				body = json.RawMessage(line)
			}
			epochs = append(epochs, losses(t, body))
		}
	}
	return epochs
}
