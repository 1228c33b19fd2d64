// Package kubernetes executes attempts as Jobs of a cluster. Each is a batch/v1 Job of one trainer, or of several for a
// divided one; what the API server says of it is kept in a cache that informers feed and a full list corrects once a
// minute. The package decides nothing about tasks, and it asks for no right outside its namespace.
package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const (
	// resync is how often everything is listed: a lost event is made up for within a minute, the request included.
	resync = 55 * time.Second
	// fresh is how old the last full list may be for the cache to be believed.
	fresh = 2 * resync
	// askAgain is how long an answer on one Job is good enough when events and lists disagree on it.
	askAgain = 5 * time.Second
)

// Options are a runner's settings.
type Options struct {
	Settings config.Kubernetes
	Volume   string       // absolute path of the shared volume on this server; pods see it at the same path
	Bases    string       // folder on the volume with the base weights; empty: the trainer's image has its own
	Access   *rest.Config // the API server and who asks; nil: as the settings say, by a file or by the pod this runs in
	Log      *slog.Logger
}

// Runner is a runner.Runner on a Kubernetes cluster.
type Runner struct {
	*Client
	log     *slog.Logger
	cache   *cache
	changed chan struct{}

	stop    context.CancelFunc
	running sync.WaitGroup
	tried   chan struct{} // closed after the first full list, or its failure

	mu     sync.Mutex
	listed time.Time // start of the last full list that succeeded
	away   error     // why the last full list failed; nil: it succeeded
}

// New checks the settings and begins to follow the cluster. The API server may be away for now. Jobs of an earlier process
// are there already: they are adopted. Close ends what New began, and no Job.
func New(o Options) (*Runner, error) {
	client, err := Connect(o)
	if err != nil {
		return nil, fmt.Errorf("open kubernetes runner: %w", err)
	}
	r := &Runner{Client: client, log: o.Log, changed: make(chan struct{}, 1), tried: make(chan struct{})}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.cache = newCache(r.notify)
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.follow(ctx)
	return r, nil
}

// Close stops following the cluster and waits until nothing of this runner runs any more. The Jobs go on.
func (r *Runner) Close() {
	r.stop()
	r.running.Wait()
}

// Slots implements runner.Runner: the cluster's own queue holds any number.
func (r *Runner) Slots(runspec.Kind) int { return 0 }

// Changed implements runner.Runner.
func (r *Runner) Changed() <-chan struct{} { return r.changed }

func (r *Runner) notify() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// List implements runner.Runner. A Job that another server of the same instance made is on it a minute later at most, and
// one that seems to be gone is asked for.
func (r *Runner) List(ctx context.Context) ([]string, error) {
	if err := r.ready(ctx); err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	for _, name := range r.cache.doubted() {
		if err := r.refresh(ctx, name); err != nil && !errors.Is(err, runner.ErrUnknown) {
			return nil, fmt.Errorf("list jobs: %w", err)
		}
	}
	return r.cache.names(), nil
}

// Status implements runner.Runner. What the cache knows is told from it; whatever it lacks or doubts is asked of the API
// server, so that a Job is never called unknown or lost because an event was.
func (r *Runner) Status(ctx context.Context, name string) (runner.Status, error) {
	if st, ok := r.cache.final(name); ok {
		return st, nil
	}
	if err := r.ready(ctx); err != nil {
		return runner.Status{}, fmt.Errorf("status of job %s: %w", name, err)
	}
	if st, doubt, ok := r.look(ctx, name); ok && !doubt {
		return st, nil
	}
	if err := r.refresh(ctx, name); err != nil {
		return runner.Status{}, err
	}
	st, _, ok := r.look(ctx, name)
	switch {
	case ok:
		return st, nil
	case r.cache.has(name):
		return runner.Status{}, fmt.Errorf("status of job %s: there was news of it while it was asked for", name)
	}
	return runner.Status{}, fmt.Errorf("%w: %s", runner.ErrUnknown, name)
}

// look observes what the cache knows of a job; an end that is sure is kept for good.
func (r *Runner) look(ctx context.Context, name string) (st runner.Status, doubt, ok bool) {
	now := time.Now().UTC()
	v, asked, ok := r.cache.view(name)
	if !ok {
		return runner.Status{}, true, false
	}
	v.pull, v.wait, v.now = r.cluster.PullPatience, r.cluster.SchedulePatience, now
	st, doubt = observe(v)
	doubt = (doubt || st.Stuck) && now.Sub(asked) > askAgain
	if !doubt && (st.Phase == runner.Exited || st.Phase == runner.Lost) {
		r.complete(ctx, v, &st)
		r.cache.conclude(name, v.job.UID, st)
	}
	return st, doubt, true
}

// refresh asks the API server for a Job and its pods.
func (r *Runner) refresh(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	began := r.cache.begin()
	job, err := r.jobs.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		r.cache.forget(name, began)
		return fmt.Errorf("%w: %s", runner.ErrUnknown, name)
	}
	if err != nil {
		return fmt.Errorf("status of job %s: %w", name, err)
	}
	if !r.ours(job.Labels) {
		r.cache.forget(name, began) // ours is gone, or its labels are
		return fmt.Errorf("status of job %s: a Job of that name exists in namespace %s that this server did not make", name, r.cluster.Namespace)
	}
	pods, err := r.pods.List(ctx, metav1.ListOptions{LabelSelector: selector(r.cluster.Instance) + "," + labelTask + "=" + job.Labels[labelTask]})
	if err != nil {
		return fmt.Errorf("status of job %s: %w", name, err)
	}
	r.cache.refreshed(job, pods, began, time.Now())
	return nil
}

func (r *Runner) ours(labels map[string]string) bool {
	return labels[labelManagedBy] == valueManagedBy && labels[labelInstance] == r.cluster.Instance
}

// ready waits for the first full list and fails while the API server has been away for too long to know anything.
func (r *Runner) ready(ctx context.Context) error {
	select {
	case <-r.tried:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.listed.IsZero() && time.Since(r.listed) <= fresh:
		return nil
	case r.away != nil:
		return fmt.Errorf("the cluster's API server does not answer: %w", r.away)
	case r.listed.IsZero():
		return errors.New("the runner was closed")
	}
	return fmt.Errorf("the cluster's API server has not answered since %s", r.listed.UTC().Format(time.RFC3339))
}
