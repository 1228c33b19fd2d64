package kubernetes_test

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
)

// fate is what becomes of a pod's trainer.
type fate struct {
	schedule time.Duration // until a node is found; < 0: never
	pull     time.Duration // until the container runs; < 0: never
	run      time.Duration // until the end; < 0: until it is ended
	end      string        // exit, oom, evict, delete, force, drain, nodelost
	code     int32
	deaf     bool // ends only when its grace is over
}

// nodeGivenUp is how long after its end was asked for a pod is collected whose node went away.
const nodeGivenUp = 30 * time.Minute

// model is a small controller for Jobs and a kubelet, which act on the double when they are stepped.
type model struct {
	d      *double
	fate   func(j *batchv1.Job) fate
	fates  map[types.UID]fate      // by pod
	truth  map[string]runner.Exit  // by the Job's name: how the trainer really ended
	traces map[string]bool         // Jobs of which no trace of the end can be left
	ending map[string]bool         // Jobs that are deleted and have no pod any more
	since  map[types.UID]time.Time // by pod: when its last phase began
	slow   func() bool             // the Job's controller takes its time
	skew   time.Duration           // by how much the nodes' clock is ahead
}

func newModel(d *double, f func(*batchv1.Job) fate) *model {
	return &model{d: d, fate: f, fates: map[types.UID]fate{}, truth: map[string]runner.Exit{}, traces: map[string]bool{}, ending: map[string]bool{},
		since: map[types.UID]time.Time{}, slow: func() bool { return false }}
}

// step lets everything act once.
func (m *model) step(now time.Time) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	for _, o := range m.d.all("pods") {
		m.kubelet(o.(*corev1.Pod), now)
	}
	for _, o := range m.d.all("jobs") {
		if !m.slow() {
			m.controller(o.(*batchv1.Job), now)
		}
	}
	m.collect(now)
}

func (m *model) podsOf(uid types.UID) (out []*corev1.Pod) {
	for _, o := range m.d.all("pods") {
		if p := o.(*corev1.Pod); metav1.GetControllerOf(p).UID == uid {
			out = append(out, p)
		}
	}
	return out
}

// controller is the Job's: one pod, and conditions from how it ends.
func (m *model) controller(j *batchv1.Job, now time.Time) {
	pods := m.podsOf(j.UID)
	if j.DeletionTimestamp != nil || done(j) {
		return
	}
	if j.Status.StartTime == nil {
		m.d.changeJob(j.Name, func(j *batchv1.Job) { j.Status.StartTime = &metav1.Time{Time: now} })
		m.pod(j, now)
		return
	}
	limit := time.Duration(*j.Spec.ActiveDeadlineSeconds) * time.Second
	if now.Sub(j.Status.StartTime.Time) >= limit && !has(j, batchv1.JobFailureTarget) && !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil || over(p) }) {
		m.truth[j.Name] = runner.Exit{Code: -1, Cause: runner.CauseDeadline}
		m.condition(j.Name, batchv1.JobFailureTarget, "DeadlineExceeded", now)
		for _, p := range pods {
			if p.DeletionTimestamp == nil && !over(p) {
				m.end(p, now)
			}
		}
		return
	}
	switch {
	case len(pods) == 0 && has(j, batchv1.JobFailureTarget):
		m.condition(j.Name, batchv1.JobFailed, "DeadlineExceeded", now)
	case len(pods) == 0:
		m.condition(j.Name, batchv1.JobFailed, "BackoffLimitExceeded", now)
	case pods[0].Status.Phase == corev1.PodSucceeded:
		m.condition(j.Name, batchv1.JobComplete, "CompletionsReached", now)
	case pods[0].Status.Phase == corev1.PodFailed && has(j, batchv1.JobFailureTarget):
		m.condition(j.Name, batchv1.JobFailed, "DeadlineExceeded", now)
	case pods[0].Status.Phase == corev1.PodFailed:
		m.condition(j.Name, batchv1.JobFailed, "BackoffLimitExceeded", now)
	}
}

func has(j *batchv1.Job, kind batchv1.JobConditionType) bool {
	for _, c := range j.Status.Conditions {
		if c.Type == kind {
			return true
		}
	}
	return false
}

func done(j *batchv1.Job) bool { return has(j, batchv1.JobComplete) || has(j, batchv1.JobFailed) }

func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func (m *model) condition(name string, kind batchv1.JobConditionType, reason string, now time.Time) {
	m.d.changeJob(name, func(j *batchv1.Job) {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{
			Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: "the model says so", LastTransitionTime: metav1.Time{Time: now},
		})
	})
}

func (m *model) pod(j *batchv1.Job, now time.Time) {
	p := &corev1.Pod{ObjectMeta: *j.Spec.Template.ObjectMeta.DeepCopy(), Spec: *j.Spec.Template.Spec.DeepCopy()}
	p.UID = m.d.uid()
	p.Name, p.Namespace, p.CreationTimestamp = fmt.Sprintf("%s-%s", j.Name, p.UID[30:]), j.Namespace, metav1.Time{Time: now}
	p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(j, resources["jobs"])}
	p.Status.Phase = corev1.PodPending
	m.fates[p.UID], m.since[p.UID] = m.fate(j), now
	m.d.put("pods", p, "ADDED")
}

// end asks a pod to end, as a deletion does.
func (m *model) end(p *corev1.Pod, now time.Time) {
	grace := *p.Spec.TerminationGracePeriodSeconds
	m.d.changePod(p.Name, func(p *corev1.Pod) {
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: now.Add(time.Duration(grace) * time.Second)}, &grace
	})
}

// collect is the garbage collector: pods follow their Job, and a Job deleted in the foreground follows its pods.
func (m *model) collect(now time.Time) {
	jobs := map[types.UID]*batchv1.Job{}
	for _, o := range m.d.all("jobs") {
		j := o.(*batchv1.Job)
		jobs[j.UID] = j
		if j.DeletionTimestamp != nil && len(m.podsOf(j.UID)) == 0 {
			m.d.remove("jobs", j.Name)
		}
	}
	for _, o := range m.d.all("pods") {
		p := o.(*corev1.Pod)
		j := jobs[metav1.GetControllerOf(p).UID]
		switch {
		case p.DeletionTimestamp == nil && (j == nil || j.DeletionTimestamp != nil):
			m.end(p, now)
		// The Job's controller lets a pod go once it has counted it.
		case p.DeletionTimestamp != nil && over(p) && (j == nil || j.DeletionTimestamp != nil || done(j)):
			m.ending[owner(p)] = j != nil && j.DeletionTimestamp != nil
			m.d.remove("pods", p.Name)
		}
	}
}

// kubelet and scheduler in one: a pod's life.
func (m *model) kubelet(p *corev1.Pod, now time.Time) {
	f, age := m.fates[p.UID], now.Sub(m.since[p.UID])
	switch {
	case over(p) && p.DeletionTimestamp != nil && *p.DeletionGracePeriodSeconds > 0:
		// It deletes what has ended once more, without grace.
		m.d.changePod(p.Name, func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: now}, new(int64)
		})
	case over(p):
	case p.DeletionTimestamp != nil:
		m.leave(p, f, now)
	case p.Spec.NodeName == "" && (f.schedule < 0 || age < f.schedule):
		if len(p.Status.Conditions) == 0 {
			m.d.changePod(p.Name, func(p *corev1.Pod) {
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available: 1 Insufficient cpu."}}
			})
		}
	case p.Spec.NodeName == "":
		m.phase(p, now, func(p *corev1.Pod) {
			p.Spec.NodeName, p.Status.StartTime = "node1", &metav1.Time{Time: now}
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: now}}}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "trainer", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}}
		})
	case p.Status.Phase == corev1.PodPending && f.pull < 0:
		if p.Status.ContainerStatuses[0].State.Waiting.Reason == "ContainerCreating" {
			m.d.changePod(p.Name, func(p *corev1.Pod) {
				p.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off pulling image"}
			})
		}
	case p.Status.Phase == corev1.PodPending && age >= f.pull:
		m.phase(p, now, func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodRunning
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Time{Time: now.Add(m.skew)}}}
		})
	case p.Status.Phase == corev1.PodRunning && f.run >= 0 && age >= f.run:
		m.finish(p, f, now)
	}
}

func (m *model) phase(p *corev1.Pod, now time.Time, f func(*corev1.Pod)) {
	m.since[p.UID] = now
	m.d.changePod(p.Name, f)
}

// leave is a pod that was told to end.
func (m *model) leave(p *corev1.Pod, f fate, now time.Time) {
	asked := p.DeletionTimestamp.Add(-time.Duration(*p.DeletionGracePeriodSeconds) * time.Second)
	switch {
	case p.Status.Phase == corev1.PodPending && p.Spec.NodeName == "":
		m.d.remove("pods", p.Name)
	case f.end == "nodelost" && f.run >= 0 && m.truth[owner(p)].Cause == runner.CauseNodeLost:
		// No kubelet is there, until the cluster gives the node up.
		if now.Sub(p.DeletionTimestamp.Time) > nodeGivenUp {
			m.d.remove("pods", p.Name)
		}
	case p.Status.Phase == corev1.PodPending:
		m.d.changePod(p.Name, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed; p.Status.ContainerStatuses = nil })
	case f.deaf && now.Before(p.DeletionTimestamp.Time):
	case f.deaf:
		m.terminate(p, 137, "Error", now)
	case now.Sub(asked) >= 2*time.Second:
		m.terminate(p, 30, "Error", now)
	}
}

func owner(p *corev1.Pod) string { return metav1.GetControllerOf(p).Name }

func (m *model) terminate(p *corev1.Pod, code int32, reason string, now time.Time, more ...func(*corev1.Pod)) {
	m.d.changePod(p.Name, func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodFailed
		if code == 0 {
			p.Status.Phase, reason = corev1.PodSucceeded, "Completed"
		}
		begun := p.Status.ContainerStatuses[0].State.Running.StartedAt
		p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: code, Reason: reason, StartedAt: begun, FinishedAt: metav1.Time{Time: now.Add(m.skew)},
		}}
		for _, f := range more {
			f(p)
		}
	})
}

// finish is the end that fate had in mind for a trainer that runs.
func (m *model) finish(p *corev1.Pod, f fate, now time.Time) {
	name := owner(p)
	disrupt := func(reason string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, LastTransitionTime: metav1.Time{Time: now}})
		}
	}
	if m.d.job(name) == nil || m.d.job(name).DeletionTimestamp != nil || has(m.d.job(name), batchv1.JobFailureTarget) {
		return // it is being ended otherwise
	}
	switch f.end {
	case "exit":
		m.truth[name] = runner.Exit{Code: int(f.code)}
		m.terminate(p, f.code, "Error", now)
	case "oom":
		m.truth[name] = runner.Exit{Code: -1, Signal: "killed", Cause: runner.CauseOutOfMemory}
		m.terminate(p, 137, "OOMKilled", now)
	case "evict":
		m.truth[name] = runner.Exit{Code: -1, Cause: runner.CauseEvicted}
		m.d.changePod(p.Name, func(p *corev1.Pod) {
			p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, "Evicted", "The node was low on resource: memory."
			p.Status.ContainerStatuses = nil
			disrupt("TerminationByKubelet")(p)
		})
	case "drain":
		m.truth[name] = runner.Exit{Code: 30, Cause: runner.CauseEvicted}
		m.traces[name] = true
		m.d.changePod(p.Name, disrupt("EvictionByEvictionAPI"))
		m.end(p, now)
	case "delete":
		m.truth[name] = runner.Exit{Code: 30, Cause: runner.CauseDeleted}
		m.traces[name] = true
		m.end(p, now)
	case "force":
		m.truth[name] = runner.Exit{Code: -1, Cause: runner.CauseDeleted}
		m.traces[name] = true
		m.d.remove("pods", p.Name)
	case "nodelost":
		m.truth[name] = runner.Exit{Code: -1, Cause: runner.CauseNodeLost}
		m.d.changePod(p.Name, disrupt("DeletionByTaintManager"))
		m.end(p, now)
	}
}
