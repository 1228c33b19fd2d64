package kubernetes_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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
	runtime.Object
}

// change is an entry of the history that watches read.
type change struct {
	version  int
	resource string
	kind     string // ADDED, MODIFIED, DELETED
	object   object
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
	onPut     func(change)
	serial    int
	logs      map[string]string // by pod

	seen map[string]int // requests by what they were, such as "list jobs"
}

func newDouble(seed uint64) *double {
	d := &double{
		rng: rand.New(rand.NewPCG(seed, 7)), version: 1000, objects: map[string]map[string]object{}, old: map[string][]object{},
		wake: make(chan struct{}), watchList: true, denied: map[string]bool{}, logs: map[string]string{}, seen: map[string]int{},
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
	c := change{d.version, resource, kind, o}
	d.history = append(d.history, c)
	if d.onPut != nil {
		d.onPut(c)
	}
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

// set changes the double between two requests.
func (d *double) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// requests counts those that were such, as seen names them.
func (d *double) requests(kinds ...string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, kind := range kinds {
		n += d.seen[kind]
	}
	return n
}
