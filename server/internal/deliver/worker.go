package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
)

const (
	leaseFor  = 5 * time.Minute // longer than any one request takes; a crash leaves a row for so long
	unsureFor = 10 * time.Minute
	firstWait = time.Minute
	lastWait  = 6 * time.Hour
	patience  = 24 * time.Hour
	lookEvery = 2 * time.Second // runs end without telling the outbox: their rows are found by looking
	blockSize = 8 << 20
)

func defaults(o Options) Options {
	if o.After == nil {
		o.After = time.After
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if o.Block == 0 {
		o.Block = blockSize
	}
	return o
}

// Run works through the outbox until ctx ends: one link and one mail at a time.
func (s *Service) Run(ctx context.Context) {
	if s.store == nil {
		<-ctx.Done()
		return
	}
	var work sync.WaitGroup
	for kind, wake := range s.wake {
		work.Go(func() { s.loop(ctx, kind, wake) })
	}
	work.Wait()
}

func (s *Service) loop(ctx context.Context, kind api.DeliveryKind, wake <-chan struct{}) {
	for ctx.Err() == nil {
		worked, err := s.one(ctx, kind)
		if err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "work through the outbox", "kind", kind, "error", err)
		}
		if worked && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-s.after(lookEvery):
		}
	}
}

// poke makes Run look at once.
func (s *Service) poke() {
	for _, c := range s.wake {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// one takes up the longest due row of a kind, if any, and settles it. The error is the store's.
func (s *Service) one(ctx context.Context, kind api.DeliveryKind) (worked bool, err error) {
	at, ok, err := s.store.NextDelivery(ctx, kind)
	if err != nil || !ok || at.After(s.now()) {
		return false, err
	}
	d, err := s.store.LeaseDelivery(ctx, kind, s.now().Add(leaseFor))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	failpoint.Hit("deliver.leased")
	h := &held{Delivery: d, store: s.store, clock: s.now}
	err = s.send(ctx, h)
	if errors.Is(err, store.ErrConflict) {
		s.log.WarnContext(ctx, "a delivery took longer than its lease and is left to whoever has it now", "delivery", d.ID)
		return true, nil
	}
	return true, s.settle(context.WithoutCancel(ctx), h, err)
}

// send tries one delivery. What it may have to go on from is kept in h.
func (s *Service) send(ctx context.Context, h *held) error {
	switch h.Kind {
	case api.DeliveryLink:
		if s.links == nil {
			return &problem{text: "This server is no longer set up to make share links. " + s.instead(ctx, h.Delivery), final: true}
		}
		return s.links.send(ctx, h)
	case api.DeliveryEmail:
		if s.mails == nil {
			return &problem{text: "This server is no longer set up to send mail. " + s.instead(ctx, h.Delivery), final: true}
		}
		return s.mails.send(ctx, h)
	}
	return &problem{text: fmt.Sprintf("This server does not know deliveries of kind %q.", h.Kind), final: true}
}

// instead tells how to get at the model without any delivery.
func (s *Service) instead(ctx context.Context, d store.Delivery) string {
	run := "RUN"
	if t, err := s.store.ActiveTask(ctx, d.Task); err == nil {
		run = fmt.Sprint(t.Number)
	}
	return "Fetch the model with: cultivar download " + run
}

// settle stores what became of an attempt: delivered, given up, or when to try again.
func (s *Service) settle(ctx context.Context, h *held, err error) error {
	is := h.Delivery
	now := s.now()
	switch {
	case err == nil:
		is.State, is.Progress = api.DeliveryDelivered, ""
	case errors.Is(err, context.Canceled): // the server ends; the next one goes on
		is.State, is.Due = api.DeliveryWaiting, now
	default:
		s.postpone(&is, asProblem(err), now)
		s.log.WarnContext(ctx, "delivery", "id", is.ID, "kind", is.Kind, "task", is.Task, "attempt", is.Attempts, "state", is.State, "due", is.Due, "error", err)
	}
	if err := h.write(ctx, is); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	failpoint.Hit("deliver.settled")
	if is.State == api.DeliveryDelivered || is.State == api.DeliveryFailed {
		s.log.InfoContext(ctx, "delivery ended", "id", is.ID, "kind", is.Kind, "task", is.Task, "state", is.State, "attempts", is.Attempts)
		s.poke() // a mail may have waited for this link
	}
	return nil
}

// postpone decides when to try again: 1 minute later, 2, 4, and so on up to 6 hours, spread by a fifth, and a last time a
// day after the first.
func (s *Service) postpone(d *store.Delivery, p *problem, now time.Time) {
	d.Reason = p.text
	end := d.Since.Add(patience)
	if p.final || !now.Before(end) {
		d.State = api.DeliveryFailed
		if !p.final {
			d.Reason = "Given up after a day of trying. The last time: " + p.text
		}
		return
	}
	var m misses
	_ = json.Unmarshal([]byte(d.Progress), &m) // what is no JSON has counted nothing
	wait := lastWait
	if doublings := m.since(d.Attempts) - 1; doublings < 16 {
		wait = min(firstWait<<max(doublings, 0), lastWait)
	}
	wait = max(time.Duration(float64(wait)*(0.9+0.2*s.jitter())), p.after)
	d.State, d.Due = api.DeliveryWaiting, now.Add(wait)
	if d.Due.After(end) {
		d.Due = end
	}
}

// misses is the part of a row's progress that tells up to which attempt there was some: waits grow from there.
type misses struct {
	Good int `json:"good,omitempty"` // number of the last attempt that got further
}

func (m misses) since(attempts int) int { return attempts - m.Good }

// held is a leased row.
type held struct {
	store.Delivery
	store *store.Store
	clock func() time.Time
}

// keep stores progress, before or after a step, and holds the lease for longer. It answers store.ErrConflict when the
// lease has ended and somebody else has the row.
func (h *held) keep(ctx context.Context, progress any, hold time.Duration) error {
	b, err := json.Marshal(progress)
	if err != nil {
		return err
	}
	is := h.Delivery
	is.Progress, is.Leased = string(b), h.clock().Add(hold).Truncate(time.Microsecond)
	if err := h.write(ctx, is); err != nil {
		return asProblem(err)
	}
	return nil
}

func (h *held) write(ctx context.Context, is store.Delivery) error {
	if err := h.store.KeepDelivery(ctx, h.Delivery, is); err != nil {
		return err
	}
	h.Delivery = is
	return nil
}
