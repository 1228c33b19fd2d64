package deploytest_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// allowed is what policies add up to for one pod: ports by direction, -1 being all.
type allowed struct {
	in, out []int
	denied  bool // everything else is denied, both ways
}

// trainerPod has the labels that the server gives its Jobs' pods.
var trainerPod = labels.Set{nameLabel: "cultivar-trainer", "app.kubernetes.io/managed-by": "cultivar"}

// policies adds up all policies that select a pod.
func policies(t *testing.T, all []manifest, pod labels.Set) allowed {
	t.Helper()
	var a allowed
	for _, p := range of[*networkingv1.NetworkPolicy](all) {
		s, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Matches(pod) {
			continue
		}
		a.denied = a.denied || len(p.Spec.PolicyTypes) == 2
		for _, r := range p.Spec.Ingress {
			if len(r.From) == 0 {
				t.Errorf("%s lets anybody in", p.Name)
			}
			a.in = append(a.in, ports(r.Ports)...)
		}
		for _, r := range p.Spec.Egress {
			a.out = append(a.out, ports(r.Ports)...)
		}
	}
	slices.Sort(a.in)
	slices.Sort(a.out)
	a.in, a.out = slices.Compact(a.in), slices.Compact(a.out)
	return a
}

func ports(list []networkingv1.NetworkPolicyPort) []int {
	if len(list) == 0 {
		return []int{-1}
	}
	var numbers []int
	for _, p := range list {
		numbers = append(numbers, p.Port.IntValue())
	}
	return numbers
}

func TestNetworkIsClosedButForWhatIsNamed(t *testing.T) {
	every(t, func(t *testing.T, name string, all []manifest) {
		out := []int{53, 443, 465, 587, 6443}
		if name == "postgres" {
			out = []int{53, 443, 465, 587, 5432, 6443}
		}
		pods := templates(t, all)
		for pod, want := range map[string]struct {
			labels labels.Set
			allowed
		}{
			"server":   {labels.Set(pods["cultivar-server"].Labels), allowed{in: []int{8080, 8081}, out: out, denied: true}},
			"bases":    {labels.Set(pods["cultivar-bases"].Labels), allowed{denied: true}},
			"trainer":  {trainerPod, allowed{out: []int{53, 8081}, denied: true}},
			"stranger": {labels.Set{"app": "other"}, allowed{denied: true}},
		} {
			got := policies(t, all, want.labels)
			if !slices.Equal(got.in, want.in) || !slices.Equal(got.out, want.out) || got.denied != want.denied {
				t.Errorf("%s: %+v, want %+v", pod, got, want.allowed)
			}
		}
	})
}

func TestOnlyTrainersReachTheCallback(t *testing.T) {
	every(t, func(t *testing.T, _ string, all []manifest) {
		server := one[*networkingv1.NetworkPolicy](t, all, "cultivar-server")
		for _, r := range server.Spec.Ingress {
			if !slices.Contains(ports(r.Ports), 8081) {
				continue
			}
			for _, from := range r.From {
				if from.IPBlock != nil || from.NamespaceSelector != nil || from.PodSelector == nil {
					t.Fatalf("the callback is open to %+v", from)
				}
				selects(t, "callback", from.PodSelector, trainerPod)
				if s, _ := metav1.LabelSelectorAsSelector(from.PodSelector); s.Matches(labels.Set(templates(t, all)["cultivar-bases"].Labels)) || s.Empty() {
					t.Errorf("the callback is open to %s", s)
				}
			}
		}
		trainer := one[*networkingv1.NetworkPolicy](t, all, "cultivar-trainer")
		for _, r := range trainer.Spec.Egress {
			for _, to := range r.To {
				selects(t, "trainers' way out", to.PodSelector, labels.Set(templates(t, all)["cultivar-server"].Labels))
			}
		}
	})
}

func TestQuotaLeavesRoomForTheServer(t *testing.T) {
	every(t, func(t *testing.T, name string, all []manifest) {
		quota := one[*corev1.ResourceQuota](t, all, "cultivar")
		for _, key := range []corev1.ResourceName{"limits.memory", "requests.memory", "pods", "count/jobs.batch", "requests.storage"} {
			if q, ok := quota.Spec.Hard[key]; !ok || q.IsZero() {
				t.Errorf("no quota of %s", key)
			}
		}
		if q := quota.Spec.Hard["requests.nvidia.com/gpu"]; (name == "gpu") == q.IsZero() {
			t.Errorf("quota of GPUs: %s", q.String())
		}
		// A quota of memory refuses pods that name none; the range gives those a default.
		limits := one[*corev1.LimitRange](t, all, "cultivar").Spec.Limits[0]
		if limits.Default.Memory().IsZero() || limits.DefaultRequest.Memory().IsZero() {
			t.Errorf("%+v", limits)
		}
	})
}
