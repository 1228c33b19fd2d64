package kubernetes

import (
	"maps"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
)

// removedFor is how long late events of a removed Job are ignored.
const removedFor = 2 * time.Minute

// cache is what is known of this server's Jobs and pods. Informers, lists and answers to single requests feed it, in any
// order, and each may be late: an object never goes back to an older version, and that a Job is gone is believed only of a
// request for it. The objects in it are never changed.
type cache struct {
	notify func()

	mu      sync.Mutex
	tick    uint64                              // counts what was taken in
	jobs    map[string]*entry                   // by name
	pods    map[types.UID]map[types.UID]*podNow // by Job, by pod
	removed map[types.UID]time.Time             // Jobs that Remove deleted
}

// entry is what is known of one Job.
type entry struct {
	job       *batchv1.Job
	touched   uint64         // tick of the last news
	unsure    bool           // something says that it is gone, or that this is not its newest version
	final     *runner.Status // how it ended, once that is sure
	asked     time.Time      // when the API server was asked for it alone
	oldPods   time.Time      // since when lists of its pods have been older than the Job; zero: the last was not
	killed    time.Time      // when Kill deleted it
	events    map[types.UID]event
	explained time.Time // when its events were asked for
}

func newCache(notify func()) *cache {
	return &cache{notify: notify, jobs: map[string]*entry{}, pods: map[types.UID]map[types.UID]*podNow{}, removed: map[types.UID]time.Time{}}
}

// begin marks the start of a request: what comes in after it is newer than its answer.
func (c *cache) begin() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tick
}

// older tells whether version a is older than b. Versions that are no numbers cannot be compared.
func older(a, b string) bool {
	n, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && n < 0
}

// putJob takes in a version of a Job that an event or a request brought.
func (c *cache) putJob(job *batchv1.Job) {
	c.mu.Lock()
	news := c.put(job)
	c.mu.Unlock()
	if news {
		c.notify()
	}
}

// put takes in a version unless a newer one is there, and tells whether it is news.
func (c *cache) put(job *batchv1.Job) bool {
	if _, ok := c.removed[job.UID]; ok {
		return false
	}
	e := c.jobs[job.Name]
	if e != nil && older(job.ResourceVersion, e.job.ResourceVersion) {
		return false
	}
	same := e != nil && e.job.UID == job.UID
	news := !same || e.job.ResourceVersion != job.ResourceVersion
	if !same {
		e = &entry{events: map[types.UID]event{}}
		c.jobs[job.Name] = e
	}
	c.tick++
	e.job, e.touched, e.unsure = job, c.tick, false
	return news
}

// doubtJob notes that an event says that a Job is gone.
func (c *cache) doubtJob(job *batchv1.Job) {
	c.mu.Lock()
	if e := c.jobs[job.Name]; e != nil && e.job.UID == job.UID {
		e.unsure, e.asked = true, time.Time{}
	}
	c.mu.Unlock()
	c.notify()
}

// replace takes in full lists that began at a tick. They are the truth about everything that no news came of meanwhile.
func (c *cache) replace(jobs *batchv1.JobList, pods *corev1.PodList, began uint64, now time.Time) {
	c.mu.Lock()
	news := false
	listed := map[types.UID]bool{}
	for i := range jobs.Items {
		job := trimJob(&jobs.Items[i])
		listed[job.UID] = true
		news = c.put(job) || news
		if e := c.jobs[job.Name]; e != nil && e.touched <= began && e.job.ResourceVersion != job.ResourceVersion {
			e.unsure = true // one of both is late, or the cluster was restored from a backup
		}
	}
	for _, e := range c.jobs {
		if e.touched > began || listed[e.job.UID] {
			continue
		}
		e.unsure, news = true, true
	}
	news = c.replacePods(pods, now) || news
	c.clean(now)
	c.mu.Unlock()
	if news {
		c.notify()
	}
}

// clean forgets pods of Jobs that are not there any more, and removals that nothing late can come of.
func (c *cache) clean(now time.Time) {
	live := map[types.UID]bool{}
	for _, e := range c.jobs {
		live[e.job.UID] = true
	}
	for owner, all := range c.pods {
		maps.DeleteFunc(all, func(_ types.UID, p *podNow) bool { return !live[owner] && !p.gone.IsZero() })
		if len(all) == 0 {
			delete(c.pods, owner)
		}
	}
	maps.DeleteFunc(c.removed, func(_ types.UID, at time.Time) bool { return now.Sub(at) > removedFor })
}

// refreshed takes in the answer to a request for one Job and its pods that began at a tick.
func (c *cache) refreshed(job *batchv1.Job, pods *corev1.PodList, began uint64, now time.Time) {
	c.mu.Lock()
	job = trimJob(job)
	if e := c.jobs[job.Name]; e != nil && e.touched <= began && (e.job.UID != job.UID || older(job.ResourceVersion, e.job.ResourceVersion)) {
		delete(c.jobs, job.Name) // whatever made us believe in a newer one, the API server does not
	}
	news := c.put(job)
	if e := c.jobs[job.Name]; e != nil && e.job.UID == job.UID {
		e.asked, e.unsure = now, false
		if !older(pods.ResourceVersion, job.ResourceVersion) {
			e.oldPods = time.Time{}
		} else if e.oldPods.IsZero() {
			e.oldPods = now
		}
		news = c.refreshPods(job.UID, pods, now) || news
	}
	c.mu.Unlock()
	if news {
		c.notify()
	}
}

// forget drops a Job that a request begun at a tick did not find.
func (c *cache) forget(name string, began uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.jobs[name]; e != nil && e.touched <= began {
		delete(c.jobs, name)
	}
}

// remove drops a Job that was deleted, and what may still come of it.
func (c *cache) remove(name string, uid types.UID, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed[uid] = now
	if e := c.jobs[name]; e != nil && e.job.UID == uid {
		delete(c.jobs, name)
	}
}

func (c *cache) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.jobs))
}

// doubted names the Jobs that must be asked for.
func (c *cache) doubted() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, e := range c.jobs {
		if e.unsure {
			out = append(out, name)
		}
	}
	return out
}

// final returns how a job ended, once that is sure.
func (c *cache) final(name string) (runner.Status, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.jobs[name]; e != nil && e.final != nil && !e.unsure {
		return *e.final, true
	}
	return runner.Status{}, false
}

func (c *cache) conclude(name string, uid types.UID, st runner.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.jobs[name]; e != nil && e.job.UID == uid && e.final == nil {
		e.final = &st
	}
}

// has tells whether anything is known of a job.
func (c *cache) has(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jobs[name] != nil
}

// view returns what is known of a job, with when the API server was last asked for it alone. It is not ok when it is
// unknown or must be asked for.
func (c *cache) view(name string) (v view, asked time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.jobs[name]
	if e == nil || e.unsure {
		return view{}, time.Time{}, false
	}
	return c.viewOf(e), e.asked, true
}

func (c *cache) viewOf(e *entry) view {
	v := view{job: e.job, oldPods: e.oldPods, events: maps.Clone(e.events)}
	for _, p := range c.pods[e.job.UID] {
		v.pods = append(v.pods, p.pod)
	}
	return v
}

// puzzles returns the objects whose events may tell why jobs wait, by the job's name, those first that were asked for
// longest ago.
func (c *cache) puzzles(now time.Time, most int) map[string]*corev1.ObjectReference {
	c.mu.Lock()
	defer c.mu.Unlock()
	type puzzle struct {
		e     *entry
		about *corev1.ObjectReference
	}
	var all []puzzle
	for _, e := range c.jobs {
		if e.final != nil || now.Sub(e.explained) < explainAgain {
			continue
		}
		v := c.viewOf(e)
		v.now = now
		if about := v.puzzling(); about != nil {
			all = append(all, puzzle{e, about})
		}
	}
	slices.SortFunc(all, func(a, b puzzle) int { return a.e.explained.Compare(b.e.explained) })
	out := map[string]*corev1.ObjectReference{}
	for _, p := range all[:min(len(all), most)] {
		p.e.explained = now
		out[p.e.job.Name] = p.about
	}
	return out
}

// explain keeps the newest warning on a Job or a pod of it.
func (c *cache) explain(name string, about types.UID, ev event) {
	c.mu.Lock()
	e := c.jobs[name]
	news := e != nil && e.events[about] != ev
	if news {
		e.events[about] = ev
	}
	c.mu.Unlock()
	if news {
		c.notify()
	}
}

// deleting returns a Job's UID and whether its deletion is under way.
func (c *cache) deleting(name string, now time.Time) (uid types.UID, going, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.jobs[name]
	if e == nil {
		return "", false, false
	}
	return e.job.UID, e.job.DeletionTimestamp != nil || now.Sub(e.killed) < killAgain, true
}

// kill notes that a Job's deletion was accepted.
func (c *cache) kill(name string, uid types.UID, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.jobs[name]; e != nil && e.job.UID == uid {
		e.killed = now
	}
}

// recheck makes the next look at a Job ask the API server.
func (c *cache) recheck(name string, uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.jobs[name]; e != nil && e.job.UID == uid {
		e.unsure = true
	}
}
