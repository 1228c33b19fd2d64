package kubernetes

import (
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
)

// vanishGrace is how long a pod may be gone without a word about it in its Job: the Job's controller needs a moment, and
// more when it restarts.
const vanishGrace = 2 * time.Minute

// pod is a pod as it was last seen.
type pod struct {
	*corev1.Pod
	gone time.Time // when it was found to exist no more; zero: it exists
}

// view is all that is known of a Job: what observe decides from.
type view struct {
	job     *batchv1.Job
	pods    []pod
	oldPods time.Time           // since when pods may lack one, for no list is as new as the Job; zero: one is
	events  map[types.UID]event // the newest warning on the Job or a pod
	pull    time.Duration
	wait    time.Duration
	now     time.Time
}

// event is a warning of the cluster, in its own words.
type event struct {
	reason, message string
}

// observe tells how a job is. doubt says that what is known does not fit together, as when events got lost: then it is
// worth asking the API server before the answer is believed.
func observe(v view) (st runner.Status, doubt bool) {
	v.pods = slices.Clone(v.pods)
	slices.SortStableFunc(v.pods, func(a, b pod) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	if indexed(v.job) {
		st, doubt = v.parts()
	} else {
		st, doubt = v.single()
	}
	st.Name = v.job.Name
	if v.job.DeletionTimestamp == nil {
		return st, doubt
	}
	// While a Job is deleted in the foreground its pods still end. How they end then is the deletion's doing and no
	// news; only what had ended before it counts.
	if st.Phase == runner.Exited && !st.Exit.Ended.IsZero() && !before(v.job.DeletionTimestamp.Time, st.Exit.Ended) {
		return st, false
	}
	if st.Phase == runner.Exited || st.Phase == runner.Lost {
		st = runner.Status{Name: st.Name, Phase: runner.Running, Parts: st.Parts}
	}
	st.Stuck = false
	return st, false
}

func indexed(job *batchv1.Job) bool {
	return job.Spec.CompletionMode != nil && *job.Spec.CompletionMode == batchv1.IndexedCompletion
}

// condition returns the Job's condition of a type when it holds.
func condition(job *batchv1.Job, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i, c := range job.Status.Conditions {
		if c.Type == kind && c.Status == corev1.ConditionTrue {
			return &job.Status.Conditions[i]
		}
	}
	return nil
}

// single observes a Job of one trainer. One container that terminated is the end, also before the Job says so: it is
// never started again.
func (v view) single() (runner.Status, bool) {
	complete, failed := condition(v.job, batchv1.JobComplete), condition(v.job, batchv1.JobFailed)
	for _, p := range v.pods {
		if e, ok := v.ended(p); ok {
			return runner.Status{Phase: runner.Exited, Exit: e}, false
		}
	}
	if complete != nil {
		return runner.Status{Phase: runner.Exited, Exit: runner.Exit{Started: started(v.job), Ended: jobEnd(v.job, complete)}}, false
	}
	if failed != nil {
		return v.failed(failed)
	}
	return v.under(v.pods)
}

// failed is a Job that failed, of which no pod says how.
func (v view) failed(c *batchv1.JobCondition) (runner.Status, bool) {
	exit := runner.Exit{Code: -1, Detail: detail(c.Reason, c.Message), Started: started(v.job), Ended: c.LastTransitionTime.Time}
	if c.Reason == batchv1.JobReasonDeadlineExceeded {
		exit.Cause = runner.CauseDeadline
		return runner.Status{Phase: runner.Exited, Exit: exit}, false
	}
	for _, p := range v.pods {
		if p.gone.IsZero() {
			// Its end must be on its way: a Job fails when none of its pods runs any more.
			if v.now.Sub(c.LastTransitionTime.Time) < vanishGrace {
				return runner.Status{Phase: runner.Running}, true
			}
			continue
		}
		// It was seen alive and then no more: somebody took it away without waiting for its end.
		cause, words := disruption(p.Pod, time.Time{})
		if cause == "" {
			cause, words = runner.CauseDeleted, "pod "+p.Name+" was deleted"
		}
		exit.Cause, exit.Detail = cause, words
		return runner.Status{Phase: runner.Exited, Exit: exit}, true
	}
	if !v.oldPods.IsZero() && v.now.Sub(v.oldPods) < vanishGrace {
		return runner.Status{Phase: runner.Running}, true
	}
	return runner.Status{Phase: runner.Lost}, true
}

// under is a Job that has not ended, seen by those of its pods that may still do something.
func (v view) under(pods []pod) (runner.Status, bool) {
	var best *pod
	var vanished time.Time
	for i := range pods {
		switch p := &pods[i]; {
		case !p.gone.IsZero():
			if p.gone.After(vanished) {
				vanished = p.gone
			}
		case best == nil || p.executes() && !best.executes():
			best = p
		}
	}
	switch {
	case best != nil && best.executes():
		return runner.Status{Phase: runner.Running}, false
	case best != nil:
		return v.waiting(*best), false
	case suspended(v.job):
		return v.queued(), false
	case !vanished.IsZero():
		if v.now.Sub(vanished) > vanishGrace {
			return runner.Status{Phase: runner.Lost}, true
		}
		return runner.Status{Phase: runner.Running}, true
	}
	return v.podless(), false
}

// executes tells whether the trainer within a pod began.
func (p pod) executes() bool {
	s := mainStatus(p.Pod)
	return s != nil && s.State.Running != nil || s == nil && p.Status.Phase == corev1.PodRunning
}

// parts observes a divided Job. The cluster tries its parts again by itself, so that only the Job's own end counts.
func (v view) parts() (runner.Status, bool) {
	done := indexes(v.job.Status.CompletedIndexes)
	if c := condition(v.job, batchv1.JobComplete); c != nil {
		return runner.Status{Phase: runner.Exited, Parts: done, Exit: runner.Exit{Started: started(v.job), Ended: jobEnd(v.job, c)}}, false
	}
	c := condition(v.job, batchv1.JobFailed)
	if c == nil {
		var live []pod
		for _, p := range v.pods {
			if _, ok := v.ended(p); !ok && p.gone.IsZero() {
				live = append(live, p)
			}
		}
		st, doubt := v.under(live)
		if st.Phase == runner.Waiting && (done > 0 || len(live) < len(v.pods)) {
			st.Phase, st.Stuck = runner.Running, false // between two parts
		}
		st.Parts = done
		return st, doubt
	}
	exit := runner.Exit{Code: -1, Started: started(v.job), Ended: c.LastTransitionTime.Time}
	if c.Reason == batchv1.JobReasonDeadlineExceeded {
		exit.Cause = runner.CauseDeadline
	} else {
		for _, p := range v.pods {
			if e, ok := v.ended(p); ok && e.Code != 0 {
				exit.Code, exit.Signal, exit.Cause = e.Code, e.Signal, e.Cause
			}
		}
	}
	exit.Detail = detail(c.Reason, c.Message)
	return runner.Status{Phase: runner.Exited, Parts: done, Exit: exit}, false
}

// maxIndex bounds what indexes counts: the API server allows no larger one.
const maxIndex = 100_000

// indexes counts the members of a list of numbers and ranges, such as "0,2-4". What is no number counts nothing.
func indexes(list string) (n int) {
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(first)
		b := a
		if isRange && err == nil {
			b, err = strconv.Atoi(last)
		}
		if err == nil && a >= 0 && b >= a && b <= maxIndex {
			n += b - a + 1
		}
	}
	return n
}

func started(job *batchv1.Job) time.Time {
	if job.Status.StartTime == nil {
		return job.CreationTimestamp.Time
	}
	return job.Status.StartTime.Time
}

func jobEnd(job *batchv1.Job, c *batchv1.JobCondition) time.Time {
	if job.Status.CompletionTime != nil {
		return job.Status.CompletionTime.Time
	}
	return c.LastTransitionTime.Time
}

func detail(reason, message string) string {
	return strings.Trim(strings.TrimSpace(reason)+": "+strings.TrimSpace(message), ": ")
}
