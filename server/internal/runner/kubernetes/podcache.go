package kubernetes

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// restored is how many full lists in a row may lack a pod and be older than what is known of it until it is given up: no
// list is that late, so that the cluster was restored from a backup.
const restored = 3

// podNow is a pod with what is known of its presence.
type podNow struct {
	pod
	missed int // full lists in a row that lacked it and were too old to count
}

// putPod takes in a version of a pod; gone says that it was its last.
func (c *cache) putPod(p *corev1.Pod, gone bool) {
	c.mu.Lock()
	news := c.place(p, gone)
	c.mu.Unlock()
	if news {
		c.notify()
	}
}

// doubtPod notes that a pod seems to be gone: its Job is to be asked for.
func (c *cache) doubtPod(p *corev1.Pod) {
	c.mu.Lock()
	owner := jobOf(p)
	for _, e := range c.jobs {
		if e.job.UID == owner {
			e.unsure = true
		}
	}
	c.mu.Unlock()
	c.notify()
}

// jobOf is the Job that a pod belongs to; empty when it belongs to none.
func jobOf(p *corev1.Pod) types.UID {
	owner := metav1.GetControllerOf(p)
	if owner == nil || owner.Kind != "Job" {
		return ""
	}
	return owner.UID
}

func (c *cache) place(p *corev1.Pod, gone bool) bool {
	owner := jobOf(p)
	if owner == "" {
		return false
	}
	all := c.pods[owner]
	if all == nil {
		all = map[types.UID]*podNow{}
		c.pods[owner] = all
	}
	have := all[p.UID]
	if have == nil {
		have = &podNow{}
		all[p.UID] = have
	} else if older(p.ResourceVersion, have.ResourceVersion) {
		return false
	}
	news := have.Pod == nil || have.ResourceVersion != p.ResourceVersion || gone
	have.Pod, have.gone, have.missed = p, time.Time{}, 0
	if gone {
		have.gone = time.Now()
	}
	return news
}

// replacePods takes in a full list of pods.
func (c *cache) replacePods(list *corev1.PodList, now time.Time) (news bool) {
	listed := map[types.UID]bool{}
	for i := range list.Items {
		p := trimPod(&list.Items[i])
		listed[p.UID] = true
		news = c.place(p, false) || news
	}
	for _, all := range c.pods {
		for uid, p := range all {
			if !listed[uid] {
				p.missed++
				news = p.absent(list.ResourceVersion, now) || news
			}
		}
	}
	return news
}

// refreshPods takes in a list of pods with all those of one Job.
func (c *cache) refreshPods(job types.UID, list *corev1.PodList, now time.Time) (news bool) {
	listed := map[types.UID]bool{}
	for i := range list.Items {
		if p := trimPod(&list.Items[i]); jobOf(p) == job {
			listed[p.UID] = true
			news = c.place(p, false) || news
		}
	}
	for uid, p := range c.pods[job] {
		if !listed[uid] {
			news = p.absent(list.ResourceVersion, now) || news
		}
	}
	return news
}

// absent notes that a list of some version lacks the pod. One that is older than what is known of the pod was made before
// it, as far as anybody can tell.
func (p *podNow) absent(version string, now time.Time) bool {
	if !p.gone.IsZero() || older(version, p.ResourceVersion) && p.missed < restored {
		return false
	}
	p.gone = now
	return true
}
