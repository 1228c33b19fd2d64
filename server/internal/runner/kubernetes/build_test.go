package kubernetes_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	psapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	runnerkube "github.com/cultivar-ml/cultivar/server/internal/runner/kubernetes"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

var update = flag.Bool("update", false, "write the golden files")

// settings use everything that can be set.
func settings() config.Kubernetes {
	return config.Kubernetes{
		Namespace: "cultivar", Instance: "lab", Image: "registry.example.org/trainer@sha256:abc", PullSecrets: []string{"registry"},
		Claim: "volume", ClaimPath: "/shared/", Queue: "users",
		Profiles: []config.Profile{
			{Name: "standard"},
			{
				Name: "gpu", CPU: "4", Memory: "16Gi", Scratch: "8Gi", GPUs: 1, Deadline: config.Duration(time.Hour), Priority: "batch",
				NodeSelector: map[string]string{"cloud.google.com/gke-accelerator": "nvidia-l4"}, Tolerations: []string{"nvidia.com/gpu"}, Image: "trainer-cuda:1",
			},
		},
	}
}

// TestBuild compares whole Jobs, so that whatever changes in them is seen in the review of a golden file.
func TestBuild(t *testing.T) {
	full, err := runnerkube.Resolve(settings(), "/volume", "bases")
	must(t, err)
	least, err := runnerkube.Resolve(config.Kubernetes{Namespace: "ns", Image: "trainer:1", Claim: "volume"}, "/volume", "")
	must(t, err)
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	must(t, err)
	level := psapi.LevelVersion{Level: psapi.LevelRestricted, Version: psapi.LatestVersion()}
	gpu, parts := jobNamed("abc", 2), jobNamed("abc", 1)
	gpu.Profile, gpu.Mounts = "gpu", []runner.Mount{{Name: "users/u1/tasks/abc/attempts", Write: true}, {Name: "users/u1/packs"}, {Name: "users/u1/tasks/abc"}}
	parts.Kind, parts.Parts = runspec.Features, 4
	for name, c := range map[string]struct {
		cluster runnerkube.Cluster
		job     runner.Job
	}{
		"least": {least, jobNamed("abc", 1)}, "gpu": {full, gpu}, "parts": {full, parts},
	} {
		t.Run(name, func(t *testing.T) {
			job, err := runnerkube.Build(c.cluster, c.job)
			must(t, err)
			got, err := yaml.Marshal(job)
			must(t, err)
			path := filepath.Join("testdata", "job-"+name+".yaml")
			if *update {
				must(t, os.WriteFile(path, got, 0o644))
			}
			want, err := os.ReadFile(path)
			must(t, err)
			if string(got) != string(want) {
				t.Errorf("%s: the job is\n%s", path, got)
			}
			pod := job.Spec.Template
			if r := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec)); !r.Allowed {
				t.Error(r.ForbiddenDetail())
			}
		})
	}
}

func TestBuildRefuses(t *testing.T) {
	cluster, err := runnerkube.Resolve(settings(), "/volume", "bases")
	must(t, err)
	for name, c := range map[string]struct {
		change func(*runner.Job)
		want   string
	}{
		"a folder above the volume": {func(j *runner.Job) { j.Mounts[0].Name = "users/../../etc" }, "not a plain path"},
		"the root":                  {func(j *runner.Job) { j.Mounts[0].Name = "/etc" }, "not a plain path"},
		"the whole volume":          {func(j *runner.Job) { j.Mounts[0].Name = "." }, "not a plain path"},
		"no spec":                   {func(j *runner.Job) { j.Spec = "" }, "no spec"},
		"an unknown profile":        {func(j *runner.Job) { j.Profile = "huge" }, `no profile "huge"`},
		"a name with a slash":       {func(j *runner.Job) { j.Name = "cv/x" }, "its name"},
		"a task that is no label":   {func(j *runner.Job) { j.Task = "a b" }, "cultivar.dev/task"},
		"too many parts":            {func(j *runner.Job) { j.Parts = 1000 }, "1000 parts"},
	} {
		t.Run(name, func(t *testing.T) {
			job := jobNamed("abc", 1)
			c.change(&job)
			if _, err := runnerkube.Build(cluster, job); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	job := jobNamed("abc", 1)
	job.Owner = "somebody@example.org with spaces"
	built, err := runnerkube.Build(cluster, job)
	must(t, err)
	if owner, ok := built.Labels["cultivar.dev/user"]; ok {
		t.Errorf("an owner that is no label became %q", owner)
	}
}

// TestSpecHash tells settings apart that make other pods, and no others.
func TestSpecHash(t *testing.T) {
	hash := func(change func(*config.Kubernetes)) string {
		s := settings()
		change(&s)
		cluster, err := runnerkube.Resolve(s, "/volume", "bases")
		must(t, err)
		job, err := runnerkube.Build(cluster, jobNamed("abc", 1))
		must(t, err)
		return job.Annotations["cultivar.dev/spec-hash"]
	}
	same := hash(func(*config.Kubernetes) {})
	for name, c := range map[string]struct {
		change func(*config.Kubernetes)
		same   bool
	}{
		"nothing":  {func(*config.Kubernetes) {}, true},
		"patience": {func(s *config.Kubernetes) { s.PullPatience = config.Duration(time.Hour) }, true},
		"image":    {func(s *config.Kubernetes) { s.Image = "other" }, false},
		"memory":   {func(s *config.Kubernetes) { s.Profiles[0].Memory = "5Gi" }, false},
		"claim":    {func(s *config.Kubernetes) { s.Claim = "other" }, false},
	} {
		if got := hash(c.change) == same; got != c.same {
			t.Errorf("%s: same %t, want %t", name, got, c.same)
		}
	}
}

func TestResolveNamesEverySettingThatIsWrong(t *testing.T) {
	s := settings()
	s.Namespace, s.Instance, s.Image, s.PullPolicy, s.Claim, s.ClaimPath, s.Queue = "A", "a b", "", "Sometimes", "a/b", "../x", "a b"
	s.PullSecrets, s.ServiceAccount, s.SchedulePatience = []string{"A"}, "A", config.Duration(-1)
	s.Profiles = append(s.Profiles, config.Profile{
		Name: "gpu", CPU: "many", Memory: "-1", Scratch: "0", GPUs: -1, GPUResource: "a b", Deadline: config.Duration(time.Millisecond),
		NodeSelector: map[string]string{"a b": "c d"}, Tolerations: []string{"a b"}, Priority: "A", Image: "a b",
	})
	_, err := runnerkube.Resolve(s, "volume", "/bases")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"namespace", "instance", "image", "pull_policy", "claim", "claim_path", "queue", "pull_secrets", "service_account", "schedule_patience",
		"the volume's folder", "the bases' folder", `profiles[2].name "gpu" is there twice`, "profiles[2].cpu", "profiles[2].memory", "profiles[2].scratch",
		"profiles[2].gpus", "profiles[2].gpu_resource", "profiles[2].deadline", "profiles[2].node_selector", "profiles[2].tolerations", "profiles[2].priority", "profiles[2].image",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}

// TestTrainersSeeTheirOwn looks at what of the volume a trainer has: its task's folders, each at the server's own path.
func TestTrainersSeeTheirOwn(t *testing.T) {
	cluster, err := runnerkube.Resolve(settings(), "/volume", "bases")
	must(t, err)
	job := jobNamed("abc", 1)
	job.Mounts = append(job.Mounts, runner.Mount{Name: "users/u1/packs"}, runner.Mount{Name: "bases", Write: true})
	built, err := runnerkube.Build(cluster, job)
	must(t, err)
	var got []string
	for _, m := range built.Spec.Template.Spec.Containers[0].VolumeMounts {
		if m.Name != "data" {
			continue
		}
		right := "read"
		if !m.ReadOnly {
			right = "write"
		}
		got = append(got, right+" "+m.SubPath+" at "+m.MountPath)
	}
	want := []string{"read shared/bases at /volume/bases", "read shared/users/u1/packs at /volume/users/u1/packs", "write shared/users/u1/tasks/abc at /volume/users/u1/tasks/abc"}
	if !slices.Equal(got, want) {
		t.Errorf("mounts %q, want %q", got, want)
	}
	if policy := built.Spec.Template.Spec.Containers[0].TerminationMessagePolicy; policy != corev1.TerminationMessageFallbackToLogsOnError {
		t.Errorf("the last words are lost with %q", policy)
	}
}
