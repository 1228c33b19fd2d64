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
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"

	"k8s.io/client-go/kubernetes/scheme"

	"github.com/cultivar-ml/cultivar/shared/client"
)

// cluster is a server deployed to a namespace of its own.
type cluster struct {
	rest    *rest.Config
	kube    *kubernetes.Clientset
	ns      string
	bridge  string // this machine's address as pods see it; empty: not reachable
	tag     string
	root    string // of the repository
	volume  string // host folder of the shared volume, with bridge
	deliver string // settings of deliveries

	api      *tunnel // to the server's API
	callback *tunnel // with bridge: what pods call
	token    string
	client   *client.Client
}

func env(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set; make test-cluster sets it", name)
	}
	return v
}

// newCluster deploys the server and waits until it answers.
func newCluster(t *testing.T) (*cluster, post) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", env(t, "KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 50, 100
	c := &cluster{rest: config, ns: fmt.Sprintf("cultivar-test-%d", time.Now().Unix()), bridge: os.Getenv("CULTIVAR_TEST_BRIDGE"), tag: os.Getenv("CULTIVAR_IMAGE_TAG")}
	if c.tag == "" {
		c.tag = "test"
	}
	if c.kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if c.root, err = filepath.Abs("../../.."); err != nil {
		t.Fatal(err)
	}
	p := c.openPost(t)
	c.deploy(t)
	c.api = listen(t, "127.0.0.1:0", func(ctx context.Context) (conn, error) { return c.dial(ctx, 8080) })
	c.ready(t)
	c.token = strings.TrimSpace(c.exec(t, "server", "/cultivar-server", "token", "create", "ada", "--config", "/etc/cultivar/config.yaml"))
	if c.client, err = client.New(client.Options{Server: c.api.url(), Token: c.token}); err != nil {
		t.Fatal(err)
	}
	return c, p
}

// serverPod is the running pod of the server; empty while there is none.
func (c *cluster) serverPod(ctx context.Context) (corev1.Pod, bool) {
	pods, err := c.kube.CoreV1().Pods(c.ns).List(ctx, metav1.ListOptions{LabelSelector: labels.Set{"app.kubernetes.io/name": "cultivar-server"}.String()})
	if err != nil {
		return corev1.Pod{}, false
	}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning && p.Status.PodIP != "" {
			return p, true
		}
	}
	return corev1.Pod{}, false
}

// ready waits until the server answers with its database.
func (c *cluster) ready(t *testing.T) {
	t.Helper()
	eventually(t, 3*time.Minute, "the server to be ready", func() bool {
		p, ok := c.serverPod(t.Context())
		if !ok {
			return false
		}
		for _, cond := range p.Status.Conditions {
			if cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	})
}

// exec runs a command in the server's container and returns its standard output.
func (c *cluster) exec(t *testing.T, container string, command ...string) string {
	t.Helper()
	p, ok := c.serverPod(t.Context())
	if !ok {
		t.Fatal("there is no server pod")
	}
	req := c.kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.ns).Name(p.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	ex, err := remotecommand.NewSPDYExecutor(c.rest, "POST", req.URL())
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if err := ex.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}); err != nil {
		t.Fatalf("%v: %v\n%s%s", command, err, out.String(), errs.String())
	}
	return out.String()
}

// trainerPods are the pods of a task's attempt, of every attempt with attempt 0.
func (c *cluster) trainerPods(t *testing.T, task string, attempt int) []corev1.Pod {
	t.Helper()
	set := labels.Set{"cultivar.dev/task": task}
	if attempt > 0 {
		set["cultivar.dev/attempt"] = fmt.Sprint(attempt)
	}
	pods, err := c.kube.CoreV1().Pods(c.ns).List(t.Context(), metav1.ListOptions{LabelSelector: set.String()})
	if err != nil {
		t.Fatal(err)
	}
	return pods.Items
}

// runningPod waits for the one pod of an attempt whose trainer executes.
func (c *cluster) runningPod(t *testing.T, task string, attempt int) corev1.Pod {
	t.Helper()
	var out corev1.Pod
	eventually(t, time.Minute, fmt.Sprintf("the trainer of attempt %d to run", attempt), func() bool {
		for _, p := range c.trainerPods(t, task, attempt) {
			if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
				out = p
				return true
			}
		}
		return false
	})
	return out
}

// noJobs waits until nothing of the test's runs is left in the cluster.
func (c *cluster) noJobs(t *testing.T) {
	t.Helper()
	eventually(t, 3*time.Minute, "every Job to be removed", func() bool {
		jobs, err := c.kube.BatchV1().Jobs(c.ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=cultivar"})
		return err == nil && len(jobs.Items) == 0
	})
}

// scale sets how many servers run.
func (c *cluster) scale(t *testing.T, replicas int32) {
	t.Helper()
	for {
		s, err := c.kube.AppsV1().Deployments(c.ns).GetScale(t.Context(), "cultivar-server", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s.Spec.Replicas = replicas
		_, err = c.kube.AppsV1().Deployments(c.ns).UpdateScale(t.Context(), "cultivar-server", s, metav1.UpdateOptions{})
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
	}
}

func eventually(t *testing.T, patience time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %s for %s in vain", patience, what)
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}
