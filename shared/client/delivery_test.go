package client_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
)

// TestDeliveries speaks each call of the contract once.
func TestDeliveries(t *testing.T) {
	url, mail := "https://share.example/model.h5", "me@example.org"
	link := api.Delivery{Id: "l1", Kind: api.DeliveryLink, State: api.DeliveryDelivered, Url: &url}
	post := api.Delivery{Id: "m1", Kind: api.DeliveryEmail, State: api.DeliveryFailed, Target: &mail}
	var asked api.ShareCreate
	var created api.RunCreate
	mux := http.NewServeMux()
	answer := func(pattern string, status int, v any, into any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if into != nil {
				if err := json.NewDecoder(r.Body).Decode(into); err != nil {
					t.Error(err)
				}
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	answer("GET /api/v1/abilities", 200, api.Abilities{Runner: api.RunnerKubernetes, Mail: true, Profiles: []api.Profile{{Name: "cpu"}}}, nil)
	answer("POST /api/v1/runs/r/share", 202, api.DeliveryList{Deliveries: []api.Delivery{link}}, &asked)
	answer("POST /api/v1/runs/none/share", 409, api.Error{Code: api.CodeConflict, Message: "Not set up. Fetch it instead."}, nil)
	answer("GET /api/v1/runs/r/deliveries", 200, api.DeliveryList{Deliveries: []api.Delivery{link, post}}, nil)
	answer("POST /api/v1/runs/r/deliveries/m1/retry", 200, post, nil)
	answer("POST /api/v1/runs", 201, api.Run{Id: "r"}, &created)
	c := connect(t, mux, time.Second)
	ctx := t.Context()

	if a, err := c.Abilities(ctx); err != nil || !a.Mail || a.Share || a.Profiles[0].Name != "cpu" {
		t.Errorf("abilities %+v, %v", a, err)
	}
	if got, err := c.Share(ctx, "r", api.ShareCreate{Email: &mail}); err != nil || len(got) != 1 || *got[0].Url != url || *asked.Email != mail {
		t.Errorf("share %+v, %v; the server was asked %+v", got, err, asked)
	}
	if _, err := c.Share(ctx, "none", api.ShareCreate{}); api.Code(err) != api.CodeConflict || err.Error() != "Not set up. Fetch it instead." {
		t.Errorf("refused with %v", err)
	}
	if got, err := c.Deliveries(ctx, "r"); err != nil || len(got) != 2 || !client.Settled(got[0]) || !client.Settled(got[1]) {
		t.Errorf("deliveries %+v, %v", got, err)
	}
	if got, err := c.RetryDelivery(ctx, "r", "m1"); err != nil || got.Id != "m1" {
		t.Errorf("retry %+v, %v", got, err)
	}
	profile, yes := "cpu", true
	if _, err := c.CreateRun(ctx, api.RunCreate{Dataset: "d", Profile: &profile, Notify: &api.Notify{Email: &mail, Share: &yes}}); err != nil ||
		created.Profile == nil || *created.Profile != profile || created.Notify == nil || *created.Notify.Email != mail || !*created.Notify.Share {
		t.Errorf("the server was asked for %+v, %v", created, err)
	}
}

func TestCheckAddress(t *testing.T) {
	for text, good := range map[string]bool{
		"me@example.org": true, "": false, "me": false, "Me <me@example.org>": false, "me@example.org\r\nBcc: you@example.org": false,
		"a@b.org, c@d.org": false, " me@example.org": false,
	} {
		if err := client.CheckAddress(text); (err == nil) != good || err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
