package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
)

const (
	looks = 30               // at deliveries after a training, a second apart: most links and mails are out by then
	soon  = 30 * time.Second // a next try that is waited for
	away  = 2 * time.Minute  // how long a server that is followed may not answer: it starts again meanwhile
	clock = "15:04"
)

// deliveryEvent is the line of --json for a share link or a mail, and for each change of it.
type deliveryEvent struct {
	Run      string       `json:"run"`
	Delivery api.Delivery `json:"delivery"`
}

// courier tells what becomes of a run's deliveries, each change once.
type courier struct {
	c    *command
	cl   *client.Client
	run  api.Run
	all  []api.Delivery    // as looked at last
	told map[string]string // by id: what was said last
	bare bool              // the link is printed by itself, so it does not stand in its line
	say  func(format string, args ...any)
}

func (c *command) courier(cl *client.Client, run api.Run, say func(string, ...any)) *courier {
	return &courier{c: c, cl: cl, run: run, told: map[string]string{}, say: say}
}

// tell says what is new about deliveries.
func (k *courier) tell(all []api.Delivery) error {
	for _, d := range all {
		line := k.line(d)
		if k.told[d.Id] == line {
			continue
		}
		k.told[d.Id] = line
		if k.c.json {
			if err := k.c.emit("delivery", deliveryEvent{k.run.Id, d}); err != nil {
				return err
			}
			continue
		}
		k.say("%s", line)
	}
	return nil
}

// look asks for all deliveries of the run. A server that does not answer is asked again for a while: it may be starting
// anew, and what it was asked for is not lost.
func (k *courier) look(ctx context.Context) error {
	for since := (time.Time{}); ; {
		all, err := k.cl.Deliveries(ctx, k.run.Id)
		if err == nil {
			if k.all = all; !since.IsZero() {
				k.c.note("Connected again.")
			}
			return nil
		}
		now := k.c.Now()
		if since.IsZero() {
			since = now
		}
		if ctx.Err() != nil || api.Code(err) != api.CodeUnavailable || now.Sub(since) > away {
			return err
		}
		if now.Equal(since) {
			k.c.note("The connection is lost; the server goes on with the delivery. Trying again.")
		}
		if err := k.c.rest(ctx); err != nil {
			return err
		}
	}
}

// follow looks again until more says no; it keeps to the deliveries that `of` names, all when it is empty.
func (k *courier) follow(ctx context.Context, of []string, more func(look int, all []api.Delivery) bool) ([]api.Delivery, error) {
	for look := 1; ; look++ {
		if err := k.look(ctx); err != nil {
			return nil, err
		}
		all := slices.DeleteFunc(slices.Clone(k.all), func(d api.Delivery) bool { return len(of) > 0 && !slices.Contains(of, d.Id) })
		if err := k.tell(all); err != nil || !more(look, all) {
			return all, err
		}
		if err := k.c.rest(ctx); err != nil {
			return all, err
		}
	}
}

// underWay tells whether something is about to happen. A next try in an hour is not worth waiting for, and neither is a
// mail that goes out after a link which is only tried again then.
func (k *courier) underWay(of []api.Delivery) bool {
	return slices.ContainsFunc(of, func(d api.Delivery) bool {
		return !client.Settled(d) && !k.late(d) && (k.link(d) == nil || !k.late(*k.link(d)))
	})
}

// late tells whether a delivery is tried again, but not soon.
func (k *courier) late(d api.Delivery) bool { return d.Next != nil && d.Next.Sub(k.c.Now()) > soon }

// link is the one that a mail waits for; nil: none.
func (k *courier) link(d api.Delivery) *api.Delivery { return client.Needs(d, k.all) }

// rest waits between two looks.
func (c *command) rest(ctx context.Context) error {
	d := c.Poll
	if d == 0 {
		d = time.Second
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// handOver tells of the deliveries of a run that has just ended. Those that were asked for are waited for, a little.
func (c *command) handOver(ctx context.Context, cl *client.Client, run api.Run) error {
	k := c.courier(cl, run, c.say)
	all, err := k.follow(ctx, nil, func(look int, all []api.Delivery) bool {
		if look >= looks || !k.underWay(all) {
			return false
		}
		if look == 1 {
			c.note("Waiting up to %d s for the delivery; ctrl+c leaves it to the server.", looks)
		}
		return true
	})
	if err != nil && ctx.Err() == nil {
		// The training has ended well or not whatever became of its mail.
		c.note("How its delivery went is not known: %v", err)
		return nil
	}
	if err != nil {
		c.note("The server goes on with the delivery. See how it went: cultivar share %d --status", run.Number)
		return err
	}
	if slices.ContainsFunc(all, func(d api.Delivery) bool { return !client.Settled(d) }) {
		c.note("The server goes on trying. See how it went: cultivar share %d --status", run.Number)
	}
	return nil
}

// undelivered is the error of deliveries that did not arrive; nil when all did.
func undelivered(run api.Run, all []api.Delivery) error {
	failed, open := map[api.DeliveryKind]bool{}, map[api.DeliveryKind]bool{}
	for _, d := range all {
		switch {
		case d.State == api.DeliveryFailed:
			failed[d.Kind] = true
		case !client.Settled(d):
			open[d.Kind] = true
		}
	}
	another := ""
	if failed[api.DeliveryEmail] {
		another = ", --email mails it to another address"
	}
	switch {
	case len(failed) > 0:
		return fmt.Errorf("not delivered: %s. `cultivar share %d --retry` tries again%s; `cultivar download %d` takes the model home", these(failed), run.Number, another, run.Number)
	case len(open) > 0:
		return fmt.Errorf("not delivered yet: %s. The server goes on trying; `cultivar share %d --status` tells how it went, --retry tries now", these(open), run.Number)
	}
	return nil
}

// these names kinds of deliveries.
func these(kinds map[api.DeliveryKind]bool) string {
	switch {
	case kinds[api.DeliveryLink] && kinds[api.DeliveryEmail]:
		return "the link and the mail"
	case kinds[api.DeliveryEmail]:
		return "the mail"
	}
	return "the link"
}

// line says in a line what became of a delivery, and in a second one what else there is to know about one that arrived.
func (k *courier) line(d api.Delivery) string {
	what, reason := "Link to "+shown(text(d.Target), "the model"), shown(text(d.Reason), "")
	if d.Kind == api.DeliveryEmail {
		what = "Mail to " + shown(text(d.Target), "you")
	}
	state := "waiting"
	switch d.State {
	case api.DeliveryDelivered:
		if reason != "" {
			reason = "\n  " + reason
		}
		return k.arrived(d, what) + reason
	case api.DeliverySending:
		return what + ": under way" // the reason is that of the try before
	case api.DeliveryFailed:
		state = "failed"
	case api.DeliveryWaiting:
		switch {
		case d.Next != nil:
			state += ", next try " + moment(*d.Next, k.c.Now())
		case k.link(d) != nil:
			return what + ": goes out after the link"
		}
	}
	if reason != "" {
		state += ": " + reason
	}
	return what + ": " + state
}

// arrived says it of a delivery that did.
func (k *courier) arrived(d api.Delivery, what string) string {
	if d.Kind == api.DeliveryEmail {
		return what + ": sent"
	}
	if d.Expires != nil {
		what += ", until " + d.Expires.Local().Format(dateForm)
	}
	if k.bare {
		return what + ": made"
	}
	return what + ": " + shown(text(d.Url), "made")
}

// moment is a time of day, with the day when it is another one.
func moment(at, now time.Time) string {
	at = at.Local()
	if at.Format(time.DateOnly) == now.Local().Format(time.DateOnly) {
		return at.Format(clock)
	}
	return at.Format(dateForm)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// wishes are what train is asked for beyond the recipe.
type wishes struct {
	profile, email string
	share          bool
}

func (w wishes) any() bool { return w.profile != "" || w.email != "" || w.share }

// check refuses what cannot be meant, before anything is asked.
func (w wishes) check() error {
	if w.email == "" {
		return nil
	}
	if err := client.CheckAddress(w.email); err != nil {
		return fmt.Errorf("--email: %w", err)
	}
	return nil
}

// possible refuses what the server cannot do: before the upload, not after an hour of training. The server is asked in
// any case, for that tells before a long scan whether it knows the caller.
func (w wishes) possible(ctx context.Context, cl *client.Client) error {
	a, err := cl.Abilities(ctx)
	if api.Code(err) == api.CodeNotFound && !w.any() { // an older server
		return nil
	}
	if err != nil {
		return err
	}
	if w.profile != "" && !slices.ContainsFunc(a.Profiles, func(p api.Profile) bool { return p.Name == w.profile }) {
		var names []string
		for _, p := range a.Profiles {
			names = append(names, shown(p.Name, ""))
		}
		return fmt.Errorf("the server has no machine size %s. %s", shown(w.profile, ""), choices(names))
	}
	if w.email != "" && !a.Mail {
		return errors.New("this server is not set up to send mail. Train without --email, and take the model home with `cultivar download latest` when it is done")
	}
	if w.share && !a.Share {
		return errors.New("this server is not set up to make share links. Train without --share, and take the model home with `cultivar download latest` when it is done")
	}
	return nil
}

func choices(names []string) string {
	if len(names) == 0 {
		return "It has only one: leave --profile out."
	}
	return "Choose one of: " + strings.Join(names, ", ") + "."
}

// order writes the wishes into a run to be made.
func (w wishes) order(r *api.RunCreate) {
	if w.profile != "" {
		r.Profile = &w.profile
	}
	if w.email != "" || w.share {
		r.Notify = &api.Notify{}
	}
	if w.email != "" {
		r.Notify.Email = &w.email
	}
	if w.share {
		r.Notify.Share = &w.share
	}
}
