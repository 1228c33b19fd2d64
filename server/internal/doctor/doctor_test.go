package doctor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/dropboxtest"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/smtptest"
	"github.com/cultivar-ml/cultivar/server/internal/doctor"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares what an admin reads.
func golden(i *installation, name string) {
	i.Helper()
	var b bytes.Buffer
	for _, c := range i.examine() {
		must(i, c.Print(&b))
	}
	got, path := i.constant(b.String()), filepath.Join("testdata", name+".txt")
	if *update {
		must(i, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(i, err)
	if got != string(want) {
		i.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestHealthy(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		i := install(t)
		i.deliveries(dropboxtest.Options{}, smtptest.Options{})
		i.Config.Callback.URL = i.callback()
		i.serve(http.StatusOK, "ready\n")
		golden(i, "healthy-local")
	})
	t.Run("kubernetes", func(t *testing.T) {
		rooted(t)
		i := install(t)
		onCluster(i, &apiServer{T: t}, func(c *config.Config) {
			c.TLS, c.Hosts = config.TLS{TerminatedByProxy: true, TrustedProxies: []string{"127.0.0.1/32"}}, []string{"cultivar.example.org"}
			c.Listen = "127.0.0.1:18080"
			write(t, filepath.Join(i.dir, "users", "ada", "packs", "x"), "", 0o600)
		})
		chown(t, i.dir, 65532)
		golden(i, "healthy-kubernetes")
	})
}

func TestBroken(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		i := install(t)
		i.deliveries(dropboxtest.Options{Lacks: []string{"sharing.write"}}, smtptest.Options{Password: "other"})
		i.Config.Callback.URL = "http://127.0.0.1:1"
		i.serve(http.StatusInternalServerError, `{"code":"internal","message":"Internal error. The server's log tells more under the request id 4f2a."}`)
		damage(t, i.Database)
		write(t, i.base("efficientnet_lite0", 1000)+"x", "", 0o600)
		must(t, os.Truncate(i.base("efficientnet_lite0", 1000), 500))
		must(t, os.RemoveAll(i.Config.Volume))
		write(t, i.Config.Volume, "no folder", 0o600)
		write(t, i.Config.Trainer, "#!/bin/sh\necho 'error while loading shared libraries: libtensorflow.so.2' >&2\nexit 127\n", 0o700)
		golden(i, "broken-local")
	})
	t.Run("kubernetes", func(t *testing.T) {
		rooted(t)
		i := install(t)
		a := &apiServer{T: t, denied: []string{"create jobs", "list events"}, ahead: 5 * time.Minute, keys: `{"keys":[]}`}
		onCluster(i, a, func(c *config.Config) {
			c.TLS = config.TLS{TerminatedByProxy: true, TrustedProxies: []string{"127.0.0.1/32"}}
			c.Listen = "127.0.0.1:18081"
			c.Kubernetes.Profiles, c.Kubernetes.Image = nil, "cultivar-trainer"
			c.Callback.URL = "http://cultivar-callback.invalid:8081"
			c.Deliver.PublicURL = "https://cultivar.example.org"
		})
		must(t, os.MkdirAll(filepath.Join(i.dir, "users", "ada", "features"), 0o755))
		must(t, os.Remove(filepath.Join(i.dir, "bases", "bases.json")))
		chown(t, i.dir, 65532)
		must(t, os.Chown(filepath.Join(i.dir, "users", "ada", "features"), 0, 0))
		must(t, os.Chown(i.Database, 0, 0))
		golden(i, "broken-kubernetes")
	})
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	must(t, doctor.Check{Name: "data folder", State: doctor.Failed, Text: "a <b>", Remedy: "c"}.PrintJSON(&b))
	must(t, doctor.Check{Name: "mail", State: doctor.OK, Text: "d"}.PrintJSON(&b))
	want := `{"message_type":"check","check":"data folder","state":"failed","text":"a <b>","remedy":"c"}
{"message_type":"check","check":"mail","state":"ok","text":"d"}
`
	if b.String() != want {
		t.Errorf("got %s", b.String())
	}
	var one map[string]string
	must(t, json.NewDecoder(&b).Decode(&one))
}

// TestHangs: a group that hangs in the system costs its time and no more, and the others' answers are not lost.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		began := time.Now()
		got := <-doctor.Hang(t.Context(), time.Minute, release)
		if took := time.Since(began); len(got) != 1 || took != time.Minute+doctor.Grace {
			t.Fatalf("got %+v after %s", got, took)
		}
		expect(t, got[0], doctor.Failed, "nothing answered within 1m0s", "Do this.")
		close(release)
	})
}

// TestBrokenOff: told to end, it ends, and has removed what it wrote.
func TestBrokenOff(t *testing.T) {
	i := install(t)
	before := len(i.tree())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := 0
	doctor.Run(ctx, i.Options, func(doctor.Check) { n++ })
	if after := len(i.tree()); after != before || n == 0 {
		t.Errorf("%d files before, %d after, %d checks", before, after, n)
	}
}

// TestNamesFromOutside: whatever a name holds, each text is one line without control characters.
func TestNamesFromOutside(t *testing.T) {
	i := install(t)
	write(t, filepath.Join(i.dir, "bases", "bases.json"), `[{"name":"a\u001b[31m\nFAILED","file":"\u202e"}]`, 0o600)
	for _, c := range i.examine() {
		if strings.ContainsAny(c.Text+c.Remedy, "\n\x1b\u202e") {
			t.Errorf("got %+q", c)
		}
	}
}
