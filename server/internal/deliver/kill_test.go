package deliver_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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

// build makes a command of delivertest.
func build(t *testing.T, name string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	args := append(append([]string{"build"}, flags...), "-o", out, "./delivertest/cmd/"+name)
	if b, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, b)
	}
	return out
}

// doubles are the process with the Dropbox account and the mail server.
type doubles struct {
	Dropbox string `json:"dropbox"`
	Port    int    `json:"smtp_port"`
	mails   string
}

func startDoubles(t *testing.T, program string, flags ...string) doubles {
	t.Helper()
	d := doubles{mails: t.TempDir()}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"--files", t.TempDir(), "--mails", d.mails, "--tls", "none"}, flags...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if err := json.NewDecoder(out).Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d doubles) state(t *testing.T) (s dropboxtest.State) {
	t.Helper()
	res, err := http.Get(d.Dropbox + "/state")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// outbox is a folder with a database in which a run has just ended, and the model.
func outbox(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"secret": "app-secret", "token": "refresh-token"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := store.Open(t.Context(), filepath.Join(dir, "db"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := deliver.New(deliver.Options{Store: db, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now, Config: config.Deliver{
		Dropbox: &config.Dropbox{AppKey: "key", AppSecretFile: "f", RefreshTokenFile: "f"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := delivertest.Begin(t.Context(), db, "r1", toAda); err != nil {
		t.Fatal(err)
	}
	a, err := delivertest.Model(dir, "r1", make([]byte, 4500))
	if err != nil {
		t.Fatal(err)
	}
	if err := delivertest.End(t.Context(), db, s, "r1", api.StateSucceeded, a); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestKilledAnywhere kills the worker at each step of a link and a mail, and lets another go on: one file, one link, no
// more than one repeated mail, and nothing lost.
func TestKilledAnywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and kills processes")
	}
	worker, double := build(t, "worker", "-tags", "failpoints"), build(t, "doubles")
	for _, c := range []struct {
		at    []string // places, one after the other
		mails int      // at most
		extra []string
	}{
		{at: []string{""}, mails: 1},
		{at: []string{"deliver.leased"}, mails: 1},
		{at: []string{"deliver.leased:2"}, mails: 1},
		{at: []string{"deliver.link.started"}, mails: 1},
		{at: []string{"deliver.link.block"}, mails: 1},
		{at: []string{"deliver.link.block:5"}, mails: 1},
		{at: []string{"deliver.link.kept"}, mails: 1},
		{at: []string{"deliver.link.kept:3"}, mails: 1},
		{at: []string{"deliver.link.finished"}, mails: 1},
		{at: []string{"deliver.link.shared"}, mails: 1},
		{at: []string{"deliver.settled"}, mails: 1},
		{at: []string{"deliver.mail.about"}, mails: 1},
		{at: []string{"deliver.mail.sent"}, mails: 2},
		{at: []string{"deliver.settled:2"}, mails: 1},
		{at: []string{"deliver.link.block:2", "deliver.link.block:2", "deliver.link.finished", "deliver.link.shared", "deliver.mail.about", "deliver.mail.sent"}, mails: 2},
		{at: []string{"deliver.link.block:2", "deliver.mail.about"}, mails: 2, extra: []string{"--lose", "5", "--hang-ups", "1"}},
	} {
		t.Run(strings.Join(append(c.at, c.extra...), " "), func(t *testing.T) {
			t.Parallel()
			d, dir := startDoubles(t, double, c.extra...), outbox(t)
			since := strconv.FormatInt(time.Now().UnixMilli(), 10)
			for _, place := range append(c.at, "") {
				work(t, worker, place, "--dir", dir, "--dropbox", d.Dropbox, "--smtp", strconv.Itoa(d.Port), "--since", since, "--speed", "600")
			}
			st := d.state(t)
			if len(st.Files) != 1 || len(st.Links) != 1 || st.Created != 1 || st.Finished != 1 {
				t.Errorf("got %+v, want one file and one link", st)
			}
			mails, err := smtptest.Mails(d.mails)
			if err != nil || len(mails) < 1 || len(mails) > c.mails {
				t.Errorf("%d mails came, %v, want 1 to %d", len(mails), err, c.mails)
			}
			for _, m := range mails {
				if _, plain, _ := parse(t, m); !strings.Contains(plain, st.Links[0].URL) {
					t.Errorf("the link is not in\n%s", plain)
				}
			}
			delivered(t, dir)
		})
	}
}

// work runs the worker, which must be killed at the place, or come to its end when there is none.
func work(t *testing.T, program, place string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "CULTIVAR_FAILPOINT="+place)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL && ctx.Err() == nil
	if killed != (place != "") || (err != nil && !killed) {
		t.Fatalf("at %q: killed is %t, %v\n%s", place, killed, err, out)
	}
}

func delivered(t *testing.T, dir string) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(dir, "db"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all, err := db.Deliveries(t.Context(), delivertest.User, "r1")
	if err != nil || len(all) != 2 {
		t.Fatalf("got %+v, %v", all, err)
	}
	for _, d := range all {
		if d.State != api.DeliveryDelivered {
			t.Errorf("%s is %s: %s", d.Kind, d.State, d.Reason)
		}
	}
}
