//go:build cluster

package clustertest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// shown is how long a person may wait for the reason of what happened to a run.
const shown = 30 * time.Second

// long is a recipe whose head takes long enough to break things in the middle of it.
func long(r *runspec.Recipe) {
	r.Head, r.Epochs, r.Patience, r.BatchSize = "dense", 600, 600, 8
}

// interrupted are the states of a run that was tried twice.
var interrupted = []string{"queued", "starting", "running", "interrupted", "queued", "starting", "running", "succeeded"}

// TestFaults breaks one thing after the other and looks what the person sees.
func testFaults(t *testing.T, c *cluster, dataset string) {
	for _, f := range []struct {
		name   string
		tells  string // of the reason that the person sees
		breaks func(t *testing.T, f *following, p corev1.Pod)
	}{
		{"evicted", "had to leave its machine", func(t *testing.T, _ *following, p corev1.Pod) {
			must(t, c.kube.PolicyV1().Evictions(c.ns).Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: c.ns}}))
		}},
		{"pod deleted", "goes on from the last checkpoint", func(t *testing.T, _ *following, p corev1.Pod) {
			must(t, c.kube.CoreV1().Pods(c.ns).Delete(t.Context(), p.Name, metav1.DeleteOptions{}))
		}},
		{"pod deleted by force", "goes on from the last checkpoint", func(t *testing.T, _ *following, p corev1.Pod) {
			none := int64(0)
			must(t, c.kube.CoreV1().Pods(c.ns).Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &none}))
		}},
		{"killed in the container", "killed", func(t *testing.T, _ *following, p corev1.Pod) {
			killTrainer(t, p)
		}},
	} {
		t.Run(f.name, func(t *testing.T) {
			r := c.start(t, dataset, "normal", long)
			pod := c.runningPod(t, r.Id, 1)
			r.reaches("epoch 3", func(e api.Event) bool { return epoch(e) >= 3 })
			at := time.Now()
			f.breaks(t, r, pod)
			r.inTime(at, f.tells)
			r.ends(api.StateSucceeded)
			if got := strings.Join(r.states(), " "); got != strings.Join(interrupted, " ") {
				t.Errorf("went through %s", got)
			}
		})
	}
}

// inTime checks that the person was told in time.
func (f *following) inTime(since time.Time, text string) {
	f.t.Helper()
	at := f.tells(2*time.Minute, text)
	took := at.Sub(since)
	f.t.Logf("run #%d told %q after %s", f.Number, text, took.Round(100*time.Millisecond))
	if took > shown {
		f.t.Errorf("the reason was shown after %s, want at most %s", took, shown)
	}
}

// testLimits asks for what the cluster refuses or ends.
func testLimits(t *testing.T, c *cluster, dataset string) {
	for _, l := range []struct {
		name, profile, tells, fails string
	}{
		{"out of memory", "tiny", "more memory than it may use", "not tried again"},
		{"image that does not exist", "no-image", "Waiting for a machine: ErrImage", "No machine began the training in time"},
		{"larger than any machine", "giant", "Insufficient cpu", "No machine began the training in time"},
		{"longer than allowed", "hasty", "took longer than this server allows", "took longer than this server allows"},
	} {
		t.Run(l.name, func(t *testing.T) {
			at := time.Now()
			recipe := long
			if l.profile == "tiny" {
				recipe = nil // it is the export that needs more than this has
			}
			r := c.start(t, dataset, l.profile, recipe)
			if l.profile == "hasty" {
				at = at.Add(hasty) // only then there is something to tell
			}
			r.inTime(at, l.tells)
			if got := r.ends(api.StateFailed); got.Reason == nil || !strings.Contains(*got.Reason, l.fails) {
				t.Errorf("reason: %v, want %q in it", got.Reason, l.fails)
			}
		})
	}
}

// testServerAway ends the server in the middle of a training.
func testServerAway(t *testing.T, c *cluster, dataset string) {
	t.Run("server pod deleted", func(t *testing.T) {
		r := c.start(t, dataset, "normal", long)
		r.reaches("epoch 3", func(e api.Event) bool { return epoch(e) >= 3 })
		p, _ := c.serverPod(t.Context())
		must(t, c.kube.CoreV1().Pods(c.ns).Delete(t.Context(), p.Name, metav1.DeleteOptions{}))
		once(r)
	})
	t.Run("server away for 60 seconds", func(t *testing.T) {
		r := c.start(t, dataset, "normal", long)
		r.reaches("epoch 3", func(e api.Event) bool { return epoch(e) >= 3 })
		c.scale(t, 0)
		back := time.NewTimer(time.Minute)
		defer back.Stop()
		select {
		case <-back.C:
		case <-t.Context().Done():
		}
		c.scale(t, 1)
		once(r)
	})
}

// once checks that a run succeeded in its first attempt.
func once(r *following) {
	r.t.Helper()
	if got := r.ends(api.StateSucceeded); got.Attempt != 1 {
		r.t.Errorf("it took %d attempts, want 1", got.Attempt)
	}
}

// testWishes does what people ask for in the middle of a training.
func testWishes(t *testing.T, c *cluster, dataset string) {
	t.Run("two at once", func(t *testing.T) {
		a := c.start(t, dataset, "small", long) // both fit on the smallest node
		b := c.start(t, dataset, "small", func(r *runspec.Recipe) { long(r); r.Seed = 2 })
		for _, r := range []*following{a, b} {
			c.runningPod(t, r.Id, 1)
		}
		once(a)
		once(b)
	})
	t.Run("cancel", func(t *testing.T) {
		r := c.start(t, dataset, "normal", long)
		r.reaches("epoch 3", func(e api.Event) bool { return epoch(e) >= 3 })
		at := time.Now()
		if _, err := c.client.CancelRun(t.Context(), r.Id); err != nil {
			t.Fatal(err)
		}
		r.inTime(at, "Cancelled on request")
		r.ends(api.StateCancelled)
		eventually(t, time.Minute, "its pods to be gone", func() bool { return len(c.trainerPods(t, r.Id, 0)) == 0 })
	})
	t.Run("stop and keep the best", func(t *testing.T) {
		r := c.start(t, dataset, "normal", long)
		r.reaches("epoch 3", func(e api.Event) bool { return epoch(e) >= 3 })
		at := time.Now()
		if _, err := c.client.StopRun(t.Context(), r.Id); err != nil {
			t.Fatal(err)
		}
		r.inTime(at, "best so far")
		once(r)
		files, err := c.client.Artifacts(t.Context(), r.Id)
		if err != nil || len(files) == 0 {
			t.Errorf("files: %v, %v", files, err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// killTrainer sends SIGKILL to the trainer's process from the node, which must be this machine: inside its container it is
// process 1, which no signal of its own kind can end.
func killTrainer(t *testing.T, p corev1.Pod) {
	t.Helper()
	uid := string(p.UID)
	found := false
	files, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(b), uid) && !strings.Contains(string(b), strings.ReplaceAll(uid, "-", "_")) {
			continue
		}
		dir := filepath.Dir(f)
		if cmd, _ := os.ReadFile(filepath.Join(dir, "cmdline")); !strings.Contains(string(cmd), "cultivar-trainer") {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		must(t, syscall.Kill(pid, syscall.SIGKILL))
		found = true
	}
	if !found {
		t.Fatal("the trainer's process is not on this machine; this test needs a cluster whose node this is")
	}
}
