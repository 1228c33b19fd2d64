package kubernetes

import (
	"slices"
	"strings"
	"syscall"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// firstSignal is added to a signal's number to make the exit code of a container that it ended.
const firstSignal = 128

// maxSignal is the highest number of a signal.
const maxSignal = 64

// clockSkew is how much later the cluster may seem to have done what ended a container on a node: each has its own clock,
// and all times are cut to whole seconds.
const clockSkew = 5 * time.Second

// Reasons that the kubelet gives and the API's packages don't name.
const (
	reasonEvicted       = "Evicted"
	reasonNodeLost      = "NodeLost"
	reasonPreempting    = "Preempting"
	reasonOOMKilled     = "OOMKilled"
	reasonStatusUnknown = "ContainerStatusUnknown"
)

// unreadLog is how the kubelet begins a container's message when it could not read its log.
const unreadLog = "Error on reading termination message from logs"

// ended tells how the trainer of a pod ended; ok is false while it has not.
func (v view) ended(p pod) (e runner.Exit, ok bool) {
	s := mainStatus(p.Pod)
	switch {
	case s != nil && s.State.Terminated != nil:
		return v.terminated(p, *s.State.Terminated), true
	case p.Status.Phase == corev1.PodSucceeded:
		return runner.Exit{Started: podStart(p.Pod), Ended: podStart(p.Pod)}, true
	case p.Status.Phase == corev1.PodFailed:
		return v.neverEnded(p), true
	case p.gone.IsZero() && p.DeletionTimestamp != nil && v.now.Sub(p.DeletionTimestamp.Time) > vanishGrace:
		// The kubelet would have ended it by force at the deletion's time: nobody is there to do it.
		_, words := disruption(p.Pod, time.Time{})
		return runner.Exit{Code: -1, Cause: runner.CauseNodeLost, Detail: nodeWords(p.Pod, words), Started: podStart(p.Pod), Ended: p.DeletionTimestamp.Time}, true
	}
	return runner.Exit{}, false
}

func nodeWords(p *corev1.Pod, words string) string {
	if words != "" {
		return words
	}
	return "node " + p.Spec.NodeName + " does not answer"
}

// neverEnded is a pod that failed without a word on its container: it was turned away before that began, or its machine
// could not tell any more.
func (v view) neverEnded(p pod) runner.Exit {
	e := runner.Exit{Code: -1, Started: podStart(p.Pod), Ended: v.now}
	if c := podCondition(p.Pod, corev1.DisruptionTarget); c != nil {
		e.Ended = c.LastTransitionTime.Time
	}
	if e.Cause, e.Detail = v.cause(p, nil); e.Cause == "" {
		// The kubelet refuses a pod that does not fit its node after all; another node may take the next one.
		e.Cause, e.Detail = runner.CauseEvicted, detail(p.Status.Reason, p.Status.Message)
	}
	return e
}

// terminated is a container that ended.
func (v view) terminated(p pod, t corev1.ContainerStateTerminated) runner.Exit {
	e := runner.Exit{Code: int(t.ExitCode), Started: t.StartedAt.Time, Ended: t.FinishedAt.Time}
	if t.ExitCode == 0 {
		return e // whatever else is said of it, even OOMKilled: a process of its was, and it went on to a good end
	}
	if n := signal(t); n > 0 {
		e.Code, e.Signal = -1, syscall.Signal(n).String()
	}
	// A container that ran out of memory while it was being ended has 143, and was ended.
	oom := t.Reason == reasonOOMKilled && t.ExitCode != firstSignal+int32(syscall.SIGTERM)
	e.Cause, e.Detail = v.cause(p, &t)
	switch {
	case oom && e.Cause != runner.CauseDeadline:
		e.Cause, e.Detail = runner.CauseOutOfMemory, memoryWords(p.Pod)
	case e.Cause != "":
	case t.Reason == "StartError" || t.Reason == "ContainerCannotRun":
		e.Code, e.Signal, e.Cause, e.Detail = -1, "", runner.CauseNotStarted, detail(t.Reason, t.Message)
		e.Started = time.Time{} // the runtime says 1970
	case t.Reason == reasonStatusUnknown:
		e.Code, e.Signal, e.Cause, e.Detail = -1, "", runner.CauseNodeLost, detail(t.Reason, t.Message)
	case !strings.HasPrefix(t.Message, unreadLog):
		e.Detail = lastLine(t.Message)
	}
	return e
}

func signal(t corev1.ContainerStateTerminated) int {
	switch {
	case t.Signal > 0 && t.Signal <= maxSignal:
		return int(t.Signal)
	case t.ExitCode > firstSignal && t.ExitCode <= firstSignal+maxSignal:
		return int(t.ExitCode - firstSignal)
	}
	return 0
}

// cause is what ended a pod from outside, in the order of how much it says; end is how its container ended, nil when nobody
// knows.
func (v view) cause(p pod, end *corev1.ContainerStateTerminated) (runner.Cause, string) {
	deleted := deletedBefore(p.Pod, end)
	if words := v.deadline(p, deleted && end != nil); words != "" {
		return runner.CauseDeadline, words
	}
	var finished time.Time
	if end != nil {
		finished = end.FinishedAt.Time
	}
	if c, words := disruption(p.Pod, finished); c != "" {
		return c, words
	}
	if !deleted {
		return "", ""
	}
	if suspended(v.job) {
		return runner.CausePreempted, "the cluster's queue suspended the job"
	}
	return runner.CauseDeleted, "pod " + p.Name + " was deleted"
}

// deadline returns words when the Job's time was over. The Job may say so later than its pod, which was deleted, shows it.
func (v view) deadline(p pod, deleted bool) string {
	if p.Status.Reason == batchv1.JobReasonDeadlineExceeded {
		return detail(p.Status.Reason, p.Status.Message)
	}
	for _, kind := range []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed} {
		if c := condition(v.job, kind); c != nil && c.Reason == batchv1.JobReasonDeadlineExceeded {
			return detail(c.Reason, c.Message)
		}
	}
	limit := v.job.Spec.ActiveDeadlineSeconds
	if limit == nil || v.job.Status.StartTime == nil || !deleted || suspended(v.job) {
		return ""
	}
	// The pod's deletion is the Job controller's, even where the Job's own condition has not been seen yet.
	if asked(p.Pod).Before(v.job.Status.StartTime.Add(time.Duration(*limit) * time.Second)) {
		return ""
	}
	return "Job was active longer than specified deadline"
}

// deletedBefore tells whether somebody asked for the pod's deletion before its container ended.
func deletedBefore(p *corev1.Pod, end *corev1.ContainerStateTerminated) bool {
	if p.DeletionTimestamp == nil {
		return false
	}
	if end == nil || before(asked(p), end.FinishedAt.Time) {
		return true
	}
	// Once its containers have ended the kubelet deletes it again, without grace, which replaces the time of the first
	// deletion. Then only the trainer's word is left: it has these codes when it was told to end.
	return slices.Contains([]int32{
		runspec.ExitInterrupted, firstSignal + int32(syscall.SIGTERM), firstSignal + int32(syscall.SIGKILL),
	}, end.ExitCode)
}

// before tells whether the cluster did something before a container ended.
func before(cluster, node time.Time) bool { return cluster.Sub(node) <= clockSkew }

// asked is when the deletion of a pod was asked for: its timestamp is when its grace is over.
func asked(p *corev1.Pod) time.Time {
	at := p.DeletionTimestamp.Time
	if p.DeletionGracePeriodSeconds != nil {
		at = at.Add(-time.Duration(*p.DeletionGracePeriodSeconds) * time.Second)
	}
	return at
}

// disruption reads from a pod what the cluster itself did to it; a disruption later than its end did nothing.
func disruption(p *corev1.Pod, finished time.Time) (runner.Cause, string) {
	words := detail(p.Status.Reason, p.Status.Message)
	switch p.Status.Reason {
	case reasonEvicted:
		if overfull(p.Status.Message) {
			return runner.CauseOutOfDisk, words
		}
		return runner.CauseEvicted, words
	case reasonPreempting:
		return runner.CausePreempted, words
	case reasonNodeLost:
		return runner.CauseNodeLost, words
	case "Terminated", "NodeShutdown", "Shutdown":
		return runner.CauseEvicted, words
	}
	c := podCondition(p, corev1.DisruptionTarget)
	if c == nil || c.Status != corev1.ConditionTrue || !finished.IsZero() && !before(c.LastTransitionTime.Time, finished) {
		return "", ""
	}
	words = detail(c.Reason, c.Message)
	switch c.Reason {
	case corev1.PodReasonPreemptionByScheduler:
		return runner.CausePreempted, words
	case "DeletionByPodGC":
		return runner.CauseNodeLost, words
	case "DeletionByTaintManager":
		// The taint of a node that went away: no kubelet was there to tell how the container ended.
		if finished.IsZero() {
			return runner.CauseNodeLost, words
		}
	}
	return runner.CauseEvicted, words
}

// overfull tells whether an eviction was the pod's own doing: it wrote more than it may. A node that is low on disk evicts
// with other words.
func overfull(message string) bool {
	return slices.ContainsFunc([]string{
		"Usage of EmptyDir volume", "ephemeral local storage usage exceeds", "exceeded its local ephemeral storage limit",
	}, func(s string) bool { return strings.Contains(message, s) })
}

func memoryWords(p *corev1.Pod) string {
	for _, c := range p.Spec.Containers {
		if limit, ok := c.Resources.Limits[corev1.ResourceMemory]; ok && c.Name == container {
			return reasonOOMKilled + ": the limit is " + limit.String()
		}
	}
	return reasonOOMKilled
}

func podStart(p *corev1.Pod) time.Time {
	if p.Status.StartTime == nil {
		return p.CreationTimestamp.Time
	}
	return p.Status.StartTime.Time
}

func lastLine(text string) string {
	last := ""
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			last = line
		}
	}
	return last
}
