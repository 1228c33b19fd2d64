package client

import (
	"context"
	"fmt"
	"net/http"
	"net/mail"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// pageSize is how many datasets or runs one page holds.
const pageSize = 100

// Version returns the server's versions; it needs no token.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	return plain[api.Version](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.GetVersion(ctx) })
}

// Abilities returns what the server is set up to do.
func (c *Client) Abilities(ctx context.Context) (api.Abilities, error) {
	return plain[api.Abilities](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.GetAbilities(ctx) })
}

// Bases returns the installed base models, best first.
func (c *Client) Bases(ctx context.Context) ([]api.Base, error) {
	list, err := plain[api.BaseList](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.ListBases(ctx) })
	return list.Bases, err
}

// Datasets returns a page of the caller's datasets, newest first; cursor is Next of the page before, empty at first.
func (c *Client) Datasets(ctx context.Context, cursor string) (api.DatasetPage, error) {
	return plain[api.DatasetPage](ctx, c, func(ctx context.Context) (*http.Response, error) {
		size := pageSize
		return c.api.ListDatasets(ctx, &api.ListDatasetsParams{Cursor: some(cursor), Limit: &size})
	})
}

// Dataset returns one dataset.
func (c *Client) Dataset(ctx context.Context, id string) (api.Dataset, error) {
	return plain[api.Dataset](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.GetDataset(ctx, id) })
}

// DeleteDataset forgets a dataset; CodeConflict while a run on it is active.
func (c *Client) DeleteDataset(ctx context.Context, id string) error {
	_, err := plain[struct{}](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.DeleteDataset(ctx, id) })
	return err
}

// CreateRun queues a training.
func (c *Client) CreateRun(ctx context.Context, r api.RunCreate) (api.Run, error) {
	return plain[api.Run](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.CreateRun(ctx, r) })
}

// Run returns one run.
func (c *Client) Run(ctx context.Context, id string) (api.Run, error) {
	return plain[api.Run](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.GetRun(ctx, id) })
}

// Runs returns a page of the caller's runs, newest first; cursor is Next of the page before, empty at first.
func (c *Client) Runs(ctx context.Context, cursor string) (api.RunPage, error) {
	return plain[api.RunPage](ctx, c, func(ctx context.Context) (*http.Response, error) {
		size := pageSize
		return c.api.ListRuns(ctx, &api.ListRunsParams{Cursor: some(cursor), Limit: &size})
	})
}

// Models lists the names that mean a model of the caller's.
func (c *Client) Models(ctx context.Context) ([]api.NamedModel, error) {
	list, err := plain[api.ModelList](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.ListModels(ctx) })
	return list.Models, err
}

// Model returns the run that a name such as flowers@best means.
func (c *Client) Model(ctx context.Context, name string) (api.NamedModel, error) {
	return plain[api.NamedModel](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.GetModel(ctx, name) })
}

// NameModel gives a run that succeeded a name, also when another one has it.
func (c *Client) NameModel(ctx context.Context, name, run string) (api.NamedModel, error) {
	return plain[api.NamedModel](ctx, c, func(ctx context.Context) (*http.Response, error) {
		return c.api.PinModel(ctx, name, api.ModelPin{Run: run})
	})
}

// UnnameModel takes a name away; the run stays.
func (c *Client) UnnameModel(ctx context.Context, name string) error {
	_, err := plain[struct{}](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.UnpinModel(ctx, name) })
	return err
}

// StopRun asks a run to finish now and keep the best so far.
func (c *Client) StopRun(ctx context.Context, id string) (api.Run, error) {
	return plain[api.Run](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.StopRun(ctx, id) })
}

// CancelRun gives a run up; nothing of it is kept.
func (c *Client) CancelRun(ctx context.Context, id string) (api.Run, error) {
	return plain[api.Run](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.CancelRun(ctx, id) })
}

// RetryRun queues a new run with the dataset and recipe of an ended one.
func (c *Client) RetryRun(ctx context.Context, id string) (api.Run, error) {
	return plain[api.Run](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.RetryRun(ctx, id) })
}

// DeleteRun deletes a finished run and its files; CodeConflict while it is active.
func (c *Client) DeleteRun(ctx context.Context, id string) error {
	_, err := plain[struct{}](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.DeleteRun(ctx, id) })
	return err
}

// Task returns any task's state; a run is a task of kind train.
func (c *Client) Task(ctx context.Context, id string) (api.Task, error) {
	return plain[api.Task](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.GetTask(ctx, id) })
}

// Artifacts lists the files a finished run made.
func (c *Client) Artifacts(ctx context.Context, run string) ([]runspec.Artifact, error) {
	list, err := plain[api.ArtifactList](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.ListArtifacts(ctx, run) })
	return list.Artifacts, err
}

// Share puts a finished run's model behind a share link and mails it when an address is given; the answer is what is under
// way for it. Asking again answers the same link. CodeConflict when the server has no way to do so.
func (c *Client) Share(ctx context.Context, run string, s api.ShareCreate) ([]api.Delivery, error) {
	list, err := plain[api.DeliveryList](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.ShareRun(ctx, run, s) })
	return list.Deliveries, err
}

// Deliveries returns what became of a run's share links and mails, oldest first.
func (c *Client) Deliveries(ctx context.Context, run string) ([]api.Delivery, error) {
	list, err := plain[api.DeliveryList](ctx, c, func(ctx context.Context) (*http.Response, error) { return c.api.ListDeliveries(ctx, run) })
	return list.Deliveries, err
}

// RetryDelivery makes a delivery due now; a delivered one stays as it is.
func (c *Client) RetryDelivery(ctx context.Context, run, delivery string) (api.Delivery, error) {
	return plain[api.Delivery](ctx, c, func(ctx context.Context) (*http.Response, error) {
		return c.api.RetryDelivery(ctx, run, delivery)
	})
}

// Settled tells whether nothing more will happen to a delivery by itself.
func Settled(d api.Delivery) bool {
	return d.State == api.DeliveryDelivered || d.State == api.DeliveryFailed
}

// Needs is the link that a waiting mail goes out after, out of a run's deliveries; nil when it waits for none.
func Needs(d api.Delivery, all []api.Delivery) *api.Delivery {
	if d.Kind != api.DeliveryEmail || d.State != api.DeliveryWaiting || d.Next != nil {
		return nil
	}
	for i, x := range all {
		if x.Kind == api.DeliveryLink && !Settled(x) {
			return &all[i]
		}
	}
	return nil
}

// CheckAddress tells whether a text is one plain mail address. The server decides; this is to say so before an upload.
func CheckAddress(text string) error {
	a, err := mail.ParseAddress(text)
	if err != nil || a.Address != text || a.Name != "" || strings.ContainsAny(text, "\r\n\x00") {
		return fmt.Errorf("%q is not a mail address such as name@example.org", text)
	}
	return nil
}

// plain makes one bounded call and decodes its answer.
func plain[T any](ctx context.Context, c *Client, call func(context.Context) (*http.Response, error)) (T, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	resp, err := call(ctx)
	return answer[T](ctx, c, resp, err)
}

// some returns nil for the empty string.
func some(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Terminal tells whether a run or task in this state is over for good.
func Terminal(s api.State) bool {
	return s == api.StateSucceeded || s == api.StateFailed || s == api.StateCancelled
}
