//go:build cluster

package kubernetes_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	runnerkube "github.com/cultivar-ml/cultivar/server/internal/runner/kubernetes"
	"github.com/cultivar-ml/cultivar/server/internal/runner/runnertest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const testImage = "localhost/cultivar-test-trainer:1"

// realCluster is a namespace of a real cluster, with a volume whose folder is on this machine.
type realCluster struct {
	t          *testing.T
	client     kubernetes.Interface
	kubeconfig string
	namespace  string
	volume     string
}

// onCluster makes a namespace that admits only what Pod Security calls restricted. It is deleted after the test.
func onCluster(t *testing.T) *realCluster {
	t.Helper()
	kubeconfig := os.Getenv("CULTIVAR_TEST_KUBECONFIG")
	if kubeconfig == "" {
		t.Fatal("CULTIVAR_TEST_KUBECONFIG names no cluster")
	}
	access, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	must(t, err)
	access.QPS, access.Burst = 100, 100
	client, err := kubernetes.NewForConfig(access)
	must(t, err)
	if out, err := exec.CommandContext(t.Context(), "testdata/image.sh").CombinedOutput(); err != nil {
		t.Fatalf("make the trainer's image: %v\n%s", err, out)
	}
	c := &realCluster{t: t, client: client, kubeconfig: kubeconfig}
	ns, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "runner-test-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}, metav1.CreateOptions{})
	must(t, err)
	c.namespace = ns.Name
	t.Cleanup(func() {
		_ = client.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
		_ = client.CoreV1().PersistentVolumes().Delete(context.Background(), ns.Name, metav1.DeleteOptions{})
	})
	// The folder outlives the pods that have it mounted, so it is not one that the test framework removes first.
	c.volume, err = os.MkdirTemp("", "cultivar-volume-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(c.volume) })
	must(t, os.Chmod(c.volume, 0o755)) //nolint:gosec // pods of another user go through it
	c.prepare()
	return c
}

func (c *realCluster) prepare() {
	t, ctx := c.t, c.t.Context()
	_, err := c.client.CoreV1().ServiceAccounts(c.namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "cultivar-trainer"}}, metav1.CreateOptions{})
	must(t, err)
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	_, err = c.client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}, Spec: corev1.PersistentVolumeSpec{
		Capacity: size, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, StorageClassName: "none",
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		ClaimRef:                      &corev1.ObjectReference{Namespace: c.namespace, Name: "volume"},
		PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: c.volume}},
	}}, metav1.CreateOptions{})
	must(t, err)
	class := "none"
	_, err = c.client.CoreV1().PersistentVolumeClaims(c.namespace).Create(ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "volume"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, StorageClassName: &class, VolumeName: c.namespace,
		Resources: corev1.VolumeResourceRequirements{Requests: size},
	}}, metav1.CreateOptions{})
	must(t, err)
}

func (c *realCluster) settings() config.Kubernetes {
	return config.Kubernetes{
		Kubeconfig: c.kubeconfig, Namespace: c.namespace, Image: testImage, PullPolicy: "Never", Claim: "volume",
		Profiles: []config.Profile{
			{Name: "tiny", CPU: "60m", Memory: "48Mi", Scratch: "16Mi"},
			{Name: "quick", CPU: "60m", Memory: "48Mi", Deadline: config.Duration(20 * time.Second)},
			{Name: "huge", CPU: "4000", Memory: "48Mi"},
			{Name: "noimage", CPU: "60m", Memory: "48Mi", Image: "localhost/there-is-none:1"},
		},
	}
}

func (c *realCluster) open(s config.Kubernetes) *runnerkube.Runner {
	c.t.Helper()
	r, err := runnerkube.New(runnerkube.Options{Settings: s, Volume: c.volume})
	must(c.t, err)
	c.t.Cleanup(r.Close)
	r.SetEndPatience(2)
	return r
}

// job makes the task's folder, as the server does before Start; the spec is the behaviour.
func (c *realCluster) job(name, behaviour string) runner.Job {
	c.t.Helper()
	task := filepath.Join("users", "u1", "tasks", name)
	dir := filepath.Join(c.volume, task)
	must(c.t, os.MkdirAll(dir, 0o755))                                                      //nolint:gosec // as above
	must(c.t, os.Chown(dir, 65532, 65532))                                                  //nolint:gosec // as above
	must(c.t, os.WriteFile(filepath.Join(dir, "spec.json"), []byte(behaviour+"\n"), 0o644)) //nolint:gosec // as above
	return runner.Job{
		Name: name, Kind: runspec.Train, Owner: "u1", Task: strings.TrimSuffix(strings.TrimPrefix(name, "cv-"), "-1"), Attempt: 1,
		Spec: filepath.Join(dir, "spec.json"), Dir: dir, Mounts: []runner.Mount{{Name: task, Write: true}},
	}
}

func TestClusterContract(t *testing.T) {
	runnertest.Run(t, func(t *testing.T) runnertest.Harness {
		c := onCluster(t)
		return runnertest.Harness{
			Open: func() runner.Runner { return c.open(c.settings()) },
			Job:  func(name string, b runnertest.Behaviour) runner.Job { return c.job(name, string(b)) },
		}
	})
}

// reach polls a job until it is as wanted.
func reach(t *testing.T, r runner.Runner, name string, wanted func(runner.Status, error) bool) runner.Status {
	t.Helper()
	deadline := time.NewTimer(90 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := r.Status(t.Context(), name)
		if wanted(st, err) {
			return st
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s is still %+v, %v", name, st, err)
		}
	}
}

func exited(st runner.Status, _ error) bool {
	return st.Phase == runner.Exited || st.Phase == runner.Lost
}

func TestClusterEnds(t *testing.T) {
	c := onCluster(t)
	r := c.open(c.settings())
	profiles := map[string]string{"late": "quick", "wide": "huge", "imageless": "noimage"}
	behaviours := map[string]string{
		"look": "look", "crash": "crash", "memory": "memory", "disk": "disk", "late": "listen", "deleted": "listen", "forced": "listen",
		"parts": "part", "badpart": "noimage", "wide": "succeed", "imageless": "succeed",
	}
	for name, behaviour := range behaviours {
		job := c.job("cv-"+name+"-1", behaviour)
		job.Profile = profiles[name]
		if strings.HasSuffix(name, "part") || name == "parts" {
			job.Parts = 3
		}
		must(t, r.Start(t.Context(), job))
	}
	for _, name := range []string{"deleted", "forced"} {
		reach(t, r, "cv-"+name+"-1", func(st runner.Status, _ error) bool {
			_, err := os.Stat(filepath.Join(c.volume, "users", "u1", "tasks", "cv-"+name+"-1", "listening"))
			return st.Phase == runner.Running && err == nil
		})
		pods, err := c.client.CoreV1().Pods(c.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "cultivar.dev/task=" + name})
		must(t, err)
		var now *int64
		if name == "forced" {
			now = new(int64)
		}
		for _, p := range pods.Items {
			must(t, c.client.CoreV1().Pods(c.namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: now}))
		}
	}
	for name, want := range map[string]runner.Exit{
		"look":    {},
		"crash":   {Code: 1, Detail: "the last words"},
		"memory":  {Code: -1, Signal: "killed", Cause: runner.CauseOutOfMemory, Detail: "OOMKilled: the limit is 48Mi"},
		"disk":    {Code: -1, Cause: runner.CauseOutOfDisk},
		"late":    {Code: 30, Cause: runner.CauseDeadline},
		"deleted": {Code: 30, Cause: runner.CauseDeleted},
		"forced":  {Cause: runner.CauseDeleted},
		"parts":   {},
		"badpart": {Code: 11},
	} {
		got := reach(t, r, "cv-"+name+"-1", exited)
		t.Logf("%s: %+v", name, got)
		if got.Phase != runner.Exited || got.Exit.Cause != want.Cause || want.Detail != "" && got.Exit.Detail != want.Detail {
			t.Errorf("%s ended as %+v, want %+v", name, got.Exit, want)
		}
		if name != "forced" && name != "disk" && (got.Exit.Code != want.Code || got.Exit.Signal != want.Signal) {
			t.Errorf("%s ended as %+v, want %+v", name, got.Exit, want)
		}
		if name == "parts" && got.Parts != 3 {
			t.Errorf("%d parts ended well, want 3", got.Parts)
		}
	}
	for name, why := range map[string]string{"wide": "Insufficient cpu", "imageless": "localhost/there-is-none"} {
		st := reach(t, r, "cv-"+name+"-1", func(st runner.Status, _ error) bool { return strings.Contains(st.Why, why) })
		t.Logf("%s: %+v", name, st)
		must(t, r.Kill(t.Context(), st.Name))
		reach(t, r, st.Name, func(_ runner.Status, err error) bool { return err != nil })
	}
}

func TestClusterKeysAndRights(t *testing.T) {
	c := onCluster(t)
	r := c.open(c.settings())
	issuer, err := r.Issuer(t.Context())
	must(t, err)
	keys, err := r.Keys(t.Context())
	must(t, err)
	if !strings.Contains(string(keys), `"keys"`) || !strings.HasPrefix(issuer, "https://") {
		t.Errorf("issuer %q, keys %s", issuer, keys)
	}
	for _, p := range r.Check(t.Context()) {
		if !p.Allowed || p.Err != nil {
			t.Error(fmt.Sprint(p))
		}
	}
}
