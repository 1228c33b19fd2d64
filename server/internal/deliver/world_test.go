package deliver_test

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/deliver"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/delivertest"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/dropboxtest"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/smtptest"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
)

const (
	appSecret    = "canary-app-secret"
	refreshToken = "canary-refresh-token"
	password     = "canary-password"
)

// world is an outbox with its own clock, Dropbox account and mail server.
type world struct {
	*testing.T
	now     time.Time
	told    atomic.Int64 // now in microseconds, for the double's goroutines
	dir     string
	db      *store.Store
	deliver *deliver.Service
	dropbox *dropboxtest.Server
	mails   string // folder
}

// settings of the parts of a world; the zero value is one where nothing goes wrong.
type settings struct {
	dropbox   dropboxtest.Options
	mail      smtptest.Options
	noDropbox bool
	noMail    bool
	expiry    time.Duration
	change    func(*config.Deliver)
}

func secretFile(t testing.TB, name, content string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(content+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func newWorld(t *testing.T, s settings) *world {
	t.Helper()
	w := &world{T: t, now: time.Unix(1_800_000_000, 0).UTC(), dir: t.TempDir(), mails: t.TempDir()}
	clock := func() time.Time { return w.now }
	var err error
	if w.db, err = store.Open(t.Context(), filepath.Join(w.dir, "db"), clock); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close() })
	o := deliver.Options{
		Store: w.db, Artifact: delivertest.Finder(w.db, w.dir), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: clock,
		Jitter: func() float64 { return 0.5 }, Block: 1000, Config: config.Deliver{PublicURL: "https://cultivar.example.org"},
	}
	if !s.noDropbox {
		s.dropbox.AppKey, s.dropbox.AppSecret, s.dropbox.RefreshToken = "key", appSecret, refreshToken
		s.dropbox.Now = func() time.Time { return time.UnixMicro(w.told.Load()) }
		w.dropbox = dropboxtest.New(s.dropbox)
		front := httptest.NewServer(w.dropbox)
		t.Cleanup(front.Close)
		o.Config.Dropbox = &config.Dropbox{
			AppKey: "key", AppSecretFile: secretFile(t, "secret", appSecret), RefreshTokenFile: secretFile(t, "token", refreshToken),
			LinkExpiry: config.Duration(s.expiry), APIURL: front.URL,
		}
	}
	if !s.noMail {
		if s.mail.TLS == "" {
			s.mail.TLS = "none"
		}
		s.mail.Dir = w.mails
		server, err := smtptest.Start(t.Context(), "127.0.0.1:0", s.mail)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Close() })
		smtp := config.SMTP{Host: "127.0.0.1", Port: server.Addr().Port, TLS: s.mail.TLS, User: s.mail.User}
		if s.mail.User != "" {
			smtp.PasswordFile = secretFile(t, "password", password)
		}
		o.Config.Mail = &config.Mail{From: "Cultivar <cultivar@example.org>", SMTP: &smtp}
		o.Roots = server.Roots()
	}
	if s.change != nil {
		s.change(&o.Config)
	}
	if w.deliver, err = deliver.New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

func text(s string) *string { return &s }

// ended is a run that ended so, with a model of so many bytes when it succeeded.
func (w *world) ended(run string, to api.State, wishes api.Notify, size int) {
	w.Helper()
	if _, err := delivertest.Begin(w.Context(), w.db, run, wishes); err != nil {
		w.Fatal(err)
	}
	if to != api.StateSucceeded {
		if err := delivertest.End(w.Context(), w.db, w.deliver, run, to); err != nil {
			w.Fatal(err)
		}
		return
	}
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(i * i >> 3)
	}
	a, err := delivertest.Model(w.dir, run, content)
	if err != nil {
		w.Fatal(err)
	}
	if err := delivertest.End(w.Context(), w.db, w.deliver, run, to, a); err != nil {
		w.Fatal(err)
	}
}

// settle works until nothing is left to do, with a clock that leaps to whatever is next.
func (w *world) settle() {
	w.Helper()
	for range 2000 {
		w.told.Store(w.now.UnixMicro())
		worked, err := w.deliver.Step(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		if worked {
			w.now = w.now.Add(time.Second)
			continue
		}
		next, ok, err := w.deliver.Next(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		if !ok {
			return
		}
		if next.After(w.now) {
			w.now = next
		}
	}
	w.Fatal("no end to it")
}

// step works on one delivery, which must be due.
func (w *world) step() {
	w.Helper()
	w.told.Store(w.now.UnixMicro())
	worked, err := w.deliver.Step(w.Context())
	if err != nil || !worked {
		w.Fatalf("worked is %t, %v", worked, err)
	}
}

func (w *world) rows(run string) []store.Delivery {
	w.Helper()
	all, err := w.deliver.List(w.Context(), delivertest.User, run)
	if err != nil {
		w.Fatal(err)
	}
	return all
}

func (w *world) inbox() []string {
	w.Helper()
	all, err := smtptest.Mails(w.mails)
	if err != nil {
		w.Fatal(err)
	}
	return all
}
