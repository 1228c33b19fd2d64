package deploytest_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/cultivar-ml/cultivar/server/internal/config"
)

// settings are what the server in a kustomization's pod works with.
func settings(t *testing.T, all []manifest) config.Config {
	t.Helper()
	server := templates(t, all)["cultivar-server"].Spec
	name := mounted(server, "/etc/cultivar").ConfigMap.Name
	if !strings.HasPrefix(name, "cultivar-config-") {
		t.Errorf("the server mounts ConfigMap %s, which has no hash: a changed setting would not roll it", name)
	}
	c, err := config.Parse([]byte(one[*corev1.ConfigMap](t, all, name).Data["config.yaml"]))
	if err != nil {
		t.Fatal(err)
	}
	resolved, err := c.Resolve(config.System{
		Getenv: func(key string) string {
			for _, e := range server.Containers[0].Env {
				if e.Name == key {
					return e.Value
				}
			}
			return ""
		},
		Executable: "/cultivar-server", Home: "/tmp", Exists: func(string) bool { return false },
	})
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}

func TestSettingsFitTheManifests(t *testing.T) {
	every(t, func(t *testing.T, name string, all []manifest) {
		c, pods := settings(t, all), templates(t, all)
		server, bases := pods["cultivar-server"].Spec, pods["cultivar-bases"].Spec
		ports := map[string]bool{}
		for _, p := range server.Containers[0].Ports {
			ports["0.0.0.0:"+strconv.Itoa(int(p.ContainerPort))] = true
		}
		if !ports[c.Listen] || !ports[c.Callback.Listen] || c.Listen == c.Callback.Listen {
			t.Errorf("the server listens on %s and %s, the pod opens %v", c.Listen, c.Callback.Listen, ports)
		}
		callback := one[*corev1.Service](t, all, "cultivar-callback")
		if want := "http://" + callback.Name + "." + callback.Namespace + ".svc:" + strconv.Itoa(int(callback.Spec.Ports[0].Port)); c.Callback.URL != want {
			t.Errorf("trainers report to %s, want %s", c.Callback.URL, want)
		}
		if mounted(server, c.Data).Name == "" || mounted(server, c.Volume).PersistentVolumeClaim.ClaimName != c.Kubernetes.Claim {
			t.Errorf("data is %s, volume %s of claim %s, but the pod mounts %v", c.Data, c.Volume, c.Kubernetes.Claim, server.Containers[0].VolumeMounts)
		}
		args := bases.Containers[0].Args
		if c.Bases != args[len(args)-1] || mounted(bases, filepath.Dir(c.Bases)).PersistentVolumeClaim.ClaimName != c.Kubernetes.Claim {
			t.Errorf("the server looks for bases in %s, the Job puts them into %s", c.Bases, args[len(args)-1])
		}
		one[*corev1.ServiceAccount](t, all, c.Kubernetes.ServiceAccount)
		if c.Kubernetes.Namespace != callback.Namespace || !c.TLS.TerminatedByProxy || c.Runner != config.RunnerKubernetes {
			t.Errorf("%+v", c)
		}
		if name != "base" && c.Kubernetes.Image != bases.Containers[0].Image {
			t.Errorf("trainers run %q, the bases come from %q", c.Kubernetes.Image, bases.Containers[0].Image)
		}
		if got := strings.Join(server.Containers[0].Args, " "); got != "serve --config /etc/cultivar/config.yaml" {
			t.Errorf("the server is started with %q", got)
		}
		gpus := 0
		for _, p := range c.Kubernetes.Profiles {
			gpus += p.GPUs
		}
		if (gpus > 0) != (name == "gpu") || (c.Kubernetes.Queue != "") != (name == "kueue") {
			t.Errorf("%d GPUs, queue %q", gpus, c.Kubernetes.Queue)
		}
	})
}
