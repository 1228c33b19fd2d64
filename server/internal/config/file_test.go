package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
)

const cluster = `
data: /data
volume: /volume
listen: 0.0.0.0:8080
hosts: [cultivar.example.org]
runner: kubernetes
idle_exit: 90s
tls:
  terminated_by_proxy: true
  trusted_proxies: [10.0.0.0/8]
callback:
  url: http://cultivar-callback.cultivar.svc:8081
kubernetes:
  image: trainer@sha256:0
  claim: cultivar-volume
  profiles:
    - {name: standard, cpu: "2", memory: 4Gi, deadline: 24h}
    - {name: gpu, cpu: 500m, memory: 16G, gpus: 1, deadline: 90m}
    - {name: named, description: the big one}
deliver:
  dropbox: {app_key: k, app_secret_file: /s, refresh_token_file: /r, link_expiry: 720h}
  mail: {from: a@example.org, smtp: {host: mail.example.org}}
`

func TestParseWhatIsPrinted(t *testing.T) {
	c, err := config.Parse([]byte(cluster))
	if err != nil {
		t.Fatal(err)
	}
	if c, err = c.Resolve(system(nil)); err != nil {
		t.Fatal(err)
	}
	if !c.Shared() || time.Duration(c.IdleExit) != 90*time.Second || c.Bases != "/volume/bases" || c.Callback.Listen != ":8081" {
		t.Errorf("resolved: %+v", c)
	}
	printed, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, err := config.Parse(printed)
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	if again, err = again.Resolve(system(nil)); err != nil {
		t.Fatal(err)
	}
	if second, err := again.YAML(); err != nil || string(second) != string(printed) {
		t.Errorf("%v\nread back\n%s\nprinted\n%s", err, second, printed)
	}
	if !strings.Contains(string(printed), "link_expiry: 720h\n") {
		t.Errorf("printed:\n%s", printed)
	}
}

func TestAbilities(t *testing.T) {
	c, err := config.Parse([]byte(cluster))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range c.Abilities().Profiles {
		got = append(got, p.Name+": "+p.Description)
	}
	want := "standard: 2 cores, 4 GiB, at most 24 h; gpu: 500/1000 core, 16 GB, 1 GPU, at most 90 min; named: the big one"
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]struct {
		bytes config.Size
		said  string
	}{"20GiB": {20 << 30, "20GiB"}, "20 gib": {20 << 30, "20GiB"}, "500GB": {500e9, "466GiB"}, "1073741824": {1 << 30, "1.0GiB"}} {
		c, err := config.Parse([]byte("features: " + text + "\n"))
		if err != nil || c.Features != want.bytes || c.Features.String() != want.said {
			t.Errorf("%s is %d bytes, told as %s (%v)", text, c.Features, c.Features, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"unknown key", "data: /d\nlisen: x\n", `line 2: there is no setting "lisen"; did you mean "listen"?`},
		{"unknown key inside", "kubernetes:\n  image: x\n  clam: y\n", `line 3: there is no setting "kubernetes.clam"; did you mean "kubernetes.claim"?`},
		{"unknown key in a list", "kubernetes:\n  profiles:\n    - {name: x, memmory: y}\n", `line 3: there is no setting "kubernetes.profiles.memmory"; did you mean "kubernetes.profiles.memory"?`},
		{"unknown key in a section that may be absent", "deliver:\n  mail:\n    smpt: {}\n", `line 3: there is no setting "deliver.mail.smpt"; did you mean "deliver.mail.smtp"?`},
		{"nothing near", "colour: red\n", `line 1: there is no setting "colour"`},
		{"twice", "data: a\ndata: b\n", "already defined at line 1"},
		{"no number", "slots: many\n", "line 1"},
		{"no duration", "idle_exit: soon\n", `line 1: "soon" is no time span; write it as 90s, 15m or 24h`},
		{"no size", "features: much\n", `line 1: "much" is no size; write it as 16GiB or 500GB`},
		{"size beyond all", "features: 10EiB\n", "is no size"},
		{"alias", "tls: &a {key: x}\ndeliver: *a\n", "line 2: aliases"},
		{"no YAML", "a: [", "line 1"},
		{"two documents", "data: /d\n---\ndata: /e\n", "several documents"},
		{"a list", "- a\n", "line 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := config.Parse([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "yaml:") {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
	if c, err := config.Parse([]byte("# nothing\n")); err != nil || !reflect.DeepEqual(c, config.Config{}) {
		t.Errorf("an empty file: %+v, %v", c, err)
	}
	if _, err := config.Load(filepath.Join(t.TempDir(), "absent.yaml")); err == nil {
		t.Error("an absent file was read")
	}
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(big); err == nil || !strings.Contains(err.Error(), "right file") {
		t.Errorf("a big file: %v", err)
	}
}

func TestResolveRefuses(t *testing.T) {
	base := "data: /d\n"
	shared := base + "listen: 0.0.0.0:80\ntls: {terminated_by_proxy: true, trusted_proxies: [10.0.0.0/8]}\n"
	kube := base + "runner: kubernetes\nkubernetes: {image: i, claim: c}\ncallback: {url: 'http://x:1'}\n"
	for _, c := range []struct{ name, file, want string }{
		{"plain and open", base + "listen: 0.0.0.0:80", "listen is 0.0.0.0:80: other machines could reach that address without encryption"},
		{"proxy nobody knows", base + "listen: 0.0.0.0:80\ntls: {terminated_by_proxy: true}", "tls.trusted_proxies, so anybody"},
		{"proxy is everybody", base + "tls: {terminated_by_proxy: true, trusted_proxies: [0.0.0.0/0]}\nlisten: 127.0.0.1:1", "which is everybody"},
		{"no network", base + "tls: {terminated_by_proxy: true, trusted_proxies: [10.0.0.1]}\nlisten: 127.0.0.1:1", "which is no network"},
		{"proxies without a proxy", base + "tls: {trusted_proxies: [10.0.0.0/8]}", "only with tls.terminated_by_proxy"},
		{"half a pair", base + "listen: 0.0.0.0:80\ntls: {certificate: /c}", "belong together"},
		{"both ways", base + "listen: 0.0.0.0:80\ntls: {certificate: /c, key: /k, terminated_by_proxy: true, trusted_proxies: [10.0.0.0/8]}", "leave one out"},
		{"socket with TLS", base + "tls: {certificate: /c, key: /k}", "tls is for connections from elsewhere"},
		{"host with port", shared + "hosts: ['example.org:80']", "without scheme and port"},
		{"host with scheme", shared + "hosts: ['https://example.org']", "without scheme and port"},
		{"unknown runner", base + "runner: slurm", `runner is "slurm"`},
		{"slots", base + "slots: -1", "slots is -1"},
		{"room for features", base + "features: 1023MiB", "features is 1023MiB, but fine-tuning needs at least 1.0GiB"},
		{"local scale-out", base + "scale_out: {images: 5}", "one machine only"},
		{"local callback for all", base + "callback: {listen: ':1'}", "callback.listen is :1"},
		{"callback address", base + "callback: {listen: x}", "callback.listen"},
		{"callback URL", base + "callback: {url: 'file:///x'}", "callback.url"},
		{"no image", strings.Replace(kube, "image: i, ", "", 1), "kubernetes.image is empty"},
		{"no claim", strings.Replace(kube, ", claim: c", "", 1), "kubernetes.claim is empty"},
		{"no callback URL", strings.Replace(kube, "http://x:1", "", 1), "callback.url is empty"},
		{"bases elsewhere", kube + "bases: /elsewhere", "pods see the volume only"},
		{"profiles of one name", strings.Replace(kube, "claim: c", "claim: c, profiles: [{name: a}, {name: a}]", 1), "kubernetes.profiles[1].name"},
		{"half a Dropbox", base + "deliver: {dropbox: {app_key: k}}", "deliver.dropbox.app_secret_file and deliver.dropbox.refresh_token_file is empty"},
		{"mail without a way", base + "deliver: {mail: {from: a@b.c}}", "one way to send"},
		{"mail two ways", base + "deliver: {mail: {from: a@b.c, sendgrid_key_file: /k, smtp: {host: h}}}", "one way to send"},
		{"SMTP without host", base + "deliver: {mail: {from: a@b.c, smtp: {port: 1}}}", "deliver.mail.smtp.host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed, err := config.Parse([]byte(c.file))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parsed.Resolve(system(nil)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
	for name, file := range map[string]string{"behind a proxy": shared, "cluster": kube} {
		parsed, err := config.Parse([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		if c, err := parsed.Resolve(system(nil)); err != nil || name == "behind a proxy" && len(c.Hosts) != 0 {
			t.Errorf("%s: %v, hosts %v", name, err, c.Hosts)
		}
	}
	local, err := config.Config{Data: "/d", Listen: "127.0.0.1:80"}.Resolve(system(nil))
	if err != nil || local.Shared() || len(local.Hosts) != 3 {
		t.Errorf("loopback: %+v, %v", local, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(cluster))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("tls: {? [x] : y}"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if c, err := config.Parse(b); err == nil {
			_, _ = c.Resolve(system(nil))
		}
	})
}
