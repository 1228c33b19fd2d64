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
	clock = "15:04"
)

// deliveryEvent is the line of --json for a share link or a mail, and for each change of it.
type deliveryEvent struct {
	Event    string       `json:"event"`
	Run      string       `json:"run"`
	Delivery api.Delivery `json:"delivery"`
}

// courier tells what becomes of a run's deliveries, each change once.
type courier struct {
	c    *command
	cl   *client.Client
	run  api.Run
	told map[string]string // by id: what was said last
	say  func(format string, args ...any)
}

func (c *command) courier(cl *client.Client, run api.Run, say func(string, ...any)) *courier {
	return &courier{c: c, cl: cl, run: run, told: map[string]string{}, say: say}
}

// tell says what is new about deliveries.
func (k *courier) tell(all []api.Delivery) error {
	for _, d := range all {
		line := deliveryLine(d, k.c.Now())
		if k.told[d.Id] == line {
			continue
		}
		k.told[d.Id] = line
		if k.c.json {
			if err := k.c.emit(deliveryEvent{"delivery", k.run.Id, d}); err != nil {
				return err
			}
			continue
		}
		k.say("%s", line)
	}
	return nil
}

// follow looks again until more says no; it keeps to the deliveries that `of` names, all when it is empty.
func (k *courier) follow(ctx context.Context, of []string, more func(look int, all []api.Delivery) bool) ([]api.Delivery, error) {
	for look := 1; ; look++ {
		all, err := k.cl.Deliveries(ctx, k.run.Id)
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(d api.Delivery) bool { return len(of) > 0 && !slices.Contains(of, d.Id) })
		if err := k.tell(all); err != nil || !more(look, all) {
			return all, err
		}
		if err := k.c.rest(ctx); err != nil {
			return all, err
		}
	}
}

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
		if !slices.ContainsFunc(all, func(d api.Delivery) bool { return !client.Settled(d) }) || look >= looks {
			return false
		}
		if look == 1 {
			c.note("Waiting up to %d s for the delivery; ctrl+c leaves it to the server.", looks)
		}
		return true
	})
	if err != nil && ctx.Err() == nil {
		// The training has ended well or not whatever became of its mail.
		c.note("How its delivery went is not known: %s", shown(err.Error(), ""))
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
	var failed, open bool
	for _, d := range all {
		failed = failed || d.State == api.DeliveryFailed
		open = open || !client.Settled(d)
	}
	switch {
	case failed:
		return fmt.Errorf("it was not delivered. `cultivar share %d --retry` tries again; `cultivar download %d` takes the model home", run.Number, run.Number)
	case open:
		return fmt.Errorf("it is not delivered yet; the server goes on trying. `cultivar share %d --status` tells how it went", run.Number)
	}
	return nil
}

// deliveryLine says in a line what became of a delivery.
func deliveryLine(d api.Delivery, now time.Time) string {
	target, reason, link := text(d.Target), text(d.Reason), text(d.Url)
	what := "Link"
	if d.Kind == api.DeliveryEmail {
		what = "Mail to " + shown(target, "you")
	}
	line := what + ": "
	switch d.State {
	case api.DeliveryDelivered:
		if d.Kind == api.DeliveryLink {
			line += shown(link, "made")
			if d.Expires != nil {
				line += ", until " + d.Expires.Local().Format(dateForm)
			}
		} else {
			line += "sent"
		}
	case api.DeliverySending:
		line += "under way"
	case api.DeliveryFailed:
		line += "failed"
	default:
		line += "waiting"
		if d.Next != nil {
			line += ", next try " + moment(*d.Next, now)
		}
	}
	if reason != "" {
		line += ": " + shown(reason, "")
	}
	return line
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

// possible refuses what the server cannot do: before the upload, not after an hour of training.
func (w wishes) possible(ctx context.Context, cl *client.Client) error {
	if !w.any() {
		return nil
	}
	a, err := cl.Abilities(ctx)
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
