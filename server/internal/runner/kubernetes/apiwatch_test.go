package kubernetes_test

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	restwatch "k8s.io/client-go/rest/watch"
)

// watch streams changes, as badly as the faults make it.
func (d *double) watch(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	resource := req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:]
	initial := q.Get("sendInitialEvents") == "true"
	position, _ := strconv.Atoi(q.Get("resourceVersion"))
	gone := apierrors.NewResourceExpired("too old resource version")
	d.mu.Lock()
	d.seen["watch "+resource]++
	if initial {
		d.seen["initial "+resource]++
	}
	refusal := (*apierrors.StatusError)(nil)
	switch {
	case initial && !d.watchList:
		refusal = apierrors.NewBadRequest("sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
	case d.dice(d.faults.gone):
		refusal = gone
	}
	info := accepted(req)
	s := &stream{d: d, resource: resource, position: position, match: matcher(req)}
	if initial && refusal == nil {
		for _, o := range d.all(resource) {
			if s.match(o) {
				s.queue = append(s.queue, change{kind: "ADDED", object: o})
			}
		}
		s.position = d.version
		s.queue = append(s.queue, change{kind: "BOOKMARK", object: bookmark(resource, d.version, true)})
	}
	d.mu.Unlock()
	if refusal != nil {
		fail(w, req, refusal)
		return
	}
	life := 300 * time.Second
	if n, err := strconv.Atoi(q.Get("timeoutSeconds")); err == nil {
		life = time.Duration(n) * time.Second
	}
	w.Header().Set("Content-Type", info.MediaType+";stream=watch")
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	frames := streaming.NewEncoder(info.StreamSerializer.NewFrameWriter(w), info.StreamSerializer.Serializer)
	events := restwatch.NewEncoder(frames, info.Serializer)
	s.send = func(kind string, o runtime.Object) {
		// An error is the client's end, which ends the stream too.
		_ = events.Encode(&watch.Event{Type: watch.EventType(kind), Object: o})
		w.(http.Flusher).Flush()
	}
	ctx, cancel := context.WithTimeout(req.Context(), life)
	defer cancel()
	s.run(ctx, req.Context(), gone)
}

func bookmark(resource string, version int, end bool) object {
	meta := metav1.ObjectMeta{ResourceVersion: strconv.Itoa(version)}
	if end {
		meta.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	var o object = &corev1.Pod{ObjectMeta: meta}
	if resource == "jobs" {
		o = &batchv1.Job{ObjectMeta: meta}
	}
	o.GetObjectKind().SetGroupVersionKind(resources[resource])
	return o
}

// stream is one watch.
type stream struct {
	d        *double
	send     func(kind string, o runtime.Object)
	resource string
	position int // version up to which the history was read
	match    func(object) bool
	queue    []change
	events   int
}

func (s *stream) run(ctx, client context.Context, gone *apierrors.StatusError) {
	for {
		s.d.mu.Lock()
		wake := s.d.wake
		s.collect()
		f := s.d.faults
		queue := s.queue
		s.queue = nil
		cut := len(queue) > 0 && s.d.dice(f.cut)
		mute := len(queue) > 0 && s.d.dice(f.mute)
		goneEvent := len(queue) > 0 && s.d.dice(f.goneEvent)
		late := time.Duration(0)
		if len(queue) > 0 && s.d.dice(f.late) {
			late = time.Duration(1+s.d.rng.IntN(20)) * time.Second
		}
		s.d.mu.Unlock()
		if late > 0 && !pause(ctx, late) {
			return
		}
		for _, c := range queue {
			s.send(c.kind, c.object)
		}
		switch {
		case cut:
			panic(http.ErrAbortHandler)
		case mute: // not even the end of its time is told
			<-client.Done()
			panic(http.ErrAbortHandler)
		case goneEvent:
			s.send("ERROR", statusOf(gone))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// collect reads what is new in the history, with the faults of single events. d.mu is held.
func (s *stream) collect() {
	d := s.d
	from, _ := slices.BinarySearchFunc(d.history, s.position+1, func(c change, v int) int { return c.version - v })
	for _, c := range d.history[from:] {
		s.position = c.version
		if c.resource != s.resource || !s.match(c.object) || d.dice(d.faults.drop) {
			continue
		}
		s.queue = append(s.queue, c)
		if d.dice(d.faults.duplicate) {
			s.queue = append(s.queue, c)
		}
		if n := len(s.queue); n > 1 && d.dice(d.faults.swap) {
			s.queue[n-1], s.queue[n-2] = s.queue[n-2], s.queue[n-1]
		}
		if s.events++; s.events%5 == 0 {
			s.queue = append(s.queue, change{kind: "BOOKMARK", object: bookmark(s.resource, d.version, false)})
		}
	}
}
