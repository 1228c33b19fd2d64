package client

import (
	"context"
	"iter"
	"net/http"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Plan asks what training a recipe on scanned photos would take, of which none need be at the server. It yields the answer
// as far as it is known, and again, while its Measuring is set, as the server's machine is measured; the last one is whole.
// profile is the machine size; empty: the server's first.
func (c *Client) Plan(ctx context.Context, m *manifest.Manifest, recipe runspec.Recipe, profile string) iter.Seq2[runspec.Plan, error] {
	return func(yield func(runspec.Plan, error) bool) {
		task, err := c.startPlan(ctx, m, recipe, profile)
		if err != nil {
			yield(runspec.Plan{}, err)
			return
		}
		for e, err := range c.Events(ctx, task.Id, 0, nil) {
			if err != nil {
				yield(runspec.Plan{}, err)
				return
			}
			switch body := e.Record.Body.(type) {
			case runspec.Plan:
				if !yield(body, nil) || !body.Measuring {
					return
				}
			case runspec.State:
				if s := api.State(body.State); Terminal(s) && s != api.StateSucceeded {
					yield(runspec.Plan{}, api.Errorf(api.CodeInternal, "The plan %s: %s", s, body.Reason))
					return
				}
			}
		}
		if err := ctx.Err(); err != nil {
			yield(runspec.Plan{}, err)
		}
	}
}

func (c *Client) startPlan(ctx context.Context, m *manifest.Manifest, recipe runspec.Recipe, profile string) (api.Task, error) {
	t := newTransfer(c, m, nil)
	if _, err := t.missing(ctx, m.Images); err != nil {
		return api.Task{}, err
	}
	order := api.PlanCreate{Recipe: &recipe, Profile: some(profile), Photos: &api.Photos{Digest: manifest.Digest(m.Images),
		Images: len(m.Images), KnownImages: t.state.KnownImages, Bytes: t.total, Classes: len(m.Classes)}}
	return plain[api.Task](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.PlanRun(ctx, order) })
}
