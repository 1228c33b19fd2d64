package runnertest_test

import (
	"context"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/runner/runnertest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func TestFake(t *testing.T) {
	runnertest.Run(t, func(t *testing.T) runnertest.Harness {
		fake := runnertest.NewFake(func(ctx context.Context, job runner.Job) runner.Exit {
			switch runnertest.Behaviour(job.Spec) {
			case runnertest.Succeed:
				return runner.Exit{}
			case runnertest.NoImage:
				return runner.Exit{Code: runspec.ExitNoImages}
			case runnertest.Interrupted:
				return runner.Exit{Code: runspec.ExitInterrupted}
			}
			<-ctx.Done()
			return runner.Exit{}
		}, nil)
		t.Cleanup(fake.Close)
		return runnertest.Harness{
			Open: func() runner.Runner { return fake },
			Job: func(name string, b runnertest.Behaviour) runner.Job {
				return runner.Job{Name: name, Kind: runspec.Train, Spec: string(b)}
			},
		}
	})
}
