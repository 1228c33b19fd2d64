package httpapi

import (
	"context"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// GetAbilities implements api.StrictServerInterface.
func (o operations) GetAbilities(context.Context, api.GetAbilitiesRequestObject) (api.GetAbilitiesResponseObject, error) {
	return api.GetAbilities200JSONResponse(o.Tasks.Abilities()), nil
}

// ShareRun implements api.StrictServerInterface.
func (o operations) ShareRun(ctx context.Context, r api.ShareRunRequestObject) (api.ShareRunResponseObject, error) {
	if _, err := o.Store.Run(ctx, user(ctx), r.Id); err != nil {
		return nil, err
	}
	all, err := o.Deliver.Share(ctx, user(ctx), r.Id, *r.Body)
	if err != nil {
		return nil, err
	}
	return api.ShareRun202JSONResponse{Deliveries: deliveries(all)}, nil
}

// ListDeliveries implements api.StrictServerInterface.
func (o operations) ListDeliveries(ctx context.Context, r api.ListDeliveriesRequestObject) (api.ListDeliveriesResponseObject, error) {
	if _, err := o.Store.Run(ctx, user(ctx), r.Id); err != nil {
		return nil, err
	}
	all, err := o.Deliver.List(ctx, user(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	return api.ListDeliveries200JSONResponse{Deliveries: deliveries(all)}, nil
}

// RetryDelivery implements api.StrictServerInterface.
func (o operations) RetryDelivery(ctx context.Context, r api.RetryDeliveryRequestObject) (api.RetryDeliveryResponseObject, error) {
	if _, err := o.Store.Run(ctx, user(ctx), r.Id); err != nil {
		return nil, err
	}
	d, err := o.Deliver.Retry(ctx, user(ctx), r.Id, r.Delivery)
	if err != nil {
		return nil, err
	}
	return api.RetryDelivery200JSONResponse(delivery(d)), nil
}

func deliveries(all []store.Delivery) []api.Delivery {
	out := []api.Delivery{}
	for _, d := range all {
		out = append(out, delivery(d))
	}
	return out
}

func delivery(d store.Delivery) api.Delivery {
	out := api.Delivery{
		Id: d.ID, Kind: d.Kind, State: d.State, Attempts: d.Attempts, Expires: d.Expires,
		Target: text(d.Target), Url: text(d.URL), Reason: text(d.Reason), Created: d.Created, Updated: d.Updated,
	}
	if d.State == api.DeliveryWaiting && d.Attempts > 0 {
		out.Next = &d.Due
	}
	return out
}
