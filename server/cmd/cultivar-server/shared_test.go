package main_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/deliver/dropboxtest"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/smtptest"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
)

// host is a machine whose server people reach from elsewhere, by a settings file.
type host struct {
	*machine
	config string // path of the settings
	url    string
	roots  string // PEM
}

// newHost starts a server with TLS; more is added to its settings.
func newHost(t *testing.T, script, more string) *host {
	t.Helper()
	h := &host{machine: newMachine(t, script)}
	h.stop()
	l, err := net.Listen("tcp", "127.0.0.1:0") // only to find a free one
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	h.url, h.config = "https://"+address, filepath.Join(h.dir, "config.yaml")
	h.renew(1)
	h.settings("config.yaml", fmt.Sprintf("data: %s\nbases: %s\ntrainer: %s\nlisten: %s\ntls: {certificate: %s, key: %s}\n%s",
		h.dir, h.bases, trainerBinary, address, h.path("cert.pem"), h.path("key.pem"), more))
	h.server = exec.Command(serverBinary, "serve", "--config", h.config) //nolint:gosec // built by this test
	h.server.Stderr = h.log
	if err := h.server.Start(); err != nil {
		t.Fatal(err)
	}
	anybody := h.as("")
	eventually(t, "the server answers over TLS", func() bool {
		_, err := anybody.Version(t.Context())
		return err == nil
	})
	return h
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *host) settings(name, content string) {
	h.t.Helper()
	if err := os.WriteFile(h.path(name), []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// renew puts a certificate for 127.0.0.1 with this serial number in place.
func (h *host) renew(serial int64) {
	h.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		h.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		h.t.Fatal(err)
	}
	h.roots = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	h.settings("cert.pem", h.roots)
	h.settings("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

func (h *host) as(token string) *client.Client {
	h.t.Helper()
	c, err := client.New(client.Options{Server: h.url, Token: token, Roots: h.roots})
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// admin runs a command of the server's program beside the server and returns its standard output.
func (h *host) admin(args ...string) string {
	h.t.Helper()
	cmd := exec.Command(serverBinary, append(args, "--config", h.config)...) //nolint:gosec // built by this test
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		h.t.Fatalf("%v: %v\n%s", args, err, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// tokenID finds the token of a user among those that are listed.
func (h *host) tokenID(user string) string {
	h.t.Helper()
	for line := range strings.Lines(h.admin("token", "list", "--json")) {
		var t struct{ ID, User string }
		if err := json.Unmarshal([]byte(line), &t); err != nil {
			h.t.Fatal(err)
		}
		if t.User == user {
			return t.ID
		}
	}
	h.t.Fatalf("%s has no token", user)
	return ""
}

func TestSharedServer(t *testing.T) {
	h := newHost(t, `{"epochs":2}`, "")
	refused := func(what, token string, want api.ErrorCode) {
		t.Helper()
		_, err := h.as(token).Runs(t.Context(), "")
		if api.Code(err) != want {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	ada := h.admin("token", "create", "ada", "--name", "laptop")
	bob := h.admin("token", "create", "bob", "--scopes", "read")
	refused("no token", "", api.CodeUnauthorized)
	refused("a mistyped token", ada[:len(ada)-1], api.CodeUnauthorized)

	h.client = h.as(ada)
	d := h.upload()
	s := h.watch(h.run(d).Id)
	s.wait(t)
	equal(t, "states", s.states(), "queued starting running succeeded")
	all, err := h.as(bob).Runs(t.Context(), "")
	if err != nil || len(all.Runs) != 0 {
		t.Errorf("another user sees %d runs, %v", len(all.Runs), err)
	}
	if _, err := h.as(bob).CreateRun(t.Context(), api.RunCreate{Dataset: d.Id}); api.Code(err) != api.CodeForbidden {
		t.Errorf("a token that may only read started a run: %v", err)
	}
	if list := h.admin("token", "list", "ada"); !strings.Contains(list, "laptop") || strings.Contains(list, ada) || strings.Contains(list, "bob") {
		t.Errorf("list of ada's tokens:\n%s", list)
	}

	h.admin("token", "revoke", h.tokenID("ada"))
	refused("a revoked token", ada, api.CodeUnauthorized)
	if second := exec.Command(serverBinary, "serve", "--config", h.config); second.Run() == nil { //nolint:gosec // built by this test
		t.Error("a second server on the same data ended without an error")
	}
}

func TestCertificateIsRenewed(t *testing.T) {
	h := newHost(t, `{}`, "")
	h.renew(2)
	if _, err := h.as("").Version(t.Context()); err != nil {
		t.Errorf("with the new certificate: %v", err)
	}
	h.settings("key.pem", "in the middle of a renewal")
	if _, err := h.as("").Version(t.Context()); err != nil {
		t.Errorf("while the key is being replaced: %v", err)
	}
}

// TestSettings looks which settings are in force: a flag's before the file's before the default.
func TestSettings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("config.yaml", "slots: 3\n")
	other := write("other.yaml", "data: /elsewhere\nslots: 4\n")
	broken := write("broken.yaml", "slotz: 4\n")
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"the data folder's file", []string{"--data", dir}, []string{"data: " + dir + "\n", "slots: 3\n", "runner: local\n"}},
		{"a file that is named", []string{"--config", other}, []string{"data: /elsewhere\n", "slots: 4\n"}},
		{"a flag", []string{"--config", other, "--data", dir}, []string{"data: " + dir + "\n", "slots: 4\n"}},
		{"a mistake", []string{"--config", broken}, []string{broken, "line 1", `did you mean "slots"?`}},
		{"no such file", []string{"--config", "nowhere.yaml"}, []string{"nowhere.yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, _ := exec.Command(serverBinary, append([]string{"config"}, c.args...)...).CombinedOutput() //nolint:gosec // built by this test
			for _, want := range c.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("%q is not in\n%s", want, out)
				}
			}
		})
	}
}

// TestDelivered goes the whole way from a run to the mail and the file behind its link.
func TestDelivered(t *testing.T) {
	mails := t.TempDir()
	smtp, err := smtptest.Start(t.Context(), "127.0.0.1:0", smtptest.Options{Dir: mails, TLS: "none"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = smtp.Close() })
	dropbox := dropboxtest.New(dropboxtest.Options{AppKey: "app", AppSecret: "secret", RefreshToken: "refresh"})
	web := httptest.NewServer(dropbox)
	t.Cleanup(web.Close)
	secrets := t.TempDir()
	for _, name := range []string{"secret", "refresh"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := newHost(t, `{"epochs":2}`, fmt.Sprintf(`deliver:
  dropbox: {app_key: app, app_secret_file: %[1]s/secret, refresh_token_file: %[1]s/refresh, api_url: %[2]s}
  mail: {from: "Cultivar <cultivar@example.org>", smtp: {host: 127.0.0.1, port: %[3]d, tls: none}}
`, secrets, web.URL, smtp.Addr().Port))
	h.client = h.as(h.admin("token", "create", "ada"))
	can, err := h.client.Abilities(t.Context())
	if err != nil || !can.Mail || !can.Share {
		t.Fatalf("abilities: %+v, %v", can, err)
	}
	to := "ada@example.org"
	r, err := h.client.CreateRun(t.Context(), api.RunCreate{Dataset: h.upload().Id, Notify: &api.Notify{Email: &to}})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	eventually(t, "the mail", func() bool {
		all, err = smtptest.Mails(mails)
		return err == nil && len(all) == 1
	})
	var link string
	eventually(t, "both deliveries are told to be done", func() bool {
		due, err := h.client.Deliveries(t.Context(), r.Id)
		done := 0
		for _, d := range due {
			if d.State == api.DeliveryDelivered {
				done++
			}
			if d.Kind == api.DeliveryLink && d.Url != nil {
				link = *d.Url
			}
		}
		return err == nil && done == 2
	})
	text := strings.ReplaceAll(strings.ReplaceAll(all[0], "=\r\n", ""), "=3D", "=")
	if link == "" || !strings.Contains(text, link) || !strings.Contains(text, "To: <"+to+">") {
		t.Errorf("the link is %q and the mail\n%s", link, text)
	}
	if s := dropbox.State(); len(s.Files) != 1 || len(s.Links) != 1 {
		t.Errorf("%d files and %d links in the account", len(s.Files), len(s.Links))
	}
}
