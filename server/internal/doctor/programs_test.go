package doctor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/doctor"
)

func TestBases(t *testing.T) {
	for _, c := range []struct {
		name         string
		deep         bool
		change       func(i *installation, file string)
		state        doctor.State
		text, remedy string
	}{
		{name: "good", state: doctor.OK, text: "efficientnet_lite0 in "},
		{name: "good and hashed", deep: true, state: doctor.OK, text: "hashes are right"},
		{name: "none", change: func(i *installation, _ string) { must(i, os.RemoveAll(i.Config.Bases)) }, state: doctor.Failed, text: "none is installed", remedy: "bases install --to"},
		{
			name: "an empty list", change: func(i *installation, _ string) { write(i, filepath.Join(i.Config.Bases, "bases.json"), "[]", 0o600) },
			state: doctor.Failed, text: "lists none", remedy: "bases install --to",
		},
		{
			name: "no list", change: func(i *installation, _ string) { write(i, filepath.Join(i.Config.Bases, "bases.json"), "{", 0o600) },
			state: doctor.Failed, text: "is damaged: unexpected end", remedy: "Remove that file",
		},
		{
			name: "a name that leads elsewhere", change: func(i *installation, _ string) {
				write(i, filepath.Join(i.Config.Bases, "bases.json"), `[{"name":"x","file":"../../etc/passwd","sha256":""}]`, 0o600)
			},
			state: doctor.Failed, text: "which is not its SHA-256", remedy: "bases install --to",
		},
		{name: "file gone", change: func(i *installation, file string) { must(i, os.Remove(file)) }, state: doctor.Failed, text: "no such file", remedy: "bases install --to"},
		{name: "file cut", change: func(i *installation, file string) { must(i, os.Truncate(file, 600)) }, state: doctor.Failed, text: "has 600 bytes instead of ", remedy: "bases install --to"},
		{name: "file cut in its header", change: func(i *installation, file string) { must(i, os.Truncate(file, 20)) }, state: doctor.Failed, text: "is damaged: unexpected EOF", remedy: "bases install --to"},
		{name: "no weights", change: func(i *installation, file string) {
			must(i, os.WriteFile(file, []byte("something else entirely"), 0o400))
		}, state: doctor.Failed, text: "its header would have", remedy: "bases install --to"},
		{name: "a bit flipped, not hashed", change: flip, state: doctor.OK, text: "--deep compares"},
		{name: "a bit flipped", deep: true, change: flip, state: doctor.Failed, text: "is damaged: its SHA-256 is", remedy: "bases install --to"},
		{name: "on a cluster", change: func(i *installation, _ string) {
			must(i, os.RemoveAll(i.Config.Bases))
			i.Config.Runner = config.RunnerKubernetes
		}, state: doctor.Failed, text: "none is installed", remedy: "Run the Job cultivar-bases"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := install(t)
			i.Deep = c.deep
			if file := i.base("efficientnet_lite0", 1000); c.change != nil {
				must(t, os.Chmod(file, 0o600))
				c.change(i, file)
			}
			expect(t, one(t, doctor.Look(t, i.Options, "base models"), "base models"), c.state, c.text, c.remedy)
		})
	}
}

// flip changes a byte at the end of a file.
func flip(i *installation, file string) {
	b, err := os.ReadFile(file)
	must(i, err)
	b[len(b)-1] ^= 1
	must(i, os.WriteFile(file, b, 0o600))
}

func TestTrainer(t *testing.T) {
	script := func(s string) func(*installation) {
		return func(i *installation) { write(i, i.Config.Trainer, "#!/bin/sh\n"+s+"\n", 0o700) }
	}
	for _, c := range []struct {
		name         string
		change       func(*installation)
		state        doctor.State
		text, remedy string
	}{
		{"good", func(*installation) {}, doctor.OK, "is " + release + ", as the server", ""},
		{"another commit", script("echo 'cultivar-trainer version v1.2.3 (ffff)'"), doctor.OK, "from another commit", ""},
		{"another release", script("echo 'cultivar-trainer version v1.2.2 (ffff)'"), doctor.Warning, "is v1.2.2 (ffff), but this server is v1.2.3", "same release"},
		{"not there", func(i *installation) { must(i, os.Remove(i.Config.Trainer)) }, doctor.Failed, "is not there", "beside cultivar-server"},
		{"not executable", func(i *installation) { must(i, os.Chmod(i.Config.Trainer, 0o600)) }, doctor.Failed, "permission denied", "chmod 755"},
		{"a folder", func(i *installation) { i.Config.Trainer = i.dir }, doctor.Failed, "cannot be executed", "chmod 755"},
		{"lacks a library", script("echo 'loading shared libraries: libtensorflow.so.2' >&2; exit 127"), doctor.Failed, "exit status 127: loading shared libraries: libtensorflow.so.2", "../lib"},
		{"something else", script("echo hello"), doctor.Failed, `it answers "hello"`, "Install the trainer"},
		{"no program", func(i *installation) { write(i, i.Config.Trainer, "\x00\x01", 0o700) }, doctor.Failed, "exec format error", "Install the trainer"},
		{"sees no secret", script("echo \"cultivar-trainer version $CULTIVAR_TEST_SECRET\""), doctor.Failed, `it answers "cultivar-trainer version"`, "Install the trainer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("CULTIVAR_TEST_SECRET", "canary")
			i := install(t)
			c.change(i)
			expect(t, one(t, doctor.Look(t, i.Options, "trainer"), "trainer"), c.state, c.text, c.remedy)
		})
	}
}

func TestServer(t *testing.T) {
	for _, c := range []struct {
		name         string
		change       func(*installation)
		state        doctor.State
		text, remedy string
	}{
		{"none", func(*installation) {}, doctor.OK, "none runs", ""},
		{"never one", func(i *installation) { must(i, os.Remove(i.Lock)) }, doctor.OK, "none runs", ""},
		{"on a socket", func(i *installation) { i.serve(200, "ready\n") }, doctor.OK, "is ready on unix:", ""},
		{"on a port", func(i *installation) {
			i.Config.Listen = freePort(i)
			i.serve(200, "ready\n")
		}, doctor.OK, "is ready on 127.0.0.1:", ""},
		{"not ready", func(i *installation) { i.serve(500, `{"message":"Internal error."}`) }, doctor.Failed, "is not ready: Internal error.", "log"},
		{"not ready and no words", func(i *installation) { i.serve(503, "") }, doctor.Failed, "is not ready: 503 Service Unavailable", "log"},
		{"elsewhere", func(i *installation) {
			i.serve(200, "ready\n")
			i.Config.Listen = "127.0.0.1:1"
		}, doctor.Failed, "does not answer on 127.0.0.1:1: dial tcp", "--config"},
		{"a folder in place of the lock", func(i *installation) { i.Lock = filepath.Join(i.File, "lock") }, doctor.OK, "none runs", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := install(t)
			c.change(i)
			expect(t, one(t, doctor.Look(t, i.Options, "server"), "server"), c.state, c.text, c.remedy)
		})
	}
}

// freePort is an address that nobody listens on.
func freePort(i *installation) string {
	l, err := new(net.ListenConfig).Listen(i.Context(), "tcp", "127.0.0.1:0")
	must(i, err)
	must(i, l.Close())
	return l.Addr().String()
}

func TestCallback(t *testing.T) {
	for _, c := range []struct {
		name         string
		change       func(*installation)
		state        doctor.State
		text, remedy string
	}{
		{"never served", func(*installation) {}, doctor.OK, "which the server chooses when it first starts", ""},
		{"kept, and no server", func(i *installation) { write(i, filepath.Join(i.Config.Data, "callback.port"), "1\n", 0o600) }, doctor.OK, "http://127.0.0.1:1 does not answer, and no server runs", ""},
		{"kept, and it answers", func(i *installation) {
			port := i.callback()[strings.LastIndexByte(i.callback(), ':')+1:]
			write(i, filepath.Join(i.Config.Data, "callback.port"), port+"\n", 0o600)
		}, doctor.OK, " answers", ""},
		{"kept, and the server does not answer", func(i *installation) {
			i.serve(200, "")
			write(i, filepath.Join(i.Config.Data, "callback.port"), "1\n", 0o600)
		}, doctor.Warning, "could not be reached from here: dial tcp", "callback.listen"},
		{"a name nobody knows", func(i *installation) { i.Config.Callback.URL = "http://callback.invalid:8081" }, doctor.Failed, "that name is not known", "callback.url"},
		{"a name that only the cluster knows", func(i *installation) {
			onCluster(i, &apiServer{}, func(c *config.Config) { c.Callback.URL = "http://callback.invalid:8081" })
		}, doctor.Warning, "not known on this machine", "only its pods know"},
		{"a name that the cluster should know", func(i *installation) {
			onCluster(i, &apiServer{}, func(c *config.Config) { c.Callback.URL = "http://callback.invalid:8081" })
			i.Config.Kubernetes.Kubeconfig = ""
		}, doctor.Failed, "that name is not known", "cultivar-callback"},
		{"a service without a server", func(i *installation) {
			i.serve(200, "")
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
			i.Cleanup(s.Close)
			i.Config.Callback.URL = s.URL
		}, doctor.Warning, "503 Service Unavailable", "callback.listen"},
		{"kept from it by a policy", func(i *installation) {
			i.serve(200, "")
			i.Config.Callback = config.Callback{URL: "http://127.0.0.1:1", Listen: strings.TrimPrefix(i.callback(), "http://")}
		}, doctor.Warning, "the server listens on 127.0.0.1:", "network policy"},
		{"a certificate of nobody's", func(i *installation) {
			i.serve(200, "")
			s := httptest.NewTLSServer(http.NotFoundHandler())
			i.Cleanup(s.Close)
			i.Config.Callback.URL = s.URL
		}, doctor.Warning, "certificate signed by unknown authority", "trainer's image trusts"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := install(t)
			c.change(i)
			expect(t, one(t, doctor.Look(t, i.Options, "callback"), "callback"), c.state, c.text, c.remedy)
		})
	}
}

func TestSettings(t *testing.T) {
	shared := config.TLS{TerminatedByProxy: true, TrustedProxies: []string{"10.0.0.0/8"}}
	for _, c := range []struct {
		name         string
		change       func(*config.Config)
		text, remedy string // of the warning; both empty: there is none
	}{
		{"good", func(*config.Config) {}, "", ""},
		{"shared under a name", func(c *config.Config) { c.TLS, c.Hosts = shared, []string{"a.example.org"} }, "", ""},
		{"shared under any name", func(c *config.Config) { c.TLS = shared }, "hosts is empty", "Set hosts"},
		{"public under another name", func(c *config.Config) {
			c.TLS, c.Hosts, c.Deliver.PublicURL = shared, []string{"a.example.org"}, "https://b.example.org/"
		}, "b.example.org, a name that hosts does not have", "Add that name"},
		{"public under its name", func(c *config.Config) {
			c.TLS, c.Hosts, c.Deliver.PublicURL = shared, []string{"a.example.org"}, "https://A.example.org/"
		}, "", ""},
		{"ends when idle", func(c *config.Config) {
			c.TLS, c.Hosts, c.IdleExit = shared, []string{"a.example.org"}, config.Duration(10*time.Minute)
		}, "after 10m without a request", "Leave idle_exit out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := install(t)
			settings := i.Config
			settings.Listen = "127.0.0.1:8080"
			c.change(&settings)
			i.settle(settings)
			warned(t, doctor.Look(t, i.Options, "settings"), c.text, c.remedy)
		})
	}
	for _, c := range []struct{ image, text string }{
		{"registry:5000/trainer", "another image tomorrow"},
		{"trainer:latest", "another image tomorrow"},
		{"registry:5000/trainer:v1", ""},
		{"trainer@sha256:00", ""},
	} {
		t.Run(c.image, func(t *testing.T) {
			i := install(t)
			onCluster(i, &apiServer{T: t}, func(s *config.Config) { s.Kubernetes.Image = c.image })
			warned(t, doctor.Look(t, i.Options, "settings"), c.text, "digest")
		})
	}
}

func TestUnusableSettings(t *testing.T) {
	_, err := config.Config{Data: "/srv", Runner: "cloud", Slots: -1}.Resolve(config.System{Getenv: func(string) string { return "" }, Exists: func(string) bool { return false }})
	all := doctor.Unusable(err)
	if len(all) != 2 {
		t.Fatalf("got %+v", all)
	}
	expect(t, all[0], doctor.Failed, "slots is -1", "nothing else can be looked at")
	expect(t, all[1], doctor.Failed, `runner is "cloud"`, "nothing else can be looked at")
}

func warned(t *testing.T, all []doctor.Check, text, remedy string) {
	t.Helper()
	var warnings []doctor.Check
	for _, c := range all {
		if c.State != doctor.OK {
			warnings = append(warnings, c)
		}
	}
	if text == "" {
		if len(warnings) > 0 {
			t.Errorf("got %+v", warnings)
		}
		return
	}
	expect(t, one(t, warnings, "settings"), doctor.Warning, text, remedy)
}

func TestCertificate(t *testing.T) {
	now := time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	for _, c := range []struct {
		name         string
		from, to     time.Time
		state        doctor.State
		text, remedy string
	}{
		{"good", now.Add(-time.Hour), now.AddDate(0, 3, 0), doctor.OK, "for cultivar.example.org", ""},
		{"ends soon", now.Add(-time.Hour), now.AddDate(0, 0, 13), doctor.Warning, "ends on", "Renew"},
		{"ended", now.AddDate(0, -3, 0), now.Add(-time.Minute), doctor.Failed, "nobody's program connects", "Renew"},
		{"not yet", now.Add(time.Hour), now.AddDate(0, 3, 0), doctor.Failed, "only", "clock"},
	} {
		t.Run(c.name, func(t *testing.T) {
			template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: c.from, NotAfter: c.to, DNSNames: []string{"cultivar.example.org"}}
			der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
			must(t, err)
			s := config.TLS{
				Certificate: write(t, filepath.Join(t.TempDir(), "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o600),
				Key:         write(t, filepath.Join(t.TempDir(), "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), 0o600),
			}
			expect(t, doctor.Certificate(s, now), c.state, c.text, c.remedy)
			s.Key = "/not/there"
			expect(t, doctor.Certificate(s, now), doctor.Failed, "/not/there", "PEM")
		})
	}
}
