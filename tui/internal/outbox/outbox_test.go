package outbox

import (
	"errors"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// box has a server that nobody asks: tests give the answers.
func box(t *testing.T) *Box {
	t.Helper()
	c, err := client.New(client.Options{Server: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	env := &screen.Env{Ctx: t.Context(), Client: c, Active: screen.Results, Now: func() time.Time { return noon }}
	return New(env, screen.Results, "")
}

func run(id string) api.Run { return api.Run{Id: id, State: api.StateSucceeded} }

func delivery(kind api.DeliveryKind, state api.DeliveryState, next time.Duration) api.Delivery {
	d := api.Delivery{Id: string(kind), Kind: kind, State: state}
	if next > 0 {
		at := noon.Add(next)
		d.Next = &at
	}
	return d
}

// TestVisits: going to and fro between runs leaves one clock running, and no answer of an earlier visit counts.
func TestVisits(t *testing.T) {
	b := box(t)
	open := func(id string) loadedMsg {
		if b.Open(run(id)) == nil {
			t.Fatalf("nothing is asked about %s", id)
		}
		return loadedMsg{owner: screen.Results, visit: b.visit, list: []api.Delivery{delivery(api.DeliveryLink, api.DeliverySending, 0)}}
	}
	first := open("a")
	if b.Update(first) == nil {
		t.Fatal("no look is due")
	}
	stale := dueMsg{owner: screen.Results, visit: b.visit}
	open("b")
	now := open("a")
	if b.Update(stale) != nil || !b.asking {
		t.Error("a clock of the visit before goes on")
	}
	if b.Update(first) != nil || !b.asking || len(b.list) != 0 {
		t.Error("an answer of the visit before counts")
	}
	if b.Update(now) == nil || b.asking {
		t.Error("the answer of this visit does not count")
	}
}

// TestPause: what is under way is looked at often, what waits seldom, and a server that says no not at all.
func TestPause(t *testing.T) {
	link, mail := api.DeliveryLink, api.DeliveryEmail
	for name, tc := range map[string]struct {
		list   []api.Delivery
		failed error
		misses int
		want   time.Duration
	}{
		"nothing":              {nil, nil, 0, 0},
		"all delivered":        {[]api.Delivery{delivery(link, api.DeliveryDelivered, 0), delivery(mail, api.DeliveryFailed, 0)}, nil, 0, 0},
		"sending":              {[]api.Delivery{delivery(link, api.DeliverySending, 0)}, nil, 0, refresh},
		"in an hour":           {[]api.Delivery{delivery(mail, api.DeliveryWaiting, time.Hour)}, nil, 0, seldom},
		"mail behind the link": {[]api.Delivery{delivery(link, api.DeliveryWaiting, time.Hour), delivery(mail, api.DeliveryWaiting, 0)}, nil, 0, seldom},
		"mail and its link":    {[]api.Delivery{delivery(link, api.DeliverySending, 0), delivery(mail, api.DeliveryWaiting, 0)}, nil, 0, refresh},
		"away":                 {nil, api.Errorf(api.CodeUnavailable, "away"), 1, 2 * refresh},
		"long away":            {nil, api.Errorf(api.CodeUnavailable, "away"), 90, most},
		"not known":            {[]api.Delivery{delivery(link, api.DeliverySending, 0)}, api.Errorf(api.CodeUnauthorized, "no"), 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := box(t)
			b.list, b.failed, b.misses = tc.list, tc.failed, tc.misses
			if got := b.pause(); got != tc.want {
				t.Errorf("the next look is in %s, want %s", got, tc.want)
			}
		})
	}
}

// TestOnlyLinksAreCopied: what a hostile server calls a link does not reach the clipboard, and from there a shell.
func TestOnlyLinksAreCopied(t *testing.T) {
	for address, want := range map[string]bool{
		"https://h/model.h5?dl=1": true, "javascript:alert(1)": false, "https://h/\nrm -rf ~\n": false, "https://h/\u202e": false, "": false,
	} {
		b := box(t)
		d := delivery(api.DeliveryLink, api.DeliveryDelivered, 0)
		d.Url = &address
		if b.list = []api.Delivery{d}; (b.URL() != "") != want {
			t.Errorf("%q is copied as %q", address, b.URL())
		}
	}
}

// TestOrdersOneAtATime: while one is under way there is no other, and a failed one lets the next through.
func TestOrdersOneAtATime(t *testing.T) {
	b := box(t)
	b.env.Abilities = &api.Abilities{Share: true, Mail: true}
	b.Open(run("a"))
	b.Update(loadedMsg{owner: screen.Results, visit: b.visit, list: []api.Delivery{delivery(api.DeliveryEmail, api.DeliveryFailed, 0)}})
	for name, order := range map[string]func() tea.Cmd{"retry": b.Retry, "share": func() tea.Cmd { return b.order("me@example.org") }} {
		if !b.CanRetry() || !b.CanShare() {
			t.Fatalf("%s: nothing can be ordered", name)
		}
		if order(); b.CanRetry() || b.CanShare() {
			t.Errorf("%s: another order is taken meanwhile", name)
		}
		b.Update(orderedMsg{owner: screen.Results, visit: b.visit, err: errors.New("no")})
	}
}
