package kubernetes_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	runnerkube "github.com/cultivar-ml/cultivar/server/internal/runner/kubernetes"
)

// TestWatches follows a job by events alone: with initial events in the watch, which client-go asks for by itself, and on an
// API server that refuses them, by list and watch.
func TestWatches(t *testing.T) {
	for name, watchList := range map[string]bool{"initial events": true, "list": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDouble(1)
				d.watchList = watchList
				s := serve(t, d)
				r := s.open(config.Kubernetes{})
				defer r.Close()
				job := jobNamed("t", 1)
				must(t, r.Start(t.Context(), job))
				time.Sleep(5 * time.Second)
				lists, initial := s.requests("list jobs"), s.requests("initial jobs")
				if initial == 0 || (lists == 1) != watchList {
					t.Errorf("%d watches with initial events and %d lists before the first change", initial, lists)
				}
				s.set(func() { s.changeJob(job.Name, jobCondition(batchv1.JobComplete, "CompletionsReached")) })
				synctest.Wait()
				if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != runner.Exited {
					t.Errorf("it is %+v, %v", st, err)
				}
				if n := s.requests("list jobs", "get jobs"); n != lists {
					t.Errorf("%d requests were made for what an event said", n-lists)
				}
			})
		})
	}
}

// TestFullListMakesUpForEvents lets no event through at all.
func TestFullListMakesUpForEvents(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		job, foreign := jobNamed("t", 1), jobNamed("foreign", 1)
		must(t, r.Start(t.Context(), job))
		s.set(func() {
			s.faults.drop = 1
			s.changeJob(job.Name, jobCondition(batchv1.JobComplete, "CompletionsReached"))
			other := s.job(job.Name).DeepCopy()
			other.Name, other.UID = foreign.Name, s.uid()
			s.put("jobs", other, "ADDED")
		})
		time.Sleep(time.Minute)
		if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != runner.Exited {
			t.Errorf("it is %+v, %v", st, err)
		}
		names, err := r.List(t.Context())
		if slices.Sort(names); err != nil || !slices.Equal(names, []string{foreign.Name, job.Name}) {
			t.Errorf("list: %v, %v", names, err)
		}
		s.set(func() { s.remove("jobs", foreign.Name) })
		time.Sleep(time.Minute)
		if names, err := r.List(t.Context()); err != nil || !slices.Equal(names, []string{job.Name}) {
			t.Errorf("list: %v, %v", names, err)
		}
	})
}

// again sends the first event of a resource once more. d.mu is held.
func (d *double) again(resource string) {
	first := d.history[slices.IndexFunc(d.history, func(c change) bool { return c.resource == resource })]
	d.version++
	d.history = append(d.history, change{d.version, resource, "MODIFIED", first.object})
	close(d.wake)
	d.wake = make(chan struct{})
}

// TestNothingGoesBack lets an old version of a Job and its pod come after newer ones.
func TestNothingGoesBack(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		m := newModel(s.double, func(*batchv1.Job) fate { return fate{run: -1} })
		runs, over := jobNamed("runs", 1), jobNamed("over", 1)
		must(t, r.Start(t.Context(), over))
		s.set(func() { s.changeJob(over.Name, jobCondition(batchv1.JobComplete, "CompletionsReached")) })
		must(t, r.Start(t.Context(), runs))
		for range 5 {
			m.step(time.Now())
			time.Sleep(time.Second)
		}
		s.set(func() { s.again("pods"); s.again("jobs") })
		synctest.Wait()
		if st, err := r.Status(t.Context(), runs.Name); err != nil || st.Phase != runner.Running {
			t.Errorf("after an old version of its pod it is %+v, %v", st, err)
		}
		if st, err := r.Status(t.Context(), over.Name); err != nil || st.Phase != runner.Exited {
			t.Errorf("after an old version of it it is %+v, %v", st, err)
		}
	})
}

// TestSilentWatchIsCut has a watch say nothing any more, not even that its time is over.
func TestSilentWatchIsCut(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		s.set(func() { s.faults.mute = 1 })
		job := jobNamed("t", 1)
		must(t, r.Start(t.Context(), job))
		synctest.Wait()
		s.set(func() { s.faults.mute = 0 })
		time.Sleep(11*time.Minute + 20*time.Second) // between two full lists
		s.set(func() { s.changeJob(job.Name, jobCondition(batchv1.JobComplete, "CompletionsReached")) })
		synctest.Wait()
		if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != runner.Exited {
			t.Errorf("no event tells that it is over: %+v, %v", st, err)
		}
	})
}

// TestOldListOfPods has a Job fail whose pod was never seen, while lists are of a time before that; it is looked at long
// after. Lists that stay so old are believed after a while.
func TestOldListOfPods(t *testing.T) {
	for name, c := range map[string]struct {
		stale float64
		want  runner.Phase
	}{"a new list comes": {0, runner.Exited}, "no new list comes": {1, runner.Lost}} {
		t.Run(name, func(t *testing.T) {
			calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
				m := newModel(s.double, func(*batchv1.Job) fate { return fate{} })
				job := jobNamed("t", 1)
				must(t, r.Start(t.Context(), job))
				s.set(func() {
					s.faults.drop, s.faults.stale = 1, 1
					s.remember()
					m.pod(s.job(job.Name), at(0).Time)
					s.changePod(s.all("pods")[0].GetName(), ended(11, "Error", ""))
				})
				time.Sleep(4 * time.Minute)
				s.set(func() {
					s.faults.drop = 0
					s.changeJob(job.Name, jobCondition(batchv1.JobFailed, "BackoffLimitExceeded"))
				})
				synctest.Wait()
				if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != runner.Running {
					t.Errorf("it is %+v, %v", st, err)
				}
				s.set(func() { s.faults.drop, s.faults.stale = 1, c.stale })
				time.Sleep(125 * time.Second)
				if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != c.want || st.Phase == runner.Exited && st.Exit.Code != 11 {
					t.Errorf("it is %+v, %v, want %s", st, err, c.want)
				}
			})
		})
	}
}

// TestOldListsTakeNothingAway has every list be of the moment before the pod was made.
func TestOldListsTakeNothingAway(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		m := newModel(s.double, func(*batchv1.Job) fate { return fate{run: -1} })
		job := jobNamed("t", 1)
		must(t, r.Start(t.Context(), job))
		s.set(func() {
			s.faults.stale = 1
			s.onPut = func(c change) {
				if c.resource == "jobs" && c.kind == "MODIFIED" {
					s.remember()
				}
			}
		})
		stay := func(from, to int, want runner.Phase) {
			for second := from; second < to; second++ {
				m.step(time.Now())
				time.Sleep(time.Second)
				if st, err := r.Status(t.Context(), job.Name); err != nil || second > from+5 && st.Phase != want {
					t.Fatalf("at second %d it is %+v, %v; want %s", second, st, err, want)
				}
			}
		}
		stay(0, 250, runner.Running)
		// When no list ever has it, the cluster was restored from a backup.
		time.Sleep(time.Minute)
		stay(310, 320, runner.Lost)
	})
}

// TestOldListOfAnInformer has a watch expire and the list after it be of the moment before the pod was made.
func TestOldListOfAnInformer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDouble(1)
		d.watchList = false
		s := serve(t, d)
		r := s.open(config.Kubernetes{})
		defer r.Close()
		synctest.Wait()
		m := newModel(s.double, func(*batchv1.Job) fate { return fate{run: -1} })
		job := jobNamed("t", 1)
		must(t, r.Start(t.Context(), job))
		s.set(func() {
			s.onPut = func(c change) {
				if c.resource == "jobs" && c.kind == "MODIFIED" {
					s.remember()
				}
			}
		})
		for range 5 {
			m.step(time.Now())
			time.Sleep(time.Second)
		}
		s.set(func() {
			s.faults.goneEvent, s.faults.stale = 1, 1
			s.changePod(s.all("pods")[0].GetName(), func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "b"} })
		})
		synctest.Wait()
		s.set(func() { s.faults.goneEvent, s.faults.drop = 0, 1 })
		for second := range 140 {
			time.Sleep(time.Second)
			if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != runner.Running {
				t.Fatalf("after %d s it is %+v, %v", second+1, st, err)
			}
		}
	})
}

// TestRestoredFromBackup has the cluster forget all versions that the runner knows.
func TestRestoredFromBackup(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		job := jobNamed("t", 1)
		must(t, r.Start(t.Context(), job))
		s.set(func() {
			s.faults.drop = 1
			s.version = 100
			s.changeJob(job.Name, jobCondition(batchv1.JobComplete, "CompletionsReached"))
		})
		time.Sleep(time.Minute)
		if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != runner.Exited {
			t.Errorf("it is %+v, %v", st, err)
		}
	})
}

func TestAPIServerAway(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		job := jobNamed("t", 1)
		must(t, r.Start(t.Context(), job))
		s.set(func() { s.away = true })
		time.Sleep(5 * time.Minute)
		if st, err := r.Status(t.Context(), job.Name); err == nil || errors.Is(err, runner.ErrUnknown) {
			t.Errorf("nobody can know that it is %+v, %v", st, err)
		}
		if names, err := r.List(t.Context()); err == nil {
			t.Errorf("nobody can know that there are %v", names)
		}
		s.set(func() { s.away = false })
		time.Sleep(time.Minute)
		if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != runner.Waiting {
			t.Errorf("it is %+v, %v", st, err)
		}
	})
}

// TestOddObjects puts into the namespace what no server made: nothing of it may stop the rest from being told.
func TestOddObjects(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		labels := map[string]string{"app.kubernetes.io/managed-by": "cultivar", "cultivar.dev/instance": "default", "cultivar.dev/attempt": "\x1b[31m"}
		s.set(func() {
			s.put("jobs", &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "odd", UID: s.uid(), Labels: labels, DeletionTimestamp: new(at(0))}}, "ADDED")
			s.put("pods", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "orphan", UID: s.uid(), Labels: labels}}, "ADDED")
			s.put("pods", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "odd-1", UID: s.uid(), Labels: labels, DeletionTimestamp: new(at(0)), OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(s.job("odd"), resources["jobs"]),
			}}, Status: corev1.PodStatus{Phase: "?"}}, "ADDED")
		})
		job := jobNamed("t", 1)
		must(t, r.Start(t.Context(), job))
		for range 3 {
			time.Sleep(time.Minute)
			for _, name := range []string{job.Name, "odd"} {
				if _, err := r.Status(t.Context(), name); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// TestLoad has 500 jobs that run, and a supervisor that looks at each of them once a second.
func TestLoad(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		const jobs = 500
		m := newModel(s.double, func(*batchv1.Job) fate { return fate{run: -1} })
		for i := range jobs {
			must(t, r.Start(t.Context(), jobNamed(fmt.Sprintf("t%d", i), 1)))
		}
		for range 4 {
			m.step(time.Now())
			time.Sleep(time.Second)
		}
		r.Close()
		began := time.Now()
		second := s.open(config.Kubernetes{})
		defer second.Close()
		look := func() {
			for i := range jobs {
				if st, err := second.Status(t.Context(), jobNamed(fmt.Sprintf("t%d", i), 1).Name); err != nil || st.Phase != runner.Running {
					t.Fatalf("job %d is %+v, %v", i, st, err)
				}
			}
		}
		look()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("all are adopted after %s, want 10 s at most", took)
		}
		all := []string{"list jobs", "list pods", "list events", "get jobs", "get pods", "watch jobs", "watch pods", "create jobs", "delete jobs", "logs"}
		before := s.requests(all...)
		for range 120 {
			time.Sleep(time.Second)
			look()
		}
		if rate := float64(s.requests(all...)-before) / 120; rate > 5 {
			t.Errorf("%.1f requests a second, want 5 at most", rate)
		}
	})
}
