//go:build cluster

package deploytest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// access reaches the cluster to test with. A missing one fails: this file is built only when it is meant to run.
func access(t *testing.T) *rest.Config {
	t.Helper()
	path := os.Getenv("CULTIVAR_TEST_KUBECONFIG")
	if path == "" {
		t.Fatal("CULTIVAR_TEST_KUBECONFIG names no cluster")
	}
	c, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// namespaced puts a kustomization into another namespace and renders it.
func namespaced(t *testing.T, dir, ns string) []manifest {
	t.Helper()
	own := t.TempDir()
	from, err := filepath.EvalSymlinks(own)
	if err != nil {
		t.Fatal(err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(from, abs)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: %s\nresources: [%s]\n", ns, rel)
	if err := os.WriteFile(filepath.Join(own, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return render(t, own)
}

// TestClusterTakesEveryOverlay asks a real API server, with admission, to apply every object strictly; the namespace is
// made and removed, of the rest nothing stays.
func TestClusterTakesEveryOverlay(t *testing.T) {
	c := access(t)
	client, err := dynamic.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	kube := kubernetes.NewForConfigOrDie(c)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kube.Discovery()))
	for name, dir := range kustomizations(t) {
		t.Run(name, func(t *testing.T) {
			ns := fmt.Sprintf("deploytest-%s-%d", name, time.Now().UnixNano()%1e6)
			all := namespaced(t, dir, ns)
			for _, m := range all {
				var o unstructured.Unstructured
				if err := yaml.Unmarshal(m.yaml, &o.Object); err != nil {
					t.Fatal(err)
				}
				mapping, err := mapper.RESTMapping(m.kind.GroupKind(), m.kind.Version)
				var unknown *meta.NoKindMatchError
				if errors.As(err, &unknown) && otherKinds()[m.kind] != nil {
					t.Logf("NOT CHECKED: the cluster does not know %s", m.kind)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				options := metav1.PatchOptions{FieldManager: "deploytest", FieldValidation: "Strict", DryRun: []string{metav1.DryRunAll}}
				var to dynamic.ResourceInterface = client.Resource(mapping.Resource)
				switch {
				case m.kind.Kind == "Namespace":
					options.DryRun = nil
					t.Cleanup(func() {
						if err := kube.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), ns, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
							t.Error(err)
						}
					})
				case mapping.Scope.Name() == meta.RESTScopeNameNamespace:
					to = client.Resource(mapping.Resource).Namespace(o.GetNamespace())
				}
				if _, err := to.Patch(t.Context(), m.name, types.ApplyPatchType, m.yaml, options); err != nil {
					t.Errorf("%s %s: %v", m.kind.Kind, m.name, err)
				}
			}
		})
	}
}

// TestClusterRefusesAPodThatIsNotRestricted shows that the namespace's labels have their effect: without it the checks
// above would say nothing.
func TestClusterRefusesAPodThatIsNotRestricted(t *testing.T) {
	kube := kubernetes.NewForConfigOrDie(access(t))
	all := render(t, kustomizations(t)["base"])
	ns := one[*corev1.Namespace](t, all, "cultivar")
	ns.Name = fmt.Sprintf("deploytest-%d", time.Now().UnixNano()%1e6)
	if _, err := kube.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = kube.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), ns.Name, metav1.DeleteOptions{})
	}()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "cultivar-server"}}
	if _, err := kube.CoreV1().ServiceAccounts(ns.Name).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: templates(t, all)["cultivar-server"].Spec}
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	if _, err := kube.CoreV1().Pods(ns.Name).Create(t.Context(), pod, dry); err != nil {
		t.Errorf("the server's pod is refused: %v", err)
	}
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}})
	if _, err := kube.CoreV1().Pods(ns.Name).Create(t.Context(), pod, dry); err == nil || !strings.Contains(err.Error(), "PodSecurity") {
		t.Errorf("a pod with a folder of the node: %v", err)
	}
}

// TestClusterGrantsTheServerNoMore asks the cluster's own authorizer.
func TestClusterGrantsTheServerNoMore(t *testing.T) {
	c := access(t)
	kube := kubernetes.NewForConfigOrDie(c)
	ns := fmt.Sprintf("deploytest-%d", time.Now().UnixNano()%1e6)
	client, err := dynamic.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	resources := map[string]string{"Namespace": "namespaces", "ServiceAccount": "serviceaccounts", "Role": "roles", "RoleBinding": "rolebindings"}
	for _, m := range namespaced(t, kustomizations(t)["base"], ns) {
		if resources[m.kind.Kind] == "" {
			continue
		}
		var to dynamic.ResourceInterface = client.Resource(m.kind.GroupVersion().WithResource(resources[m.kind.Kind]))
		if m.kind.Kind != "Namespace" {
			to = client.Resource(m.kind.GroupVersion().WithResource(resources[m.kind.Kind])).Namespace(ns)
		}
		if _, err := to.Patch(t.Context(), m.name, types.ApplyPatchType, m.yaml, metav1.PatchOptions{FieldManager: "deploytest"}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_ = kube.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), ns, metav1.DeleteOptions{})
	})
	for _, ask := range []struct {
		account, verb, group, resource, sub string
		want                                bool
	}{
		{"cultivar-server", "create", "batch", "jobs", "", true},
		{"cultivar-server", "delete", "batch", "jobs", "", true},
		{"cultivar-server", "watch", "", "pods", "", true},
		{"cultivar-server", "get", "", "pods", "log", true},
		{"cultivar-server", "list", "", "events", "", true},
		{"cultivar-server", "patch", "batch", "jobs", "", false},
		{"cultivar-server", "create", "", "pods", "", false},
		{"cultivar-server", "delete", "", "pods", "", false},
		{"cultivar-server", "create", "", "pods", "exec", false},
		{"cultivar-server", "get", "", "secrets", "", false},
		{"cultivar-server", "list", "", "configmaps", "", false},
		{"cultivar-server", "get", "", "nodes", "", false},
		{"cultivar-server", "create", "", "serviceaccounts", "token", false},
		{"cultivar-trainer", "get", "", "pods", "", false},
		{"cultivar-trainer", "list", "batch", "jobs", "", false},
	} {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:" + ns + ":" + ask.account, Groups: []string{"system:serviceaccounts", "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: ns, Verb: ask.verb, Group: ask.group, Resource: ask.resource, Subresource: ask.sub},
		}}
		deadline := time.Now().Add(10 * time.Second) // the authorizer learns of a new binding by a watch
		for {
			got, err := kube.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Status.Allowed == ask.want {
				break
			}
			if time.Now().After(deadline) || !ask.want {
				t.Errorf("%+v: the cluster says %t", ask, got.Status.Allowed)
				break
			}
		}
	}
}
