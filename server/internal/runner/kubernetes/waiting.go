package kubernetes

import (
	"cmp"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
)

// eventWorthy are the warnings that explain why a pod or its Job gets no further.
func eventWorthy(reason string) bool {
	return slices.Contains([]string{
		"FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", "FailedCreatePodContainer", "FailedCreate",
		"FailedBinding", "ProvisioningFailed", "NetworkNotReady",
	}, reason)
}

// idle are a container's reasons to wait that say nothing: it gets along.
func idle(reason string) bool {
	return reason == "" || reason == "ContainerCreating" || reason == "PodInitializing"
}

func suspended(job *batchv1.Job) bool { return job.Spec.Suspend != nil && *job.Spec.Suspend }

// queued is a Job that may not have pods yet. It waits for as long as the queue lets it.
func (v view) queued() runner.Status {
	why := "it is suspended"
	if queue := v.job.Labels[labelQueue]; queue != "" {
		why = "it waits in the cluster's queue " + queue
	}
	return runner.Status{Phase: runner.Waiting, Why: why}
}

// podless is a Job that was accepted and has no pod so far.
func (v view) podless() runner.Status {
	st := runner.Status{Phase: runner.Waiting}
	e, ok := v.events[v.job.UID]
	patience := v.wait
	if ok {
		st.Why = cmp.Or(e.message, e.reason)
		// A quota is free again when somebody's pod ends; what admission refuses it refuses for ever.
		if !strings.Contains(e.message, "exceeded quota") {
			patience = v.pull
		}
	}
	st.Stuck = v.over(started(v.job), patience)
	return st
}

// waiting is a pod whose trainer has not begun.
func (v view) waiting(p pod) runner.Status {
	st := runner.Status{Phase: runner.Waiting}
	scheduled := podCondition(p.Pod, corev1.PodScheduled)
	if p.Spec.NodeName == "" && (scheduled == nil || scheduled.Status != corev1.ConditionTrue) {
		if scheduled != nil {
			st.Why = cmp.Or(scheduled.Message, scheduled.Reason)
			if scheduled.Reason == corev1.PodReasonSchedulingGated {
				return st // something in the cluster holds it back on purpose
			}
		}
		st.Stuck = v.over(p.CreationTimestamp.Time, v.wait)
		return st
	}
	since := p.CreationTimestamp.Time
	if scheduled != nil && scheduled.LastTransitionTime.After(since) {
		since = scheduled.LastTransitionTime.Time
	}
	st.Stuck = v.over(since, v.pull)
	s := mainStatus(p.Pod)
	if s != nil && s.State.Waiting != nil {
		st.Why = detail(s.State.Waiting.Reason, s.State.Waiting.Message)
	}
	if s == nil || s.State.Waiting == nil || idle(s.State.Waiting.Reason) {
		if e, ok := v.events[p.UID]; ok {
			st.Why = detail(e.reason, e.message)
		}
	}
	return st
}

// over tells whether something has lasted for longer than patience allows.
func (v view) over(since time.Time, patience time.Duration) bool {
	return !since.IsZero() && v.now.Sub(since) > patience
}

// puzzling returns the object whose events would explain why the job waits; nil when it is known or early yet.
func (v view) puzzling() *corev1.ObjectReference {
	if v.job.DeletionTimestamp != nil || suspended(v.job) || condition(v.job, batchv1.JobComplete) != nil || condition(v.job, batchv1.JobFailed) != nil {
		return nil
	}
	early := func(since time.Time) bool { return v.now.Sub(since) < explainAfter }
	exists := false
	for _, p := range v.pods {
		if !p.gone.IsZero() {
			continue
		}
		exists = true
		s := mainStatus(p.Pod)
		if p.Spec.NodeName == "" || s != nil && (s.State.Waiting == nil || !idle(s.State.Waiting.Reason)) || early(p.CreationTimestamp.Time) {
			continue
		}
		if _, ended := v.ended(p); !ended {
			return &corev1.ObjectReference{Kind: "Pod", Name: p.Name, UID: p.UID}
		}
	}
	if exists || early(started(v.job)) {
		return nil
	}
	return &corev1.ObjectReference{Kind: "Job", Name: v.job.Name, UID: v.job.UID}
}

func mainStatus(p *corev1.Pod) *corev1.ContainerStatus {
	for i, s := range p.Status.ContainerStatuses {
		if s.Name == container {
			return &p.Status.ContainerStatuses[i]
		}
	}
	return nil
}

func podCondition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i, c := range p.Status.Conditions {
		if c.Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}
