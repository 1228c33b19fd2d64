package kubernetes_test

import (
	"context"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/runner/runnertest"
)

// TestContract runs the contract of every runner on the double. Its waits are by the real clock: the model's is a thousand
// times as fast, so that a grace of two minutes passes.
func TestContract(t *testing.T) {
	runnertest.Run(t, func(t *testing.T) runnertest.Harness {
		d := newDouble(1)
		s := serve(t, d)
		m := newModel(d, behave)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for now := time.Now(); ; now = now.Add(5 * time.Second) {
				select {
				case <-tick.C:
					m.step(now)
				case <-ctx.Done():
					return
				}
			}
		}()
		t.Cleanup(func() { cancel(); <-stopped })
		return runnertest.Harness{
			Open: func() runner.Runner {
				r := s.open(config.Kubernetes{})
				t.Cleanup(r.Close)
				return r
			},
			Job: func(name string, b runnertest.Behaviour) runner.Job {
				job := jobNamed("x", 1)
				job.Name, job.Spec = name, string(b)
				return job
			},
		}
	})
}

// behave is the fate of a trainer that does what its spec says.
func behave(j *batchv1.Job) fate {
	args := j.Spec.Template.Spec.Containers[0].Args
	f := fate{end: "exit", deaf: true, run: -1}
	switch runnertest.Behaviour(args[len(args)-1]) {
	case runnertest.Succeed:
		f.run = 0
	case runnertest.NoImage:
		f.run, f.code = 0, 11
	case runnertest.Interrupted:
		f.run, f.code = 0, 30
	}
	return f
}
