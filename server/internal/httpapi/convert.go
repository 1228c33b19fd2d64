package httpapi

import (
	"context"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
)

func dataset(d store.Dataset) api.Dataset {
	return api.Dataset{
		Id: d.ID, Name: d.Name, Digest: d.Digest, State: d.State, Images: d.Images, Bytes: d.Bytes, Classes: d.Classes, Created: d.Created,
	}
}

// runs converts tasks with their places in the queue.
func (s *Server) runs(ctx context.Context, all []store.Task) ([]api.Run, error) {
	var positions map[string]int
	out := make([]api.Run, len(all))
	for i, t := range all {
		if t.State == api.StateQueued && positions == nil {
			var err error
			if positions, err = s.Tasks.Positions(ctx); err != nil {
				return nil, err
			}
		}
		out[i] = run(t, positions[t.ID])
	}
	return out, nil
}

func (s *Server) run(ctx context.Context, t store.Task) (api.Run, error) {
	out, err := s.runs(ctx, []store.Task{t})
	if err != nil {
		return api.Run{}, err
	}
	return out[0], nil
}

func run(t store.Task, position int) api.Run {
	return api.Run{
		Id: t.ID, Number: t.Number, Name: t.Name, Dataset: t.Dataset, DatasetName: t.DatasetName, Recipe: t.Recipe,
		State: t.State, Reason: text(t.Reason), QueuePosition: count(position), Attempt: t.Attempt, Progress: t.Progress,
		Epoch: t.Epoch, ValAccuracy: narrow(t.ValAccuracy), TestAccuracy: narrow(t.TestAccuracy), RetryOf: text(t.RetryOf), Profile: text(t.Profile),
		Created: t.Created, Started: t.Started, Ended: t.Ended, LastEvent: t.LastEvent,
	}
}

func task(t store.Task) api.Task {
	return api.Task{Id: t.ID, Kind: api.TaskKind(t.Kind), State: t.State, Reason: text(t.Reason), LastEvent: t.LastEvent}
}

// text is nil for what is empty.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// count is nil for zero.
func count(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

func narrow(f *float64) *float32 {
	if f == nil {
		return nil
	}
	v := float32(*f)
	return &v
}
