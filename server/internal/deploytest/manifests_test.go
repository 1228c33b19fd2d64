package deploytest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	psapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

const (
	nameLabel = "app.kubernetes.io/name"
	uid       = 65532
)

// templates are the pods that a kustomization makes, by the name of what makes them.
func templates(t *testing.T, all []manifest) map[string]corev1.PodTemplateSpec {
	t.Helper()
	pods := map[string]corev1.PodTemplateSpec{}
	for _, d := range of[*appsv1.Deployment](all) {
		pods[d.Name] = d.Spec.Template
	}
	for _, j := range of[*batchv1.Job](all) {
		pods[j.Name] = j.Spec.Template
	}
	for _, m := range all {
		switch m.typed.(type) {
		case *appsv1.StatefulSet, *appsv1.DaemonSet, *corev1.Pod, *batchv1.CronJob:
			t.Errorf("%s %s is not looked at by these tests", m.kind.Kind, m.name)
		}
	}
	return pods
}

func TestPodsAreRestricted(t *testing.T) {
	checks, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := psapi.LevelVersion{Level: psapi.LevelRestricted, Version: psapi.LatestVersion()}
	every(t, func(t *testing.T, _ string, all []manifest) {
		pods := templates(t, all)
		if len(pods) != 2 {
			t.Errorf("pods of %v, want those of cultivar-server and cultivar-bases", pods)
		}
		for name, pod := range pods {
			if r := policy.AggregateCheckResults(checks.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec)); !r.Allowed {
				t.Errorf("%s: %s", name, r.ForbiddenDetail())
			}
			hardened(t, name, pod.Spec)
		}
		ns := one[*corev1.Namespace](t, all, "cultivar")
		if got := ns.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
			t.Errorf("the namespace enforces %q", got)
		}
		for _, m := range all {
			if m.ns != "cultivar" && !slices.Contains([]string{"Namespace", "PersistentVolume", "StorageClass", "ResourceFlavor", "ClusterQueue"}, m.kind.Kind) {
				t.Errorf("%s %s is in namespace %q", m.kind.Kind, m.name, m.ns)
			}
		}
	})
}

// hardened asks for more than the level restricted does.
func hardened(t *testing.T, name string, pod corev1.PodSpec) {
	t.Helper()
	sc := pod.SecurityContext
	if *sc.RunAsUser != uid || *sc.RunAsGroup != uid || *sc.FSGroup != uid || *sc.FSGroupChangePolicy != corev1.FSGroupChangeOnRootMismatch {
		t.Errorf("%s: runs as %+v", name, sc)
	}
	if *pod.AutomountServiceAccountToken != (name == "cultivar-server") || *pod.EnableServiceLinks {
		t.Errorf("%s: a token or the services' addresses are put into the pod", name)
	}
	for _, c := range append(pod.InitContainers, pod.Containers...) {
		if !*c.SecurityContext.ReadOnlyRootFilesystem {
			t.Errorf("%s: the root filesystem can be written", name)
		}
		if c.Resources.Limits.Memory().IsZero() || !c.Resources.Limits.Memory().Equal(*c.Resources.Requests.Memory()) {
			t.Errorf("%s: memory %v, want the limit to be what is requested", name, c.Resources)
		}
		if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/tmp" }) {
			t.Errorf("%s: there is no /tmp to write to", name)
		}
	}
	for _, v := range pod.Volumes {
		if v.EmptyDir != nil && v.EmptyDir.SizeLimit.IsZero() {
			t.Errorf("%s: the folder %s has no limit", name, v.Name)
		}
	}
}

func TestServersRightsAreExactlyThese(t *testing.T) {
	want := []rbacv1.PolicyRule{
		{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"get", "list", "watch", "create", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"pods/log"}, Verbs: []string{"get"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"list"}},
	}
	every(t, func(t *testing.T, _ string, all []manifest) {
		roles, bindings := of[*rbacv1.Role](all), of[*rbacv1.RoleBinding](all)
		if len(roles) != 1 || len(bindings) != 1 || len(of[*rbacv1.ClusterRole](all))+len(of[*rbacv1.ClusterRoleBinding](all)) != 0 {
			t.Fatalf("%d roles and %d bindings, want one each and none of the cluster", len(roles), len(bindings))
		}
		if !reflect.DeepEqual(roles[0].Rules, want) {
			t.Errorf("rights %+v, want %+v", roles[0].Rules, want)
		}
		subject := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "cultivar-server", Namespace: "cultivar"}}
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: roles[0].Name}
		if !reflect.DeepEqual(bindings[0].Subjects, subject) || bindings[0].RoleRef != ref {
			t.Errorf("bound: %+v", bindings[0])
		}
		for _, name := range []string{"cultivar-server", "cultivar-trainer"} {
			if account := one[*corev1.ServiceAccount](t, all, name); *account.AutomountServiceAccountToken {
				t.Errorf("every pod of %s would get a token", name)
			}
		}
	})
}

func TestDatabaseHasADiskOfItsOwn(t *testing.T) {
	every(t, func(t *testing.T, name string, all []manifest) {
		server := one[*appsv1.Deployment](t, all, "cultivar-server")
		volume := one[*corev1.PersistentVolumeClaim](t, all, "cultivar-volume")
		if !slices.Equal(volume.Spec.AccessModes, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}) {
			t.Errorf("the shared volume is %v", volume.Spec.AccessModes)
		}
		if got := mounted(server.Spec.Template.Spec, "/volume"); got.PersistentVolumeClaim == nil || got.PersistentVolumeClaim.ClaimName != volume.Name {
			t.Errorf("/volume is %+v", got)
		}
		data := mounted(server.Spec.Template.Spec, "/data")
		if name == "postgres" { // nothing durable is in /data there
			budget := one[*policyv1.PodDisruptionBudget](t, all, "cultivar-server")
			if data.EmptyDir == nil || data.PersistentVolumeClaim != nil || *server.Spec.Replicas < 2 || server.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || budget.Spec.MinAvailable.IntValue() != 1 {
				t.Errorf("/data is %+v, strategy %+v", data, server.Spec.Strategy)
			}
			return
		}
		claim := one[*corev1.PersistentVolumeClaim](t, all, "cultivar-data")
		if !slices.Equal(claim.Spec.AccessModes, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}) || data.PersistentVolumeClaim.ClaimName != claim.Name {
			t.Errorf("the database is on %+v, %v", data, claim.Spec.AccessModes)
		}
		if server.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType || *server.Spec.Replicas != 1 {
			t.Errorf("%d servers, strategy %s: two would write one database", *server.Spec.Replicas, server.Spec.Strategy.Type)
		}
	})
}

// mounted returns the volume behind a path of the first container.
func mounted(pod corev1.PodSpec, path string) corev1.Volume {
	for _, m := range pod.Containers[0].VolumeMounts {
		for _, v := range pod.Volumes {
			if m.MountPath == path && m.Name == v.Name {
				return v
			}
		}
	}
	return corev1.Volume{}
}

var pinned = regexp.MustCompile(`^[a-z0-9./A-Z-]+(:[a-zA-Z0-9._-]+|@sha256:[0-9a-f]{64})$`)

func TestImagesAreNamedByKustomizeAndTrainWithTheSame(t *testing.T) {
	every(t, func(t *testing.T, name string, all []manifest) {
		pods := templates(t, all)
		for owner, pod := range pods {
			for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
				if !pinned.MatchString(c.Image) || strings.HasSuffix(c.Image, ":latest") {
					t.Errorf("%s runs %q, which names no version", owner, c.Image)
				}
				if c.ImagePullPolicy != corev1.PullIfNotPresent {
					t.Errorf("%s: pull policy %s", owner, c.ImagePullPolicy)
				}
			}
		}
		if name == "base" { // overlays copy the name, after they have set it
			return
		}
		want := pods["cultivar-bases"].Spec.Containers[0].Image
		env := pods["cultivar-server"].Spec.Containers[0].Env
		if !slices.Contains(env, corev1.EnvVar{Name: "CULTIVAR_TRAINER_IMAGE", Value: want}) {
			t.Errorf("trainers run another image than %q: %v", want, env)
		}
	})
}

func TestNothingSecretIsWrittenDown(t *testing.T) {
	every(t, func(t *testing.T, _ string, all []manifest) {
		for _, s := range of[*corev1.Secret](all) {
			t.Errorf("Secret %s would be applied, over what the cluster has", s.Name)
		}
	})
	text, err := os.ReadFile(filepath.Join(deploy, "base", "secret.example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	template, ok := read(t, text).typed.(*corev1.Secret)
	if !ok || len(template.StringData) == 0 {
		t.Fatalf("the template holds no Secret")
	}
	for key, value := range template.StringData {
		if value != "" || len(template.Data) != 0 {
			t.Errorf("%s has a value", key)
		}
	}
}

func TestHostFoldersStandInVolumesOnly(t *testing.T) {
	every(t, func(t *testing.T, name string, all []manifest) {
		volumes := of[*corev1.PersistentVolume](all)
		if (len(volumes) > 0) != (name == "local") {
			t.Errorf("%d volumes", len(volumes))
		}
		for _, v := range volumes {
			claim := one[*corev1.PersistentVolumeClaim](t, all, v.Spec.ClaimRef.Name)
			if claim.Spec.VolumeName != v.Name || *claim.Spec.StorageClassName != v.Spec.StorageClassName || v.Spec.ClaimRef.Namespace != claim.Namespace {
				t.Errorf("volume %s and claim %s do not name each other", v.Name, claim.Name)
			}
			if !reflect.DeepEqual(v.Spec.AccessModes, claim.Spec.AccessModes) || v.Spec.Capacity.Storage().Cmp(*claim.Spec.Resources.Requests.Storage()) < 0 {
				t.Errorf("volume %s does not fit its claim", v.Name)
			}
			if *v.Spec.HostPath.Type != corev1.HostPathDirectory || v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
				t.Errorf("volume %s: %+v", v.Name, v.Spec)
			}
		}
	})
}

func TestServicesAndBudgetsSelectTheServer(t *testing.T) {
	every(t, func(t *testing.T, _ string, all []manifest) {
		pod := templates(t, all)["cultivar-server"]
		ports := map[string]int32{}
		for _, p := range pod.Spec.Containers[0].Ports {
			ports[p.Name] = p.ContainerPort
		}
		for name, want := range map[string]int32{"cultivar": 8080, "cultivar-callback": 8081} {
			s := one[*corev1.Service](t, all, name)
			if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)) {
				t.Errorf("Service %s selects %v", name, s.Spec.Selector)
			}
			if s.Spec.Type != "" && s.Spec.Type != corev1.ServiceTypeClusterIP || len(s.Spec.Ports) != 1 || ports[s.Spec.Ports[0].TargetPort.String()] != want {
				t.Errorf("Service %s: %+v", name, s.Spec)
			}
		}
		for _, probe := range []*corev1.Probe{pod.Spec.Containers[0].StartupProbe, pod.Spec.Containers[0].LivenessProbe} {
			if probe.HTTPGet.Path != "/healthz" || ports[probe.HTTPGet.Port.String()] != 8080 {
				t.Errorf("probe %+v", probe)
			}
		}
		if ready := pod.Spec.Containers[0].ReadinessProbe; ready.HTTPGet.Path != "/readyz" || ports[ready.HTTPGet.Port.String()] != 8080 {
			t.Errorf("probe %+v", ready)
		}
		for _, b := range of[*policyv1.PodDisruptionBudget](all) {
			selects(t, "budget "+b.Name, b.Spec.Selector, labels.Set(pod.Labels))
		}
		for _, i := range of[*networkingv1.Ingress](all) {
			for _, r := range i.Spec.Rules {
				backend := r.HTTP.Paths[0].Backend.Service
				if s := one[*corev1.Service](t, all, backend.Name); s.Spec.Ports[0].Name != backend.Port.Name {
					t.Errorf("Ingress %s leads to %+v", i.Name, backend)
				}
			}
		}
	})
}

func selects(t *testing.T, what string, s *metav1.LabelSelector, set labels.Set) {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	if !selector.Matches(set) {
		t.Errorf("%s selects %s, which is nothing", what, selector)
	}
}

func TestLoadBalancerWaitsForStreams(t *testing.T) {
	all := render(t, kustomizations(t)["gke-filestore"])
	for _, m := range all {
		if m.kind.Kind != "BackendConfig" {
			continue
		}
		var b backendConfig
		strictly(t, m.yaml, &b)
		service := one[*corev1.Service](t, all, "cultivar")
		if want := fmt.Sprintf(`{"default": %q}`, b.Name); service.Annotations["cloud.google.com/backend-config"] != want {
			t.Errorf("the Service names %q", service.Annotations["cloud.google.com/backend-config"])
		}
		if b.Spec.TimeoutSec != 3600 || b.Spec.HealthCheck.RequestPath != "/readyz" || b.Spec.HealthCheck.Port != 8080 {
			t.Errorf("%+v", b.Spec)
		}
		return
	}
	t.Error("there is no BackendConfig: the load balancer cuts after 30 s")
}
