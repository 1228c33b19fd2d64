package doctor_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/dropboxtest"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/smtptest"
	"github.com/cultivar-ml/cultivar/server/internal/doctor"
	"github.com/cultivar-ml/cultivar/server/internal/store"
)

const (
	release      = "v1.2.3 (0123456789ab)"
	appSecret    = "canary-app-secret"
	refreshToken = "canary-refresh-token"
	password     = "canary-password"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes a file, with the folders above it.
func write(t testing.TB, path, content string, mode fs.FileMode) string {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(content), mode))
	return path
}

// installation is a whole one in a folder, that no server runs on. Nothing is wrong with it.
type installation struct {
	testing.TB
	doctor.Options
	dir string
}

func install(t testing.TB) *installation {
	t.Helper()
	// Short enough for a socket's path, which a test's own folder may not be.
	dir, err := os.MkdirTemp("", "doctor-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	i := &installation{TB: t, dir: dir, Options: doctor.Options{
		File: filepath.Join(dir, "config.yaml"), Version: release,
		Database: filepath.Join(data, "cultivar.db"), Lock: filepath.Join(data, "server.lock"),
	}}
	db, err := store.Open(t.Context(), i.database(), time.Now)
	must(t, err)
	must(t, db.Close())
	write(t, i.Lock, "", 0o600)
	must(t, os.MkdirAll(filepath.Join(data, "volume", "users", "ada", "packs"), 0o700))
	i.base("efficientnet_lite0", 1000)
	trainer := write(t, filepath.Join(dir, "cultivar-trainer"), "#!/bin/sh\necho 'cultivar-trainer version "+release+"'\n", 0o700)
	i.settle(config.Config{Data: data, Bases: filepath.Join(dir, "bases"), Trainer: trainer})
	return i
}

func (i *installation) database() string {
	must(i, os.MkdirAll(filepath.Dir(i.Database), 0o700))
	return i.Database
}

// settle resolves the settings.
func (i *installation) settle(c config.Config) {
	i.Helper()
	var err error
	i.Config, err = c.Resolve(config.System{Getenv: func(string) string { return "" }, Executable: filepath.Join(i.dir, "cultivar-server"), Exists: func(string) bool { return false }})
	must(i, err)
}

// base installs a base model whose weights have so many bytes.
func (i *installation) base(name string, bytes int) (file string) {
	header := fmt.Sprintf(`{"__metadata__":{"format":"pt"},"stem/kernel":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, bytes, bytes)
	content := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	content = append(append(content, header...), make([]byte, bytes)...)
	sum := sha256.Sum256(content)
	hash := hex.EncodeToString(sum[:])
	list, err := json.Marshal([]map[string]any{{"name": name, "file": hash + ".safetensors", "sha256": hash, "size": 224}})
	must(i, err)
	write(i, filepath.Join(i.dir, "bases", "bases.json"), string(list), 0o600)
	return write(i, filepath.Join(i.dir, "bases", hash+".safetensors"), string(content), 0o400)
}

// serve makes it look as if a server ran: it holds the lock and answers health checks with this.
func (i *installation) serve(status int, body string) {
	i.Helper()
	f, err := os.OpenFile(i.Lock, os.O_RDWR, 0)
	must(i, err)
	i.Cleanup(func() { _ = f.Close() })
	must(i, unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	network, address := "tcp", i.Config.Listen
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", socket
	}
	l, err := new(net.ListenConfig).Listen(i.Context(), network, address)
	must(i, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			i.Errorf("asked for %s", r.URL)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	s.Listener = l
	s.Start()
	i.Cleanup(s.Close)
}

// callback is a port where trainers' reports are taken, or refused.
func (i *installation) callback() string {
	s := httptest.NewServer(http.NotFoundHandler())
	i.Cleanup(s.Close)
	return s.URL
}

// deliveries sets up a Dropbox account and a mail server.
func (i *installation) deliveries(d dropboxtest.Options, m smtptest.Options) {
	i.Helper()
	d.AppKey, d.AppSecret, d.RefreshToken = "key", appSecret, refreshToken
	account := httptest.NewServer(dropboxtest.New(d))
	i.Cleanup(account.Close)
	m.Dir, m.TLS, m.User = i.TempDir(), "starttls", "cultivar"
	if m.Password == "" {
		m.Password = password
	}
	mails, err := smtptest.Start(i.Context(), "127.0.0.1:0", m)
	must(i, err)
	i.Cleanup(func() { _ = mails.Close() })
	i.Roots = mails.Roots()
	c := i.Config
	c.Deliver = config.Deliver{
		Dropbox: &config.Dropbox{
			AppKey: "key", APIURL: account.URL, AppSecretFile: write(i, filepath.Join(i.dir, "secrets", "app-secret"), appSecret, 0o600),
			RefreshTokenFile: write(i, filepath.Join(i.dir, "secrets", "refresh-token"), refreshToken, 0o600),
		},
		Mail: &config.Mail{From: "Cultivar <cultivar@example.org>", SMTP: &config.SMTP{
			Host: "127.0.0.1", Port: mails.Addr().Port, User: "cultivar", PasswordFile: write(i, filepath.Join(i.dir, "secrets", "smtp-password"), password, 0o600),
		}},
	}
	i.settle(c)
}

// tree is every name below the installation's folder, with its size and mode.
func (i *installation) tree() []string {
	var out []string
	must(i, filepath.WalkDir(i.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		out = append(out, fmt.Sprint(path, info.Size(), info.Mode()))
		return err
	}))
	return out
}

// examine runs all checks. They must leave nothing behind and tell no secret.
func (i *installation) examine() []doctor.Check {
	i.Helper()
	before := i.tree()
	var all []doctor.Check
	doctor.Run(i.Context(), i.Options, func(c doctor.Check) { all = append(all, c) })
	if after := i.tree(); !slices.Equal(before, after) {
		i.Errorf("it changed the files\n%s\nto\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	for _, c := range all {
		for _, secret := range []string{appSecret, refreshToken, password} {
			if strings.Contains(c.Text+c.Remedy, secret) {
				i.Errorf("it tells a secret: %+v", c)
			}
		}
	}
	return all
}

// constant replaces what differs from machine to machine.
func (i *installation) constant(text string) string {
	text = strings.ReplaceAll(text, i.dir, "/srv")
	for _, c := range []struct{ expression, with string }{
		{`127\.0\.0\.1:\d{4,5}`, "127.0.0.1:4711"},
		{`[\d.]+ [kMGTP]B of [\d.]+ [kMGTP]B free \(\d+ %\)`, "70 GB of 252 GB free (28 %)"},
		{`SQLite [\d.]+`, "SQLite 3.53.0"},
		{`cultivar\.db, \d+ kB`, "cultivar.db, 188 kB"},
		{`[0-9a-f]{64}`, "0123…"},
		{regexp.QuoteMeta(fmt.Sprintf("root (%d)", os.Getuid())), "cultivar (998)"},
		{`\d+m\d+s`, "5m0s"},
		{`within \d+s`, "within 1s"},
		{`lookup ([a-z.-]+)( on [0-9.:]+)?: .*`, "lookup $1: no such host"},
		{`doctor-\d+`, "doctor-1"},
	} {
		text = regexp.MustCompile(c.expression).ReplaceAllString(text, c.with)
	}
	return text
}

// one is the one check of that name, or the one that is not ok.
func one(t testing.TB, all []doctor.Check, name string) doctor.Check {
	t.Helper()
	var found []doctor.Check
	for _, c := range all {
		if c.Name == name {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d checks are called %s: %+v", len(found), name, all)
	}
	return found[0]
}

// expect compares a check with its state and parts of its texts.
func expect(t testing.TB, c doctor.Check, state doctor.State, text, remedy string) {
	t.Helper()
	if c.State != state || !strings.Contains(c.Text, text) || !strings.Contains(c.Remedy, remedy) || (c.Remedy == "") != (state == doctor.OK) {
		t.Errorf("got %+v, want %s with %q and %q", c, state, text, remedy)
	}
}

// rooted skips what only root can bring about.
func rooted(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to another account")
	}
}

func chown(t testing.TB, path string, uid int) {
	t.Helper()
	must(t, filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error { return errors.Join(err, os.Chown(p, uid, uid)) }))
}
