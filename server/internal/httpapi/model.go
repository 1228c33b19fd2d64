package httpapi

import (
	"context"

	"github.com/cultivar-ml/cultivar/shared/api"
)

// ListModels implements api.StrictServerInterface.
func (o operations) ListModels(ctx context.Context, _ api.ListModelsRequestObject) (api.ListModelsResponseObject, error) {
	all, err := o.Tasks.Models(ctx, user(ctx))
	if err != nil {
		return nil, err
	}
	out := api.ListModels200JSONResponse{Models: []api.NamedModel{}}
	for _, m := range all {
		run, err := o.run(ctx, m.Run)
		if err != nil {
			return nil, err
		}
		out.Models = append(out.Models, api.NamedModel{Name: m.Name, Run: run})
	}
	return out, nil
}

// GetModel implements api.StrictServerInterface.
func (o operations) GetModel(ctx context.Context, r api.GetModelRequestObject) (api.GetModelResponseObject, error) {
	t, err := o.Tasks.Model(ctx, user(ctx), r.Model)
	if err != nil {
		return nil, err
	}
	run, err := o.run(ctx, t)
	return api.GetModel200JSONResponse{Name: r.Model, Run: run}, err
}

// PinModel implements api.StrictServerInterface.
func (o operations) PinModel(ctx context.Context, r api.PinModelRequestObject) (api.PinModelResponseObject, error) {
	t, err := o.Tasks.Pin(ctx, user(ctx), r.Model, r.Body.Run)
	if err != nil {
		return nil, err
	}
	run, err := o.run(ctx, t)
	return api.PinModel200JSONResponse{Name: r.Model, Run: run}, err
}

// UnpinModel implements api.StrictServerInterface.
func (o operations) UnpinModel(ctx context.Context, r api.UnpinModelRequestObject) (api.UnpinModelResponseObject, error) {
	if err := o.Tasks.Unpin(ctx, user(ctx), r.Model); err != nil {
		return nil, err
	}
	return api.UnpinModel204Response{}, nil
}
