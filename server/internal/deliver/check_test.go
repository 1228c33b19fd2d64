package deliver_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/deliver"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/dropboxtest"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/smtptest"
)

// checked is the one finding of a world, which must hold no secret and have had no effect.
func checked(t *testing.T, w *world, what string) deliver.Finding {
	t.Helper()
	for _, f := range w.deliver.Check(t.Context()) {
		for _, s := range []string{appSecret, refreshToken, password, sendGridKey} {
			if strings.Contains(f.Text+f.Remedy, s) {
				t.Errorf("a secret is told: %+v", f)
			}
		}
		if f.What == what {
			if w.dropbox != nil && (len(w.dropbox.State().Files) > 0 || w.dropbox.State().Created > 0) || len(w.inbox()) > 0 {
				t.Errorf("it had an effect: %+v, %v", w.dropbox.State(), w.inbox())
			}
			return f
		}
	}
	t.Fatalf("nothing was found about %s", what)
	return deliver.Finding{}
}

// expect compares a finding; no remedy means that all works.
func expect(t *testing.T, f deliver.Finding, text, remedy string, passing bool) {
	t.Helper()
	if !strings.Contains(f.Text, text) || (f.Remedy == "") != (remedy == "") || !strings.Contains(f.Remedy, remedy) || f.Passing != passing || strings.Contains(f.Text, " admin") {
		t.Errorf("found %+v, want %q and %q", f, text, remedy)
	}
}

func TestCheckDropbox(t *testing.T) {
	always := func(f dropboxtest.Fault) func(string) dropboxtest.Fault {
		return func(string) dropboxtest.Fault { return f }
	}
	for _, c := range []struct {
		name         string
		o            dropboxtest.Options
		revoke       bool
		change       func(*config.Deliver)
		text, remedy string
		passing      bool
	}{
		{name: "good", text: "the account answers"},
		{name: "good without the echo's right", o: dropboxtest.Options{Lacks: []string{"account_info.read"}}, text: "the account answers"},
		{
			name: "two rights missing", o: dropboxtest.Options{Lacks: []string{"files.content.write", "sharing.write"}},
			text: "it lacks files.content.write and sharing.write", remedy: "Tick files.content.write and sharing.write",
		},
		{name: "cannot look", o: dropboxtest.Options{Lacks: []string{"files.metadata.read"}}, text: "files.metadata.read", remedy: "new refresh token"},
		{name: "cannot list links", o: dropboxtest.Options{Lacks: []string{"sharing.read"}}, text: "sharing.read", remedy: "new refresh token"},
		{name: "withdrawn", revoke: true, text: "permission was withdrawn", remedy: "Make a new refresh token"},
		{name: "other app", change: func(c *config.Deliver) { c.Dropbox.AppKey = "other" }, text: "does not know this server's app key", remedy: "app_key"},
		{name: "secret is not there", change: func(c *config.Deliver) { c.Dropbox.AppSecretFile = "/not/there" }, text: "app secret: open /not/there: no such file", remedy: "into /not/there"},
		{name: "secret is a folder", change: func(c *config.Deliver) { c.Dropbox.RefreshTokenFile = "/" }, text: "refresh token: read /: is a directory", remedy: "into /"},
		{name: "busy", o: dropboxtest.Options{Fault: always(dropboxtest.Busy)}, text: "asked too often", remedy: "unless it lasts", passing: true},
		{name: "broken", o: dropboxtest.Options{Fault: always(dropboxtest.Broken)}, text: "problem of its own", remedy: "unless it lasts", passing: true},
		{name: "cut", o: dropboxtest.Options{Fault: always(dropboxtest.Drop)}, text: "could not be reached", remedy: "deliver.dropbox.api_url"},
		{name: "not there", change: func(c *config.Deliver) { c.Dropbox.APIURL = "http://127.0.0.1:1" }, text: "connection refused", remedy: "deliver.dropbox.api_url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, settings{dropbox: c.o, noMail: true, change: c.change})
			if c.revoke {
				w.dropbox.Revoke()
			}
			expect(t, checked(t, w, deliver.Dropbox), c.text, c.remedy, c.passing)
		})
	}
}

func TestCheckSMTP(t *testing.T) {
	login := smtptest.Options{TLS: "starttls", User: "cultivar", Password: password}
	empty := secretFile(t, "empty", "")
	for _, c := range []struct {
		name         string
		o            smtptest.Options
		change       func(*config.SMTP)
		text, remedy string
	}{
		{name: "starttls with login", o: login, text: "answers, encrypted, and takes the login of cultivar; no mail was sent"},
		{name: "implicit with login", o: smtptest.Options{TLS: "implicit", User: "cultivar", Password: password}, text: "takes the login of cultivar"},
		{name: "in the clear", o: smtptest.Options{TLS: "none"}, text: "answers and asks for no login"},
		{name: "wrong password", o: smtptest.Options{TLS: "starttls", User: "cultivar", Password: "other"}, text: "does not let this server in: 535", remedy: "Compare deliver.mail.smtp.user"},
		{name: "empty password", o: login, change: func(c *config.SMTP) { c.PasswordFile = empty }, text: "it is empty", remedy: empty},
		{name: "no TLS there", o: smtptest.Options{TLS: "none", User: "cultivar", Password: password}, change: func(c *config.SMTP) { c.TLS = "starttls" }, text: "does not support STARTTLS", remedy: "starttls on 587"},
		{name: "plain where TLS is", o: smtptest.Options{TLS: "none"}, change: func(c *config.SMTP) { c.TLS = "implicit" }, text: "does not speak as this server's settings say", remedy: "starttls on 587"},
		{name: "nobody listens", o: login, change: func(c *config.SMTP) { c.Port = 1 }, text: "connection refused", remedy: "let this machine reach 127.0.0.1:1"},
		{name: "no such host", o: login, change: func(c *config.SMTP) { c.Host = "mail.invalid" }, text: "could not be reached", remedy: "deliver.mail.smtp.host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, settings{noDropbox: true, mail: c.o, change: func(d *config.Deliver) {
				if c.change != nil {
					c.change(d.Mail.SMTP)
				}
			}})
			expect(t, checked(t, w, deliver.Mail), c.text, c.remedy, false)
		})
	}
}

func TestCheckDoesNotTrustAnybodysCertificate(t *testing.T) {
	server, err := smtptest.Start(t.Context(), "127.0.0.1:0", smtptest.Options{Dir: t.TempDir(), TLS: "implicit"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	s, err := deliver.New(deliver.Options{Config: config.Deliver{Mail: &config.Mail{
		From: "cultivar@example.org", SMTP: &config.SMTP{Host: "127.0.0.1", Port: server.Addr().Port, TLS: "implicit"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	all := s.Check(t.Context())
	if len(all) != 1 {
		t.Fatalf("found %+v", all)
	}
	expect(t, all[0], "certificate cannot be trusted: tls: failed to verify certificate", "SSL_CERT_FILE", false)
}

func TestCheckSendGrid(t *testing.T) {
	for _, c := range []struct {
		name         string
		status       int
		body         string
		text, remedy string
		passing      bool
	}{
		{"good", 200, `{"scopes":["alerts.read","mail.send"]}`, "takes the key", "", false},
		{"may not send", 200, `{"scopes":["mail.batch.read"]}`, "does not let it send mail", "mail.send", false},
		{"unknown key", 401, `{"errors":[{"message":"authorization required"}]}`, "authorization required", "Make a key", false},
		{"repeats the key", 403, `{"errors":[{"message":"no ` + sendGridKey + `"}]}`, "[secret]", "Make a key", false},
		{"busy", 429, ``, "could not take", "unless it lasts", true},
		{"broken", 502, ``, "could not take", "unless it lasts", true},
		{"somebody else", 404, `<html>`, "something else: 404", "sendgrid_url", false},
		{"somebody else's page", 200, `<html>`, "something else", "sendgrid_url", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.URL.Path != "/v3/scopes" || r.Header.Get("Authorization") != "Bearer "+sendGridKey {
					t.Errorf("asked %s %s", r.Method, r.URL)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			t.Cleanup(s.Close)
			expect(t, checked(t, sendGridWorld(t, s.URL), deliver.Mail), c.text, c.remedy, c.passing)
		})
	}
}

func TestCheckOfNothing(t *testing.T) {
	s, err := deliver.New(deliver.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if all := append(s.Check(t.Context()), new(deliver.Service).Check(t.Context())...); len(all) > 0 {
		t.Errorf("found %+v", all)
	}
}
