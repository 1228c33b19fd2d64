package kubernetes

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clientcache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// watchPatience is how much longer a watch may live than it asked for: the API server ends it, and one that does not
	// end hangs.
	watchPatience = 30 * time.Second
	// explainEvery, explainMost and explainAgain bound how often events are asked for, and explainAfter is how long a
	// Job may get nowhere until they are.
	explainEvery = 5 * time.Second
	explainMost  = 10
	explainAgain = 20 * time.Second
	explainAfter = 10 * time.Second
)

// follow starts everything that feeds the cache.
func (r *Runner) follow(ctx context.Context) {
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(r.log.Handler())) // where client-go tells of its troubles
	jobs := clientcache.NewSharedIndexInformer(r.source(
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return r.jobs.List(ctx, o) }, r.jobs.Watch,
	), &batchv1.Job{}, 0, nil)
	pods := clientcache.NewSharedIndexInformer(r.source(
		func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return r.pods.List(ctx, o) }, r.pods.Watch,
	), &corev1.Pod{}, 0, nil)
	for _, informer := range []clientcache.SharedIndexInformer{jobs, pods} {
		// They fail only for an informer that runs already.
		_ = informer.SetTransform(trim)
		_ = informer.SetWatchErrorHandlerWithContext(r.broken)
		_, _ = informer.AddEventHandler(clientcache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { r.take(o, false) },
			UpdateFunc: func(_, o any) { r.take(o, false) },
			DeleteFunc: func(o any) { r.take(o, true) },
		})
		r.running.Go(func() { informer.RunWithContext(ctx) })
	}
	r.running.Go(func() { r.relist(ctx) })
	r.running.Go(func() { r.explain(ctx) })
}

// broken takes note of a watch that ended, which client-go begins again by itself. That the API server is away is told by
// judge, once; client-go's own handler would call each try an error, and it makes all of the process wait for it.
func (r *Runner) broken(ctx context.Context, _ *clientcache.Reflector, err error) {
	r.log.DebugContext(ctx, "a watch ended", "error", err)
}

// source lists and watches this server's objects. A watch that outlives its own time hangs, and is cut.
func (r *Runner) source(
	list func(context.Context, metav1.ListOptions) (runtime.Object, error),
	follow func(context.Context, metav1.ListOptions) (watch.Interface, error),
) *clientcache.ListWatch {
	return &clientcache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			ctx, cancel := context.WithTimeout(ctx, listPatience)
			defer cancel()
			o.LabelSelector = selector(r.cluster.Instance)
			return list(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector(r.cluster.Instance)
			life := watchPatience
			if o.TimeoutSeconds != nil {
				life += time.Duration(*o.TimeoutSeconds) * time.Second
			}
			ctx, cancel := context.WithTimeout(ctx, life)
			w, err := follow(ctx, o)
			if err != nil {
				cancel()
				return nil, err
			}
			return boundedWatch{w, cancel}, nil
		},
	}
}

// boundedWatch is a watch with the context that bounds it.
type boundedWatch struct {
	watch.Interface
	cancel context.CancelFunc
}

// Stop ends the watch and its context.
func (w boundedWatch) Stop() {
	w.Interface.Stop()
	w.cancel()
}

// take puts what an informer says into the cache. One object that cannot be understood must not stop the others.
func (r *Runner) take(object any, gone bool) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("an object of the cluster could not be understood", "error", fmt.Sprint(p))
		}
	}()
	// What merely was not in an informer's next list may be younger than that.
	last, listed := object.(clientcache.DeletedFinalStateUnknown)
	if listed {
		object = last.Obj
	}
	switch o := object.(type) {
	case *batchv1.Job:
		if gone {
			r.cache.doubtJob(o)
			return
		}
		r.cache.putJob(o)
	case *corev1.Pod:
		if listed {
			r.cache.doubtPod(o)
			return
		}
		r.cache.putPod(o, gone)
	}
}

// relist takes in everything once a minute, and sooner after a failure.
func (r *Runner) relist(ctx context.Context) {
	pause := time.Duration(0)
	for first := true; ; first = false {
		err := r.listAll(ctx)
		if ctx.Err() == nil {
			r.judge(ctx, err)
		}
		if first {
			close(r.tried)
		}
		if err == nil {
			pause = resync
		} else if pause = min(2*pause, 15*time.Second); pause == 0 {
			pause = time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// judge notes whether the API server answers; it is told once when that changes.
func (r *Runner) judge(ctx context.Context, err error) {
	r.mu.Lock()
	before := r.away
	r.away = err
	r.mu.Unlock()
	switch {
	case err != nil && before == nil:
		r.log.WarnContext(ctx, "the cluster's API server does not answer", "error", err)
	case err == nil && before != nil:
		r.log.InfoContext(ctx, "the cluster's API server answers again")
		r.notify()
	}
}

func (r *Runner) listAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	start, began := time.Now(), r.cache.begin()
	options := metav1.ListOptions{LabelSelector: selector(r.cluster.Instance)}
	jobs, err := r.jobs.List(ctx, options)
	if err != nil {
		return fmt.Errorf("list jobs: %w", err)
	}
	pods, err := r.pods.List(ctx, options)
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	r.cache.replace(jobs, pods, began, time.Now())
	r.mu.Lock()
	r.listed = start
	r.mu.Unlock()
	return nil
}

// explain asks for the events of Jobs that get nowhere without saying why, a few at a time.
func (r *Runner) explain(ctx context.Context) {
	ticker := time.NewTicker(explainEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for name, about := range r.cache.puzzles(time.Now(), explainMost) {
			if e, ok := r.warning(ctx, about); ok {
				r.cache.explain(name, about.UID, e)
			}
		}
	}
}

// warning returns the newest event that tells why an object gets no further.
func (r *Runner) warning(ctx context.Context, about *corev1.ObjectReference) (out event, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	list, err := r.events.List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.uid": string(about.UID), "type": corev1.EventTypeWarning}.String(),
	})
	if err != nil {
		return event{}, false // an explanation is a courtesy; the next turn asks again
	}
	var newest time.Time
	for _, e := range list.Items {
		at := e.LastTimestamp.Time
		if at.IsZero() {
			at = e.EventTime.Time
		}
		if eventWorthy(e.Reason) && !at.Before(newest) {
			out, newest, ok = event{e.Reason, e.Message}, at, true
		}
	}
	return out, ok
}

// trim drops what is never read and can be most of an object.
func trim(object any) (any, error) {
	switch o := object.(type) {
	case *batchv1.Job:
		return trimJob(o), nil
	case *corev1.Pod:
		return trimPod(o), nil
	}
	return object, nil
}

func trimJob(o *batchv1.Job) *batchv1.Job { o.ManagedFields = nil; return o }

func trimPod(o *corev1.Pod) *corev1.Pod { o.ManagedFields = nil; return o }
