package deliver

import (
	"context"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Step settles one due delivery, if any; links come first.
func (s *Service) Step(ctx context.Context) (bool, error) {
	for _, kind := range []api.DeliveryKind{api.DeliveryLink, api.DeliveryEmail} {
		if worked, err := s.one(ctx, kind); worked || err != nil {
			return worked, err
		}
	}
	return false, nil
}

// Next is when the next delivery is due.
func (s *Service) Next(ctx context.Context) (next time.Time, ok bool, err error) {
	for _, kind := range []api.DeliveryKind{api.DeliveryLink, api.DeliveryEmail} {
		at, some, err := s.store.NextDelivery(ctx, kind)
		if err != nil {
			return time.Time{}, false, err
		}
		if some && (!ok || at.Before(next)) {
			next, ok = at, true
		}
	}
	return next, ok, nil
}

// Tell writes the mail about a run.
func Tell(t store.Task, all []runspec.Artifact, link *store.Delivery, publicURL string) (subject, text, html string, err error) {
	m := mailer{shares: link != nil, publicURL: publicURL}
	s := m.story(t, all, store.Delivery{}, link)
	text, html, err = s.render()
	return s.subject(), text, html, err
}

// Secret makes a secret.
func Secret(s string) any { return secret(s) }
