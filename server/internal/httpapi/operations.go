package httpapi

import (
	"context"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/version"
)

// operations are the strict handlers. Those behind auth have a principal in their context.
type operations struct{ *Server }

func user(ctx context.Context) string {
	p, _ := auth.From(ctx)
	return p.User
}

const defaultLimit, maxLimit = 50, 200

// page checks a list's parameters. It asks for one row more than wanted, to know whether there is a next page.
func page(cursor *string, limit *int) (store.Page, error) {
	p := store.Page{Limit: defaultLimit}
	if cursor != nil {
		p.Before = *cursor
	}
	if limit != nil {
		p.Limit = *limit
	}
	if p.Limit < 1 || p.Limit > maxLimit {
		return p, api.Errorf(api.CodeInvalid, "limit is %d, but must lie between 1 and %d.", p.Limit, maxLimit)
	}
	p.Limit++
	return p, nil
}

// GetVersion implements api.StrictServerInterface.
func (o operations) GetVersion(context.Context, api.GetVersionRequestObject) (api.GetVersionResponseObject, error) {
	return api.GetVersion200JSONResponse{Version: version.Version, Commit: version.Commit, SpecVersion: runspec.Version}, nil
}

// ListBases implements api.StrictServerInterface.
func (o operations) ListBases(context.Context, api.ListBasesRequestObject) (api.ListBasesResponseObject, error) {
	bases, err := o.Tasks.Bases()
	if err != nil {
		return nil, err
	}
	return api.ListBases200JSONResponse{Bases: bases}, nil
}

// ListDatasets implements api.StrictServerInterface.
func (o operations) ListDatasets(ctx context.Context, r api.ListDatasetsRequestObject) (api.ListDatasetsResponseObject, error) {
	p, err := page(r.Params.Cursor, r.Params.Limit)
	if err != nil {
		return nil, err
	}
	all, err := o.Store.Datasets(ctx, user(ctx), p)
	if err != nil {
		return nil, err
	}
	out := api.ListDatasets200JSONResponse{Datasets: []api.Dataset{}}
	if len(all) == p.Limit {
		all = all[:p.Limit-1]
		last := all[len(all)-1]
		next := store.Position(last.Created, last.ID)
		out.Next = &next
	}
	for _, d := range all {
		out.Datasets = append(out.Datasets, dataset(d))
	}
	return out, nil
}

// CreateDataset implements api.StrictServerInterface.
func (o operations) CreateDataset(ctx context.Context, r api.CreateDatasetRequestObject) (api.CreateDatasetResponseObject, error) {
	d, known, err := o.Ingest.CreateDataset(ctx, user(ctx), *r.Body)
	if err != nil {
		return nil, err
	}
	if known {
		return api.CreateDataset200JSONResponse(dataset(d)), nil
	}
	return api.CreateDataset201JSONResponse(dataset(d)), nil
}

// GetDataset implements api.StrictServerInterface.
func (o operations) GetDataset(ctx context.Context, r api.GetDatasetRequestObject) (api.GetDatasetResponseObject, error) {
	d, err := o.Store.Dataset(ctx, user(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	return api.GetDataset200JSONResponse(dataset(d)), nil
}

// DeleteDataset implements api.StrictServerInterface.
func (o operations) DeleteDataset(ctx context.Context, r api.DeleteDatasetRequestObject) (api.DeleteDatasetResponseObject, error) {
	if err := o.Ingest.DeleteDataset(ctx, user(ctx), r.Id); err != nil {
		return nil, err
	}
	return api.DeleteDataset204Response{}, nil
}

// ListRuns implements api.StrictServerInterface.
func (o operations) ListRuns(ctx context.Context, r api.ListRunsRequestObject) (api.ListRunsResponseObject, error) {
	p, err := page(r.Params.Cursor, r.Params.Limit)
	if err != nil {
		return nil, err
	}
	all, err := o.Store.Runs(ctx, user(ctx), p)
	if err != nil {
		return nil, err
	}
	out := api.ListRuns200JSONResponse{}
	if len(all) == p.Limit {
		all = all[:p.Limit-1]
		last := all[len(all)-1]
		next := store.Position(last.Created, last.ID)
		out.Next = &next
	}
	out.Runs, err = o.runs(ctx, all)
	return out, err
}

// CreateRun implements api.StrictServerInterface.
func (o operations) CreateRun(ctx context.Context, r api.CreateRunRequestObject) (api.CreateRunResponseObject, error) {
	t, err := o.Tasks.CreateRun(ctx, user(ctx), *r.Body)
	if err != nil {
		return nil, err
	}
	run, err := o.run(ctx, t)
	return api.CreateRun201JSONResponse(run), err
}

// GetRun implements api.StrictServerInterface.
func (o operations) GetRun(ctx context.Context, r api.GetRunRequestObject) (api.GetRunResponseObject, error) {
	t, err := o.Store.Run(ctx, user(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	run, err := o.run(ctx, t)
	return api.GetRun200JSONResponse(run), err
}

// DeleteRun implements api.StrictServerInterface.
func (o operations) DeleteRun(ctx context.Context, r api.DeleteRunRequestObject) (api.DeleteRunResponseObject, error) {
	if err := o.Tasks.Delete(ctx, user(ctx), r.Id); err != nil {
		return nil, err
	}
	return api.DeleteRun204Response{}, nil
}

// PlanRun implements api.StrictServerInterface.
func (o operations) PlanRun(ctx context.Context, r api.PlanRunRequestObject) (api.PlanRunResponseObject, error) {
	t, err := o.Tasks.Plan(ctx, user(ctx), *r.Body)
	if err != nil {
		return nil, err
	}
	return api.PlanRun202JSONResponse(task(t)), nil
}

// StopRun implements api.StrictServerInterface.
func (o operations) StopRun(ctx context.Context, r api.StopRunRequestObject) (api.StopRunResponseObject, error) {
	t, err := o.Tasks.Stop(ctx, user(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	run, err := o.run(ctx, t)
	return api.StopRun200JSONResponse(run), err
}

// CancelRun implements api.StrictServerInterface.
func (o operations) CancelRun(ctx context.Context, r api.CancelRunRequestObject) (api.CancelRunResponseObject, error) {
	t, err := o.Tasks.Cancel(ctx, user(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	run, err := o.run(ctx, t)
	return api.CancelRun200JSONResponse(run), err
}

// RetryRun implements api.StrictServerInterface.
func (o operations) RetryRun(ctx context.Context, r api.RetryRunRequestObject) (api.RetryRunResponseObject, error) {
	t, err := o.Tasks.Retry(ctx, user(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	run, err := o.run(ctx, t)
	return api.RetryRun201JSONResponse(run), err
}

// ListArtifacts implements api.StrictServerInterface.
func (o operations) ListArtifacts(ctx context.Context, r api.ListArtifactsRequestObject) (api.ListArtifactsResponseObject, error) {
	if _, err := o.Store.Run(ctx, user(ctx), r.Id); err != nil {
		return nil, err
	}
	all, err := o.Store.Artifacts(ctx, user(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	out := api.ListArtifacts200JSONResponse{Artifacts: []api.Artifact{}}
	for _, a := range all {
		out.Artifacts = append(out.Artifacts, a.Artifact)
	}
	return out, nil
}

// GetTask implements api.StrictServerInterface.
func (o operations) GetTask(ctx context.Context, r api.GetTaskRequestObject) (api.GetTaskResponseObject, error) {
	t, err := o.Store.Task(ctx, user(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	return api.GetTask200JSONResponse(task(t)), nil
}
