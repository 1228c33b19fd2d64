package kubernetes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// faults are the chances, from 0 to 1, of what may go wrong with a request or an event.
type faults struct {
	refuse    float64 // cut before anything was done
	lose      float64 // done, and cut before the answer
	busy      float64 // 429, 500, 503
	hang      float64 // no answer until the client gives up
	stale     float64 // a list as it was a while ago
	gone      float64 // a watch from a version that is not kept any more: 410
	goneEvent float64 // the same as an event
	cut       float64 // a watch ends, at each event
	mute      float64 // a watch says nothing more, at each event
	drop      float64
	duplicate float64
	swap      float64 // an event comes after the next one
	late      float64 // an event comes seconds later
}

// resources are the kinds of object that the double serves.
var resources = map[string]schema.GroupVersionKind{
	"jobs":   batchv1.SchemeGroupVersion.WithKind("Job"),
	"pods":   corev1.SchemeGroupVersion.WithKind("Pod"),
	"events": corev1.SchemeGroupVersion.WithKind("Event"),
}

// object is what the double stores: a pointer to a Job, Pod or Event. A stored object is never changed, only replaced.
type object interface {
	metav1.Object
	GetObjectKind() schema.ObjectKind
}

// change is an entry of the history that watches read.
type change struct {
	version  int
	resource string
	kind     string // ADDED, MODIFIED, DELETED
	object   object
	body     []byte
}

// double is an API server for Jobs, pods and events with a mind of its own.
type double struct {
	mu        sync.Mutex
	rng       *rand.Rand
	version   int
	objects   map[string]map[string]object // by resource, by name
	history   []change
	old       map[string][]object // by resource: an earlier state, for stale lists
	oldAt     int
	wake      chan struct{} // closed and replaced at each change
	faults    faults
	watchList bool // false: sendInitialEvents is answered with 400
	away      bool // every connection is cut
	denied    map[string]bool
	onCreate  func(*batchv1.Job)
	requests  int
	watches   int
	serial    int
}

func newDouble(seed uint64) *double {
	d := &double{
		rng: rand.New(rand.NewPCG(seed, 7)), version: 1000, objects: map[string]map[string]object{}, old: map[string][]object{},
		wake: make(chan struct{}), watchList: true, denied: map[string]bool{},
	}
	for r := range resources {
		d.objects[r] = map[string]object{}
	}
	return d
}

// put stores an object under a new version and tells the watches. d.mu is held.
func (d *double) put(resource string, o object, kind string) {
	d.version++
	o.SetResourceVersion(strconv.Itoa(d.version))
	o.GetObjectKind().SetGroupVersionKind(resources[resource])
	if kind == "DELETED" {
		delete(d.objects[resource], o.GetName())
	} else {
		d.objects[resource][o.GetName()] = o
	}
	body, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	d.history = append(d.history, change{d.version, resource, kind, o, body})
	close(d.wake)
	d.wake = make(chan struct{})
}

func (d *double) job(name string) *batchv1.Job {
	j, _ := d.objects["jobs"][name].(*batchv1.Job)
	return j
}

func (d *double) changeJob(name string, f func(*batchv1.Job)) {
	if j := d.job(name); j != nil {
		j = j.DeepCopy()
		f(j)
		d.put("jobs", j, "MODIFIED")
	}
}

func (d *double) changePod(name string, f func(*corev1.Pod)) {
	if p, ok := d.objects["pods"][name].(*corev1.Pod); ok {
		p = p.DeepCopy()
		f(p)
		d.put("pods", p, "MODIFIED")
	}
}

func (d *double) remove(resource, name string) {
	switch o := d.objects[resource][name].(type) {
	case *batchv1.Job:
		d.put(resource, o.DeepCopy(), "DELETED")
	case *corev1.Pod:
		d.put(resource, o.DeepCopy(), "DELETED")
	}
}

// all returns the objects of a resource in the order of their names.
func (d *double) all(resource string) []object {
	var out []object
	for _, o := range d.objects[resource] {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b object) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

func (d *double) uid() types.UID {
	d.serial++
	return types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", d.serial))
}

// remember keeps the present for stale lists.
func (d *double) remember() {
	for r := range resources {
		d.old[r] = d.all(r)
	}
	d.oldAt = d.version
}

func (d *double) dice(chance float64) bool { return chance > 0 && d.rng.Float64() < chance }

// ServeHTTP answers like an API server, or does not.
func (d *double) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	// Only when all of a request is read does its context end with the connection.
	sent, _ := io.ReadAll(req.Body)
	req.Body = io.NopCloser(bytes.NewReader(sent))
	d.mu.Lock()
	d.requests++
	f := d.faults
	refuse, lose, hang, busy := d.away || d.dice(f.refuse), d.dice(f.lose), d.dice(f.hang), d.dice(f.busy)
	code := []int{429, 500, 503, 504}[d.rng.IntN(4)]
	d.mu.Unlock()
	switch {
	case refuse:
		panic(http.ErrAbortHandler)
	case hang:
		<-req.Context().Done()
		panic(http.ErrAbortHandler)
	case busy:
		if code == 429 {
			w.Header().Set("Retry-After", "1")
		}
		answer(w, code, apierrors.NewGenericServerResponse(code, req.Method, schema.GroupResource{}, "", "the double is busy", 1, true).Status())
		return
	}
	if req.URL.Query().Get("watch") != "" && req.URL.Query().Get("watch") != "false" {
		d.watch(w, req)
		return
	}
	d.mu.Lock()
	status, body := d.serve(req)
	d.mu.Unlock()
	if lose {
		panic(http.ErrAbortHandler)
	}
	answer(w, status, body)
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

func failure(err *apierrors.StatusError) (int, any) {
	st := err.Status()
	st.Kind, st.APIVersion = "Status", "v1"
	return int(st.Code), st
}

// serve does what a request asks for. d.mu is held.
func (d *double) serve(req *http.Request) (int, any) {
	path := req.URL.Path
	switch path {
	case "/openid/v1/jwks":
		return 200, json.RawMessage(`{"keys":[{"kid":"one"}]}`)
	case "/.well-known/openid-configuration":
		return 200, json.RawMessage(`{"issuer":"https://kubernetes.default.svc"}`)
	case "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
		return d.review(req)
	}
	_, rest, ok := strings.Cut(path, "/namespaces/ns/")
	resource, name, _ := strings.Cut(rest, "/")
	kind, known := resources[resource]
	if !ok || !known {
		return failure(apierrors.NewNotFound(schema.GroupResource{Resource: path}, ""))
	}
	group := schema.GroupResource{Group: kind.Group, Resource: resource}
	have := d.objects[resource][name]
	switch {
	case req.Method == http.MethodPost && resource == "jobs":
		return d.create(req, group)
	case req.Method == http.MethodGet && name == "":
		return d.list(req, resource, kind)
	case have == nil:
		return failure(apierrors.NewNotFound(group, name))
	case req.Method == http.MethodGet:
		return 200, have
	case req.Method == http.MethodDelete && resource == "jobs":
		return d.delete(req, group, have.(*batchv1.Job))
	}
	return failure(apierrors.NewMethodNotSupported(group, req.Method))
}

func (d *double) review(req *http.Request) (int, any) {
	var review map[string]any
	_ = json.NewDecoder(req.Body).Decode(&review)
	what, _ := review["spec"].(map[string]any)["resourceAttributes"].(map[string]any)
	review["status"] = map[string]any{"allowed": !d.denied[fmt.Sprint(what["verb"], " ", what["resource"])]}
	return 201, review
}

func (d *double) create(req *http.Request, group schema.GroupResource) (int, any) {
	var j batchv1.Job
	if err := json.NewDecoder(req.Body).Decode(&j); err != nil {
		return failure(apierrors.NewBadRequest(err.Error()))
	}
	if d.objects["jobs"][j.Name] != nil {
		return failure(apierrors.NewAlreadyExists(group, j.Name))
	}
	j.UID, j.CreationTimestamp = d.uid(), metav1.Now()
	j.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "double"}}
	if d.onCreate != nil {
		d.onCreate(&j)
	}
	d.put("jobs", &j, "ADDED")
	return 201, &j
}

func (d *double) delete(req *http.Request, group schema.GroupResource, j *batchv1.Job) (int, any) {
	var o metav1.DeleteOptions
	_ = json.NewDecoder(req.Body).Decode(&o)
	if o.Preconditions != nil && o.Preconditions.UID != nil && *o.Preconditions.UID != j.UID {
		return failure(apierrors.NewConflict(group, j.Name, fmt.Errorf("the UID in the precondition is not that of the object")))
	}
	if o.PropagationPolicy != nil && *o.PropagationPolicy == metav1.DeletePropagationForeground {
		if j.DeletionTimestamp == nil {
			d.changeJob(j.Name, func(j *batchv1.Job) {
				now := metav1.Now()
				j.DeletionTimestamp, j.Finalizers = &now, append(j.Finalizers, metav1.FinalizerDeleteDependents)
			})
		}
	} else {
		d.remove("jobs", j.Name)
	}
	return 200, j
}

func (d *double) list(req *http.Request, resource string, kind schema.GroupVersionKind) (int, any) {
	all, version := d.all(resource), d.version
	if resource != "events" && d.oldAt > 0 && d.dice(d.faults.stale) {
		all, version = d.old[resource], d.oldAt
	}
	match := matcher(req)
	items := []object{}
	for _, o := range all {
		if match(o) {
			items = append(items, o)
		}
	}
	return 200, map[string]any{
		"kind": kind.Kind + "List", "apiVersion": kind.GroupVersion().String(),
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(version)}, "items": items,
	}
}

func matcher(req *http.Request) func(object) bool {
	want, err := labels.Parse(req.URL.Query().Get("labelSelector"))
	if err != nil {
		return func(object) bool { return false }
	}
	field := req.URL.Query().Get("fieldSelector")
	return func(o object) bool {
		if e, ok := o.(*corev1.Event); ok && field != "" {
			return strings.Contains(field, "involvedObject.uid="+string(e.InvolvedObject.UID)) && strings.Contains(field, "type="+e.Type)
		}
		return want.Matches(labels.Set(o.GetLabels()))
	}
}

// watch streams changes, as badly as the faults make it.
func (d *double) watch(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	resource := req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:]
	match := matcher(req)
	d.mu.Lock()
	d.watches++
	position, _ := strconv.Atoi(q.Get("resourceVersion"))
	initial := q.Get("sendInitialEvents") == "true"
	if initial && !d.watchList {
		d.mu.Unlock()
		code, body := failure(apierrors.NewBadRequest("sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"))
		answer(w, code, body)
		return
	}
	gone := apierrors.NewResourceExpired("too old resource version")
	if d.dice(d.faults.gone) {
		d.mu.Unlock()
		code, body := failure(gone)
		answer(w, code, body)
		return
	}
	s := &stream{d: d, w: w, resource: resource, position: position, match: match}
	if initial {
		for _, o := range d.all(resource) {
			if match(o) {
				body, _ := json.Marshal(o)
				s.queue = append(s.queue, change{kind: "ADDED", body: body})
			}
		}
		s.position = d.version
		s.queue = append(s.queue, change{kind: "BOOKMARK", body: bookmark(resource, d.version, true)})
	}
	d.mu.Unlock()
	life := 300 * time.Second
	if n, err := strconv.Atoi(q.Get("timeoutSeconds")); err == nil {
		life = time.Duration(n) * time.Second
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	ctx, cancel := context.WithTimeout(req.Context(), life)
	defer cancel()
	s.run(ctx, req.Context(), gone)
}

func bookmark(resource string, version int, end bool) []byte {
	kind := resources[resource]
	meta := map[string]any{"resourceVersion": strconv.Itoa(version), "creationTimestamp": nil}
	if end {
		meta["annotations"] = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	b, _ := json.Marshal(map[string]any{"kind": kind.Kind, "apiVersion": kind.GroupVersion().String(), "metadata": meta})
	return b
}

// stream is one watch.
type stream struct {
	d        *double
	w        http.ResponseWriter
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
			s.send(c.kind, c.body)
		}
		switch {
		case cut:
			panic(http.ErrAbortHandler)
		case mute: // not even the end of its time is told
			<-client.Done()
			panic(http.ErrAbortHandler)
		case goneEvent:
			_, st := failure(gone)
			b, _ := json.Marshal(st)
			s.send("ERROR", b)
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

func (s *stream) send(kind string, body []byte) {
	_, _ = fmt.Fprintf(s.w, `{"type":%q,"object":%s}`+"\n", kind, body)
	s.w.(http.Flusher).Flush()
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
			s.queue = append(s.queue, change{kind: "BOOKMARK", body: bookmark(s.resource, d.version, false)})
		}
	}
}
