package kubernetes_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
)

// end is a fixture: what is different of a Job and its pod, whose trainer began at second 0 of the test.
type end struct {
	job func(*batchv1.Job)
	pod func(*corev1.Pod)
	log string
}

// at is a time of a fixture, in seconds from the test's begin.
func at(second int) metav1.Time {
	return metav1.Time{Time: time.Date(2000, 1, 1, 0, 0, second, 0, time.UTC)}
}

// ended is a trainer that ended at second 30.
func ended(code int32, reason, message string, more ...func(*corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodFailed
		if code == 0 {
			p.Status.Phase = corev1.PodSucceeded
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "trainer", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: code, Reason: reason, Message: message, StartedAt: at(0), FinishedAt: at(30),
		}}}}
		for _, f := range more {
			f(p)
		}
	}
}

// deleted is a pod whose deletion with that grace ends at a second.
func deleted(second int, grace int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.DeletionTimestamp, p.DeletionGracePeriodSeconds = new(at(second)), &grace }
}

// disrupted is a pod that the cluster wanted away at a second.
func disrupted(reason string, second int) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, LastTransitionTime: at(second),
		})
	}
}

// failed is a pod of which nothing is known but why it failed.
func failed(reason, message string, more ...func(*corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase, p.Status.Reason, p.Status.Message, p.Status.ContainerStatuses = corev1.PodFailed, reason, message, nil
		for _, f := range more {
			f(p)
		}
	}
}

func jobCondition(kind batchv1.JobConditionType, reason string) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, LastTransitionTime: at(31)})
	}
}

func TestEnds(t *testing.T) {
	const overLimit = `Usage of EmptyDir volume "tmp" exceeds the limit "2Gi".`
	killed := runner.Exit{Code: -1, Signal: "killed"}
	for name, c := range map[string]struct {
		end
		want runner.Exit
	}{
		"success":                           {end{pod: ended(0, "Completed", "")}, runner.Exit{}},
		"success although a child ran over": {end{pod: ended(0, "OOMKilled", "")}, runner.Exit{}},
		"its own code":                      {end{pod: ended(11, "Error", "no images\n")}, runner.Exit{Code: 11, Detail: "no images"}},
		"crash with last words":             {end{pod: ended(1, "Error", "a line\nthe last words\n\n")}, runner.Exit{Code: 1, Detail: "the last words"}},
		"last words only in the log":        {end{pod: ended(1, "Error", ""), log: "a line\nthe last words\n"}, runner.Exit{Code: 1, Detail: "the last words"}},
		"the kubelet could not read them": {
			end{pod: ended(1, "Error", "Error on reading termination message from logs: EOF"), log: "the last words"}, runner.Exit{Code: 1, Detail: "the last words"},
		},
		"nobody could read them":    {end{pod: ended(1, "Error", "Error on reading termination message from logs: EOF")}, runner.Exit{Code: 1}},
		"segmentation fault":        {end{pod: ended(139, "Error", "")}, runner.Exit{Code: -1, Signal: "segmentation fault"}},
		"killed by whomever":        {end{pod: ended(137, "Error", "")}, killed},
		"out of memory":             {end{pod: ended(137, "OOMKilled", "")}, runner.Exit{Code: -1, Signal: "killed", Cause: runner.CauseOutOfMemory, Detail: "OOMKilled: the limit is 4Gi"}},
		"ended while out of memory": {end{pod: ended(143, "OOMKilled", "", deleted(148, 120))}, runner.Exit{Code: -1, Signal: "terminated", Cause: runner.CauseDeleted}},
		"out of memory and deleted": {end{pod: ended(137, "OOMKilled", "", deleted(148, 120))}, runner.Exit{Code: -1, Signal: "killed", Cause: runner.CauseOutOfMemory}},
		"image does not run": {
			end{pod: ended(128, "StartError", "exec: no such file")}, runner.Exit{Code: -1, Cause: runner.CauseNotStarted, Detail: "StartError: exec: no such file"},
		},
		"state of the container lost": {end{pod: ended(137, "ContainerStatusUnknown", "gone")}, runner.Exit{Code: -1, Cause: runner.CauseNodeLost, Detail: "ContainerStatusUnknown: gone"}},

		"node is low on memory": {end{pod: failed("Evicted", "The node was low on resource: memory.")}, runner.Exit{Code: -1, Cause: runner.CauseEvicted, Detail: "Evicted: The node was low on resource: memory."}},
		"too much scratch":      {end{pod: failed("Evicted", overLimit)}, runner.Exit{Code: -1, Cause: runner.CauseOutOfDisk, Detail: "Evicted: " + overLimit}},
		"node shuts down":       {end{pod: failed("Terminated", "Pod was terminated in response to imminent node shutdown.")}, runner.Exit{Code: -1, Cause: runner.CauseEvicted}},
		"turned away":           {end{pod: failed("UnexpectedAdmissionError", "no GPU")}, runner.Exit{Code: -1, Cause: runner.CauseEvicted, Detail: "UnexpectedAdmissionError: no GPU"}},
		"preempted":             {end{pod: ended(30, "Error", "", disrupted("PreemptionByScheduler", 28), deleted(148, 120))}, runner.Exit{Code: 30, Cause: runner.CausePreempted}},
		"drained":               {end{pod: ended(30, "Error", "", disrupted("EvictionByEvictionAPI", 28), deleted(148, 120))}, runner.Exit{Code: 30, Cause: runner.CauseEvicted}},
		"drained, by a clock ahead": {
			end{pod: ended(30, "Error", "", disrupted("EvictionByEvictionAPI", 33), deleted(34, 0))}, runner.Exit{Code: 30, Cause: runner.CauseEvicted},
		},
		"drained after its end": {end{pod: ended(1, "Error", "boom", disrupted("EvictionByEvictionAPI", 60), deleted(60, 0))}, runner.Exit{Code: 1, Detail: "boom"}},
		"node went away":        {end{pod: failed("", "", disrupted("DeletionByTaintManager", 28))}, runner.Exit{Code: -1, Cause: runner.CauseNodeLost}},
		"collected":             {end{pod: failed("", "", disrupted("DeletionByPodGC", 28))}, runner.Exit{Code: -1, Cause: runner.CauseNodeLost}},

		"deleted": {end{pod: ended(30, "Error", "", deleted(148, 120))}, runner.Exit{Code: 30, Cause: runner.CauseDeleted}},
		// The kubelet has replaced the time at which somebody asked for it.
		"deleted, and then by the kubelet":       {end{pod: ended(30, "Error", "", deleted(31, 0))}, runner.Exit{Code: 30, Cause: runner.CauseDeleted}},
		"deleted, and then late by the kubelet":  {end{pod: ended(30, "Error", "", deleted(55, 0))}, runner.Exit{Code: 30, Cause: runner.CauseDeleted}},
		"deleted and deaf, late by the kubelet":  {end{pod: ended(137, "Error", "", deleted(55, 0))}, runner.Exit{Code: -1, Signal: "killed", Cause: runner.CauseDeleted}},
		"deleted, by a clock ahead of the node":  {end{pod: ended(1, "Error", "x", deleted(153, 120))}, runner.Exit{Code: 1, Cause: runner.CauseDeleted}},
		"deleted long after its end":             {end{pod: ended(1, "Error", "boom", deleted(60, 0))}, runner.Exit{Code: 1, Detail: "boom"}},
		"deleted, and succeeded all the same":    {end{pod: ended(0, "Completed", "", deleted(148, 120))}, runner.Exit{}},
		"deleted by the cluster's queue":         {end{func(j *batchv1.Job) { j.Spec.Suspend = new(true) }, ended(30, "Error", "", deleted(148, 120)), ""}, runner.Exit{Code: 30, Cause: runner.CausePreempted}},
		"deadline":                               {end{jobCondition(batchv1.JobFailureTarget, "DeadlineExceeded"), ended(30, "Error", "", deleted(148, 120)), ""}, runner.Exit{Code: 30, Cause: runner.CauseDeadline}},
		"deadline that the Job does not say yet": {end{func(j *batchv1.Job) { j.Spec.ActiveDeadlineSeconds = new(int64(20)) }, ended(30, "Error", "", deleted(148, 120)), ""}, runner.Exit{Code: 30, Cause: runner.CauseDeadline}},
		"deadline of a pod that is gone":         {end{job: jobCondition(batchv1.JobFailed, "DeadlineExceeded")}, runner.Exit{Code: -1, Cause: runner.CauseDeadline}},
		"deadline without memory":                {end{jobCondition(batchv1.JobFailureTarget, "DeadlineExceeded"), ended(137, "OOMKilled", "", deleted(148, 120)), ""}, runner.Exit{Code: -1, Signal: "killed", Cause: runner.CauseDeadline}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := c.status(t)
				if got.Phase != runner.Exited || got.Exit.Code != c.want.Code || got.Exit.Signal != c.want.Signal || got.Exit.Cause != c.want.Cause || c.want.Detail != "" && got.Exit.Detail != c.want.Detail {
					t.Errorf("it is %+v, want %+v", got, c.want)
				}
				if got.Exit.Cause == "" && got.Exit.Detail != c.want.Detail || strings.Contains(got.Exit.Detail, "termination message") {
					t.Errorf("its last words are %q, want %q", got.Exit.Detail, c.want.Detail)
				}
			})
		})
	}
}

// status is what a runner says of the fixture that sees nothing of it but its end, as after a restart.
func (e end) status(t *testing.T) runner.Status {
	t.Helper()
	s := serve(t, newDouble(1))
	first := s.open(config.Kubernetes{})
	job := jobNamed("t", 1)
	must(t, first.Start(t.Context(), job))
	first.Close()
	s.mu.Lock()
	s.changeJob(job.Name, func(j *batchv1.Job) {
		j.Status.StartTime = new(at(0))
		if e.job != nil {
			e.job(j)
		}
	})
	if e.pod != nil {
		newModel(s.double, func(*batchv1.Job) fate { return fate{} }).pod(s.job(job.Name), at(0).Time)
		pod := s.all("pods")[0].GetName()
		s.changePod(pod, e.pod)
		s.logs[pod] = e.log
	}
	s.mu.Unlock()
	time.Sleep(3 * time.Minute)
	r := s.open(config.Kubernetes{})
	defer r.Close()
	st, err := r.Status(t.Context(), job.Name)
	must(t, err)
	return st
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
