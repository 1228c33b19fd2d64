//go:build cluster

package clustertest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// hasty is how long a training of the profile of that name may take.
const hasty = 12 * time.Second

// The overlay of the tests: deploy/base with small machine sizes, static volumes where there is nobody to make them, and
// the way to the API server and back where there are no Services.
var overlay = template.Must(template.New("").Parse(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: {{.Namespace}}
resources: [{{.Base}}{{if .Bridge}}, volumes.yaml{{end}}]
images:
  - {name: cultivar-server, newTag: {{.Tag}}}
  - {name: cultivar-trainer, newTag: {{.Tag}}}
configMapGenerator:
  - {name: cultivar-config, behavior: replace, files: [config.yaml]}
secretGenerator:
  - {name: cultivar-deliver, literals: [dropbox-app-secret=secret, dropbox-refresh-token=refresh]}
patches:
  - target: {kind: Deployment, name: cultivar-server}
    patch: |
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: CULTIVAR_TEST, value: "1"}}
      - {op: replace, path: /spec/template/spec/containers/0/env/0/value, value: "cultivar-trainer:{{.Tag}}"}
{{- if .API}}
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: KUBERNETES_SERVICE_HOST, value: "{{.APIHost}}"}}
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: KUBERNETES_SERVICE_PORT, value: "{{.APIPort}}"}}
{{- end}}
{{- if .Bridge}}
  - target: {kind: PersistentVolumeClaim}
    patch: |
      - {op: add, path: /spec/storageClassName, value: ""}
  - target: {kind: PersistentVolumeClaim, name: cultivar-data}
    patch: |
      - {op: add, path: /spec/volumeName, value: {{.Namespace}}-data}
  - target: {kind: PersistentVolumeClaim, name: cultivar-volume}
    patch: |
      - {op: add, path: /spec/volumeName, value: {{.Namespace}}-volume}
{{- end}}
`))

var volumes = template.Must(template.New("").Parse(`{{range $name, $mode := .Volumes}}---
apiVersion: v1
kind: PersistentVolume
metadata: {name: {{$.Namespace}}-{{$name}}}
spec:
  accessModes: [{{$mode}}]
  capacity: {storage: 200Gi}
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  hostPath: {path: {{$.Dir}}/{{$name}}}
{{end}}`))

var settings = template.Must(template.New("").Parse(`data: /data
volume: /volume
bases: /volume/bases
listen: 0.0.0.0:8080
runner: kubernetes
slots: 2
tls: {terminated_by_proxy: true, trusted_proxies: [10.0.0.0/8, 127.0.0.0/8]}
callback: {listen: "0.0.0.0:8081", url: "{{.Callback}}"}
kubernetes:
  namespace: {{.Namespace}}
  service_account: cultivar-trainer
  claim: cultivar-volume
  image: cultivar-trainer:{{.Tag}}
  pull_policy: IfNotPresent
  pull_patience: 40s
  schedule_patience: 40s
  profiles:
    - {name: normal, cpu: "1", memory: 3Gi, scratch: 1Gi, deadline: 20m}
    - {name: small, cpu: 400m, memory: 2Gi, scratch: 1Gi, deadline: 20m}
    - {name: tiny, cpu: "1", memory: 300Mi, scratch: 1Gi, deadline: 20m}
    - {name: giant, cpu: "512", memory: 3Gi, scratch: 1Gi, deadline: 20m}
    - {name: hasty, cpu: "1", memory: 3Gi, scratch: 1Gi, deadline: {{.Hasty}}}
    - {name: no-image, cpu: "1", memory: 3Gi, scratch: 1Gi, deadline: 20m, image: "cultivar-trainer:none"}
scale_out: {images: {{.ScaleOut}}, parts: 4}
{{.Deliver}}`))

// deploy applies the overlay to a namespace of its own, which the test removes at its end.
func (c *cluster) deploy(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	base, err := filepath.Rel(dir, filepath.Join(c.root, "deploy", "base"))
	must(t, err)
	data := struct {
		*cluster
		Namespace, Base, Tag, Bridge, API, APIHost, APIPort, Dir, Callback, Deliver string
		Hasty                                                                       time.Duration
		ScaleOut                                                                    int
		Volumes                                                                     map[string]string
	}{
		cluster: c, Namespace: c.ns, Base: base, Tag: c.tag, Bridge: c.bridge, API: os.Getenv("CULTIVAR_TEST_API"),
		Callback: "http://cultivar-callback." + c.ns + ".svc:8081", Deliver: c.deliver, Hasty: hasty, ScaleOut: scaleOut,
	}
	data.APIHost, data.APIPort, _ = strings.Cut(data.API, ":")
	if c.bridge != "" {
		c.callback = listen(t, c.bridge+":0", func(ctx context.Context) (conn, error) { return c.dial(ctx, 8081) })
		data.Callback = c.callback.url()
		data.Dir, data.Volumes = c.hostFolder(t), map[string]string{"data": "ReadWriteOnce", "volume": "ReadWriteMany"}
		render(t, volumes, filepath.Join(dir, "volumes.yaml"), data)
	}
	render(t, settings, filepath.Join(dir, "config.yaml"), data)
	render(t, overlay, filepath.Join(dir, "kustomization.yaml"), data)
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsNone
	objects, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
	must(t, err)
	t.Cleanup(func() { c.remove(t) })
	for _, r := range objects.Resources() {
		text, err := r.AsYAML()
		must(t, err)
		c.apply(t, text)
		if r.GetKind() == "Namespace" {
			eventually(t, time.Minute, "the namespace's default account", func() bool {
				_, err := c.kube.CoreV1().ServiceAccounts(c.ns).Get(t.Context(), "default", metav1.GetOptions{})
				return err == nil
			})
		}
	}
}

// hostFolder makes the folders behind the static volumes, owned by the account that the pods run as.
func (c *cluster) hostFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cultivar-cluster-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755)) //nolint:gosec // the pods' account must come through
	for _, name := range []string{"data", "volume"} {
		sub := filepath.Join(dir, name)
		must(t, os.Mkdir(sub, 0o700))
		must(t, os.Chown(sub, 65532, 65532))
	}
	c.volume = filepath.Join(dir, "volume")
	return dir
}

func render(t *testing.T, tmpl *template.Template, name string, data any) {
	t.Helper()
	var b bytes.Buffer
	must(t, tmpl.Execute(&b, data))
	must(t, os.WriteFile(name, b.Bytes(), 0o600))
}

// apply creates an object, strictly: a field that the cluster does not know is an error.
func (c *cluster) apply(t *testing.T, text []byte) {
	t.Helper()
	var u unstructured.Unstructured
	must(t, yaml.Unmarshal(text, &u.Object))
	r, err := c.resource(&u)
	must(t, err)
	_, err = r.Create(t.Context(), &u, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("create %s %s: %v", u.GetKind(), u.GetName(), err)
	}
}

func (c *cluster) resource(u *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	groups, err := restmapper.GetAPIGroupResources(c.kube.Discovery())
	if err != nil {
		return nil, err
	}
	m, err := restmapper.NewDiscoveryRESTMapper(groups).RESTMapping(u.GroupVersionKind().GroupKind(), u.GroupVersionKind().Version)
	if err != nil {
		return nil, err
	}
	d, err := dynamic.NewForConfig(c.rest)
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return d.Resource(m.Resource).Namespace(u.GetNamespace()), nil
	}
	return d.Resource(m.Resource), nil
}

// remove deletes the namespace and waits until it has gone, which no finalizer of ours may hold up.
func (c *cluster) remove(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	if t.Failed() {
		c.tellWhy(ctx, t)
	}
	_ = c.kube.CoreV1().Namespaces().Delete(ctx, c.ns, metav1.DeleteOptions{})
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if _, err := c.kube.CoreV1().Namespaces().Get(ctx, c.ns, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			break
		}
		<-tick.C
	}
	if ctx.Err() != nil {
		t.Errorf("the namespace %s did not go", c.ns)
	}
	for _, name := range []string{"data", "volume"} {
		_ = c.kube.CoreV1().PersistentVolumes().Delete(context.Background(), c.ns+"-"+name, metav1.DeleteOptions{})
	}
}

// tellWhy logs what the server said and what the cluster says of its pods.
func (c *cluster) tellWhy(ctx context.Context, t *testing.T) {
	pods, err := c.kube.CoreV1().Pods(c.ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	for _, p := range pods.Items {
		status, _ := yaml.Marshal(p.Status.ContainerStatuses)
		t.Logf("pod %s: %s %s\n%s", p.Name, p.Status.Phase, p.Status.Message, status)
		tail := int64(60)
		if log, err := c.kube.CoreV1().Pods(c.ns).GetLogs(p.Name, &corev1.PodLogOptions{TailLines: &tail}).DoRaw(ctx); err == nil {
			t.Logf("log of %s:\n%s", p.Name, log)
		}
	}
	events, err := c.kube.CoreV1().Events(c.ns).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		return
	}
	for _, e := range events.Items {
		t.Log(fmt.Sprintf("event %s %s: %s", e.InvolvedObject.Name, e.Reason, e.Message))
	}
}
