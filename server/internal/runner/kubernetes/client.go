package kubernetes

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	batchclient "k8s.io/client-go/kubernetes/typed/batch/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const (
	// requestRate and requestBurst bound what this server asks of the API server, in requests a second.
	requestRate  = 20
	requestBurst = 30
	// callPatience bounds a request for one object, listPatience one for all.
	callPatience = 15 * time.Second
	listPatience = 30 * time.Second
	// keysPath is what every service account may read, by the built-in binding system:service-account-issuer-discovery.
	keysPath = "/openid/v1/jwks"
)

// Client asks the API server, for one server and in its namespace. It follows nothing and keeps nothing.
type Client struct {
	cluster Cluster
	jobs    batchclient.JobInterface
	pods    coreclient.PodInterface
	events  coreclient.EventInterface
	reviews authorizationclient.SelfSubjectAccessReviewInterface
	raw     rest.Interface
	http    *http.Client
	host    string
}

// Connect checks the settings and makes a Client. The API server is not asked for anything yet.
func Connect(o Options) (*Client, error) {
	access, namespace, err := access(o)
	if err != nil {
		return nil, err
	}
	o.Settings.Namespace = cmp.Or(o.Settings.Namespace, namespace)
	cluster, err := Resolve(o.Settings, o.Volume, o.Bases)
	if err != nil {
		return nil, err
	}
	c := &Client{cluster: cluster}
	return c, c.connect(access)
}

// connect makes the clients, which share one limit.
func (c *Client) connect(access *rest.Config) (err error) {
	access = rest.CopyConfig(access)
	access.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(requestRate, requestBurst)
	if access.UserAgent == "" {
		access.UserAgent = "cultivar-server"
	}
	if c.http, err = rest.HTTPClientFor(access); err != nil {
		return err
	}
	batch, err := batchclient.NewForConfigAndClient(access, c.http)
	if err != nil {
		return err
	}
	core, err := coreclient.NewForConfigAndClient(access, c.http)
	if err != nil {
		return err
	}
	authorization, err := authorizationclient.NewForConfigAndClient(access, c.http)
	if err != nil {
		return err
	}
	c.jobs, c.pods, c.events = batch.Jobs(c.cluster.Namespace), core.Pods(c.cluster.Namespace), core.Events(c.cluster.Namespace)
	c.reviews, c.raw, c.host = authorization.SelfSubjectAccessReviews(), core.RESTClient(), access.Host
	return nil
}

// Namespace is where the Jobs are.
func (c *Client) Namespace() string { return c.cluster.Namespace }

// Host is the address of the API server.
func (c *Client) Host() string { return c.host }

// Profiles are the machine sizes, with their defaults; the first is the one for those who choose none.
func (c *Client) Profiles() []Profile { return c.cluster.Profiles }

// Ahead tells by how much the API server's clock is ahead of this machine's, to about a second. Its error is that the API
// server does not answer, whatever the answer would be.
func (c *Client) Ahead(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.raw.Get().AbsPath(keysPath).URL().String(), nil)
	if err != nil {
		return 0, fmt.Errorf("ask the API server for the time: %w", err)
	}
	asked := time.Now()
	res, err := c.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask the API server for the time: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20)) // so that the connection can be used again
	now, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return 0, nil // it answers, and does not tell the time: nothing to compare
	}
	// The header has whole seconds, cut off: on average it is half a second behind.
	middle := asked.Add(time.Since(asked) / 2)
	return now.Add(500 * time.Millisecond).Sub(middle), nil
}

// Rehearse has the API server check a Job such as trainings are, without making it.
func (c *Client) Rehearse(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	name := "doctor-" + strings.ToLower(rand.Text()[:16])
	dir := runspec.TaskDir("doctor", name)
	job, err := Build(c.cluster, runner.Job{
		Name: "cv-" + name, Kind: runspec.Train, Task: name, Attempt: 1, Spec: path.Join(c.cluster.Volume, dir, runspec.SpecFile),
		Mounts: []runner.Mount{{Name: dir, Write: true}},
	})
	if err != nil {
		return err
	}
	made, err := c.jobs.Create(ctx, job, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err == nil && made.Name != job.Name {
		err = errors.New("the answer is about another Job")
	}
	if err != nil {
		return fmt.Errorf("create a job for trial: %w", err)
	}
	return nil
}
