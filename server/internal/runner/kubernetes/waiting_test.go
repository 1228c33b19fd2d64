package kubernetes_test

import (
	"fmt"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	runnerkube "github.com/cultivar-ml/cultivar/server/internal/runner/kubernetes"
)

// warn stores a warning on an object. d.mu is held.
func (d *double) warn(about object, reason, message string) {
	d.put("events", &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: fmt.Sprintf("%s.%d", about.GetName(), d.version), Namespace: "ns", UID: d.uid()},
		InvolvedObject: corev1.ObjectReference{Name: about.GetName(), UID: about.GetUID()},
		Type:           corev1.EventTypeWarning, Reason: reason, Message: message, LastTimestamp: metav1.Now(),
	}, "ADDED")
}

func TestWaiting(t *testing.T) {
	for name, c := range map[string]struct {
		fate fate
		pod  func(*corev1.Pod)
		job  func(*batchv1.Job)
		why  string
		soon bool // stuck after 6 minutes
		late bool // stuck after 31 minutes
	}{
		"no node":         {fate: fate{schedule: -1}, why: "0/1 nodes are available: 1 Insufficient cpu.", late: true},
		"no image":        {fate: fate{pull: -1}, why: "ImagePullBackOff: Back-off pulling image", soon: true, late: true},
		"no volume":       {fate: fate{pull: time.Hour}, why: "FailedMount: the claim is not bound", soon: true, late: true},
		"queue":           {job: func(j *batchv1.Job) { j.Spec.Suspend = new(true) }, why: "it is suspended"},
		"gated":           {pod: gated, fate: fate{schedule: -1}, why: "waits for its group"},
		"pod is refused":  {job: func(*batchv1.Job) {}, why: "forbidden by a policy", soon: true, late: true},
		"quota is in use": {job: func(*batchv1.Job) {}, why: "exceeded quota: gpus", late: true},
	} {
		t.Run(name, func(t *testing.T) {
			calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
				m := newModel(s.double, func(*batchv1.Job) fate { return c.fate })
				job := jobNamed("t", 1)
				must(t, r.Start(t.Context(), job))
				s.set(func() {
					s.changeJob(job.Name, func(j *batchv1.Job) { j.Status.StartTime = new(at(0)) })
					if c.job != nil {
						s.changeJob(job.Name, c.job)
						s.warn(s.job(job.Name), "FailedCreate", c.why)
						return
					}
					m.pod(s.job(job.Name), at(0).Time)
					pod := s.all("pods")[0]
					if c.pod != nil {
						s.changePod(pod.GetName(), c.pod)
					}
					s.warn(pod, "FailedMount", "the claim is not bound")
				})
				for range 10 {
					if c.job == nil { // the model's controller would end a Job without a pod
						m.step(time.Now())
					}
					time.Sleep(time.Second)
				}
				time.Sleep(5 * time.Second) // 15 s is what a reason may take
				st, err := r.Status(t.Context(), job.Name)
				if err != nil || st.Phase != runner.Waiting || st.Why != c.why || st.Stuck {
					t.Errorf("it is %+v, %v; want it to wait for %q", st, err, c.why)
				}
				time.Sleep(6 * time.Minute)
				if st, err := r.Status(t.Context(), job.Name); err != nil || st.Stuck != c.soon {
					t.Errorf("after six minutes it is %+v, %v", st, err)
				}
				time.Sleep(25 * time.Minute)
				if st, err := r.Status(t.Context(), job.Name); err != nil || st.Stuck != c.late {
					t.Errorf("after half an hour it is %+v, %v", st, err)
				}
			})
		})
	}
}

func gated(p *corev1.Pod) {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "SchedulingGated", Message: "waits for its group"}}
}
