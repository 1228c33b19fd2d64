package httpapi

import (
	"context"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// GetMe implements api.StrictServerInterface.
func (o operations) GetMe(ctx context.Context, _ api.GetMeRequestObject) (api.GetMeResponseObject, error) {
	p, _ := auth.From(ctx)
	u, quota, err := o.Ingest.Usage(ctx, p.User)
	if err != nil {
		return nil, err
	}
	me := api.GetMe200JSONResponse{User: p.User, Scopes: strings.Fields(p.Scopes.String()), Bytes: u.Bytes, Datasets: u.Datasets, Runs: u.Runs}
	if quota > 0 {
		me.QuotaBytes = &quota
	}
	return me, nil
}

// DeleteMyData implements api.StrictServerInterface.
func (o operations) DeleteMyData(ctx context.Context, _ api.DeleteMyDataRequestObject) (api.DeleteMyDataResponseObject, error) {
	if err := o.Ingest.Forget(ctx, user(ctx)); err != nil {
		return nil, err
	}
	o.Log.InfoContext(ctx, "everything of a user was deleted, as they asked", "user", user(ctx), "request_id", requestID(ctx))
	return api.DeleteMyData204Response{}, nil
}
