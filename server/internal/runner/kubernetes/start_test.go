package kubernetes_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	runnerkube "github.com/cultivar-ml/cultivar/server/internal/runner/kubernetes"
)

// calm runs a test with a double that has no faults yet, and a runner on it.
func calm(t *testing.T, test func(t *testing.T, s *served, r *runnerkube.Runner)) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, newDouble(1))
		r := s.open(config.Kubernetes{})
		defer func() { r.Close() }()
		synctest.Wait() // every watch has begun
		test(t, s, r)
	})
}

// TestAdopt starts a job whose name is taken, by a Job that the runner knows and by one that it does not.
func TestAdopt(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*batchv1.Job)
		want   string // part of the error; empty: it is adopted
	}{
		"its own":                  {func(*batchv1.Job) {}, ""},
		"of another server":        {func(j *batchv1.Job) { j.Labels["cultivar.dev/instance"] = "other" }, "somebody else's"},
		"of another task":          {func(j *batchv1.Job) { j.Labels["cultivar.dev/task"] = "other" }, "somebody else's"},
		"of another attempt":       {func(j *batchv1.Job) { j.Labels["cultivar.dev/attempt"] = "2" }, "somebody else's"},
		"of somebody":              {func(j *batchv1.Job) { j.Labels = nil }, "somebody else's"},
		"of other settings":        {func(j *batchv1.Job) { j.Annotations["cultivar.dev/spec-hash"] = "other" }, "another pod specification"},
		"of nobody knows settings": {func(j *batchv1.Job) { j.Annotations = nil }, "another pod specification"},
	} {
		for _, known := range []bool{true, false} {
			what := name + ", unknown"
			if known {
				what = name + ", known"
			}
			t.Run(what, func(t *testing.T) {
				calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
					job := jobNamed("t", 1)
					must(t, r.Start(t.Context(), job))
					r.Close()
					s.set(func() { s.changeJob(job.Name, c.change); s.away = !known })
					second := s.open(config.Kubernetes{})
					defer second.Close()
					_, _ = second.List(t.Context())
					s.set(func() { s.away = false })
					err := second.Start(t.Context(), job)
					if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
						t.Errorf("error %v, want %q", err, c.want)
					}
					s.set(func() {
						if n := len(s.all("jobs")); n != 1 {
							t.Errorf("there are %d jobs", n)
						}
					})
				})
			})
		}
	}
}

func TestStartWithALostAnswer(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		job := jobNamed("t", 1)
		s.set(func() { s.faults.lose = 1 })
		if err := r.Start(t.Context(), job); err == nil {
			t.Error("nobody can know that it started")
		}
		s.set(func() { s.faults.lose = 0 })
		must(t, r.Start(t.Context(), job))
		must(t, r.Start(t.Context(), job))
		s.set(func() {
			if n := len(s.history); n != 1 {
				t.Errorf("%d changes in the cluster, want one creation", n)
			}
		})
	})
}

// TestDeletesJustThatJob has another Job take the name of one that ended, unseen: it must not be touched.
func TestDeletesJustThatJob(t *testing.T) {
	for what, call := range map[string]func(*runnerkube.Runner, context.Context, string) error{
		"remove": (*runnerkube.Runner).Remove, "kill": (*runnerkube.Runner).Kill,
	} {
		t.Run(what, func(t *testing.T) {
			calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
				job := jobNamed("t", 1)
				must(t, r.Start(t.Context(), job))
				if what == "remove" {
					s.set(func() { s.changeJob(job.Name, jobCondition(batchv1.JobComplete, "CompletionsReached")) })
				}
				time.Sleep(time.Second)
				if _, err := r.Status(t.Context(), job.Name); err != nil {
					t.Fatal(err)
				}
				s.set(func() {
					s.faults.drop = 1
					other := s.job(job.Name).DeepCopy()
					s.remove("jobs", job.Name)
					other.UID, other.Status = s.uid(), batchv1.JobStatus{}
					s.put("jobs", other, "ADDED")
				})
				if err := call(r, t.Context(), job.Name); err == nil {
					t.Error("no error")
				}
				s.set(func() {
					if j := s.job(job.Name); j == nil || j.DeletionTimestamp != nil {
						t.Error("the other Job is deleted")
					}
				})
				if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != runner.Waiting {
					t.Errorf("the other Job waits, and is told to be %+v, %v", st, err)
				}
			})
		})
	}
}

// TestKillWaitsForThePods kills a job whose trainer takes its time.
func TestKillWaitsForThePods(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		m := newModel(s.double, func(*batchv1.Job) fate { return fate{run: -1, deaf: true} })
		job := jobNamed("t", 1)
		must(t, r.Start(t.Context(), job))
		step := func() { m.step(time.Now()); time.Sleep(time.Second) }
		for range 10 {
			step()
		}
		must(t, r.Remove(t.Context(), "cv-none-1"))
		if err := r.Remove(t.Context(), job.Name); err == nil {
			t.Error("a running job was removed")
		}
		for second := range 119 {
			must(t, r.Kill(t.Context(), job.Name))
			step()
			if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != runner.Running {
				t.Fatalf("after %d s it is %+v, %v", second+1, st, err)
			}
		}
		for range 5 {
			step()
		}
		if _, err := r.Status(t.Context(), job.Name); !errors.Is(err, runner.ErrUnknown) {
			t.Errorf("it is not unknown: %v", err)
		}
		if n := s.requests("delete jobs"); n != 1 {
			t.Errorf("%d requests to delete it, want 1", n)
		}
	})
}

// TestKillIsAskedForSeldom kills a job whose deletion no event tells.
func TestKillIsAskedForSeldom(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		job := jobNamed("t", 1)
		must(t, r.Start(t.Context(), job))
		s.set(func() { s.faults.drop = 1 })
		for range 20 {
			must(t, r.Kill(t.Context(), job.Name))
			time.Sleep(time.Second)
		}
		if n := s.requests("delete jobs"); n != 2 {
			t.Errorf("%d requests in 20 s, want 2", n)
		}
	})
}

// TestEndsOfADeletionAreNoNews looks at a trainer that ended at second 30 in a Job that is being deleted.
func TestEndsOfADeletionAreNoNews(t *testing.T) {
	for name, c := range map[string]struct {
		second int // of the Job's deletion
		want   runner.Phase
	}{"by it": {29, runner.Running}, "by it, as the node's clock has it": {33, runner.Running}, "before it": {50, runner.Exited}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := end{func(j *batchv1.Job) { j.DeletionTimestamp = new(at(c.second)) }, ended(30, "Error", "", deleted(c.second+1, 0)), ""}
				if st := e.status(t); st.Phase != c.want {
					t.Errorf("it is %+v, want %s", st, c.want)
				}
			})
		})
	}
}

// TestRemovedStaysRemoved lets an event of a Job come after its removal.
func TestRemovedStaysRemoved(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		job := jobNamed("t", 1)
		must(t, r.Start(t.Context(), job))
		s.set(func() { s.changeJob(job.Name, jobCondition(batchv1.JobComplete, "CompletionsReached")) })
		time.Sleep(time.Second)
		s.set(func() { s.faults.drop = 1 })
		must(t, r.Remove(t.Context(), job.Name))
		time.Sleep(time.Second)
		s.set(func() { s.faults.drop = 0; s.again("jobs") })
		synctest.Wait()
		if names, err := r.List(t.Context()); err != nil || len(names) > 0 {
			t.Errorf("list: %v, %v", names, err)
		}
		if _, err := r.Status(t.Context(), job.Name); !errors.Is(err, runner.ErrUnknown) {
			t.Errorf("it is not unknown: %v", err)
		}
	})
}

// TestLostOnlyAfterItsGrace lets a pod vanish while the Job's controller is away.
func TestLostOnlyAfterItsGrace(t *testing.T) {
	calm(t, func(t *testing.T, s *served, r *runnerkube.Runner) {
		m := newModel(s.double, func(*batchv1.Job) fate { return fate{run: -1} })
		job := jobNamed("t", 1)
		must(t, r.Start(t.Context(), job))
		for range 5 {
			m.step(time.Now())
			time.Sleep(time.Second)
		}
		s.set(func() { s.remove("pods", s.all("pods")[0].GetName()) })
		time.Sleep(110 * time.Second)
		if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != runner.Running {
			t.Errorf("within its grace it is %+v, %v", st, err)
		}
		time.Sleep(20 * time.Second)
		if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != runner.Lost {
			t.Errorf("after its grace it is %+v, %v", st, err)
		}
		// What is final stays so, whatever is said of it later.
		s.set(func() {
			s.changeJob(job.Name, jobCondition(batchv1.JobComplete, "CompletionsReached"))
		})
		time.Sleep(2 * time.Minute)
		if st, err := r.Status(t.Context(), job.Name); err != nil || st.Phase != runner.Lost {
			t.Errorf("after its end it is %+v, %v", st, err)
		}
	})
}
