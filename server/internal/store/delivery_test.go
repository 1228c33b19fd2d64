package store_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// outbox is a store whose clock the test sets, with a task of alice that has a link and a mail that needs it.
func outbox(t *testing.T) (*store.Store, *time.Time) {
	t.Helper()
	now := time.Unix(1_800_000_000, 0).UTC()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	begun(t, s)
	change := store.Change{Task: "t1", From: api.StateStarting, To: api.StateRunning}
	if err := s.Change(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	change = store.Change{Task: "t1", From: api.StateRunning, To: api.StateSucceeded, Terminal: true, Deliveries: pair()}
	if err := s.Change(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	return s, &now
}

func pair() []store.Delivery {
	return []store.Delivery{
		{ID: "l1", Owner: "alice", Task: "t1", Kind: api.DeliveryLink, Target: "model.h5", Artifact: "model.h5", SHA256: "ff", Key: "link"},
		{ID: "e1", Owner: "alice", Task: "t1", Kind: api.DeliveryEmail, Target: "a@b.c", Needs: "link", Key: "mail"},
	}
}

func lease(t *testing.T, s *store.Store, kind api.DeliveryKind, until time.Time) store.Delivery {
	t.Helper()
	d, err := s.LeaseDelivery(t.Context(), kind, until)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func none(t *testing.T, s *store.Store, kind api.DeliveryKind, until time.Time) {
	t.Helper()
	if d, err := s.LeaseDelivery(t.Context(), kind, until); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("got %+v, %v, want none", d, err)
	}
}

func settle(t *testing.T, s *store.Store, was store.Delivery, change func(*store.Delivery)) {
	t.Helper()
	is := was
	change(&is)
	if err := s.KeepDelivery(t.Context(), was, is); err != nil {
		t.Fatal(err)
	}
}

func TestDeliveriesOfAnEndAreStoredWithIt(t *testing.T) {
	s, _ := outbox(t)
	again := store.Change{Task: "t1", From: api.StateRunning, To: api.StateFailed, Terminal: true, Deliveries: []store.Delivery{{ID: "x", Task: "t1", Owner: "alice", Key: "x"}}}
	if err := s.Change(t.Context(), again); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("got %v, want a conflict", err)
	}
	all, err := s.Deliveries(t.Context(), "alice", "t1")
	if err != nil || len(all) != 2 || all[0].ID != "l1" || all[1].ID != "e1" || all[0].State != api.DeliveryWaiting {
		t.Fatalf("got %+v, %v, want the link and the mail", all, err)
	}
	if all, err := s.Deliveries(t.Context(), "bob", "t1"); err != nil || len(all) != 0 {
		t.Fatalf("another user sees %+v, %v", all, err)
	}
}

func TestLeaseIsOneCallersUntilItEnds(t *testing.T) {
	s, now := outbox(t)
	d := lease(t, s, api.DeliveryLink, now.Add(time.Minute))
	none(t, s, api.DeliveryLink, now.Add(time.Minute))
	next, ok, err := s.NextDelivery(t.Context(), api.DeliveryLink)
	if err != nil || !ok || !next.Equal(now.Add(time.Minute)) {
		t.Fatalf("next is %v, %t, %v, want the lease's end", next, ok, err)
	}
	first := d
	d.Leased, d.Progress = now.Add(2*time.Minute), "half"
	if err := s.KeepDelivery(t.Context(), first, d); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(time.Minute)
	none(t, s, api.DeliveryLink, now.Add(time.Minute))
	*now = now.Add(time.Minute)
	second := lease(t, s, api.DeliveryLink, now.Add(time.Minute))
	if second.Progress != "half" || second.Attempts != 2 || !second.Since.Equal(first.Since) {
		t.Fatalf("got %+v, want the second attempt with what was kept", second)
	}
	if err := s.KeepDelivery(t.Context(), d, d); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("the first holder may still write: %v", err)
	}
}

func TestMailWaitsForItsLink(t *testing.T) {
	for _, end := range []api.DeliveryState{api.DeliveryDelivered, api.DeliveryFailed} {
		s, now := outbox(t)
		none(t, s, api.DeliveryEmail, now.Add(time.Minute))
		if _, ok, err := s.NextDelivery(t.Context(), api.DeliveryEmail); ok || err != nil {
			t.Fatalf("the mail is next: %v", err)
		}
		settle(t, s, lease(t, s, api.DeliveryLink, now.Add(time.Minute)), func(d *store.Delivery) { d.State = end })
		if d := lease(t, s, api.DeliveryEmail, now.Add(time.Minute)); d.ID != "e1" {
			t.Fatalf("got %+v, want the mail", d)
		}
	}
}

func TestShareAnswersWhatThereIs(t *testing.T) {
	s, now := outbox(t)
	settle(t, s, lease(t, s, api.DeliveryLink, now.Add(time.Minute)), func(d *store.Delivery) {
		ends := now.Add(time.Hour)
		d.State, d.URL, d.Expires = api.DeliveryDelivered, "https://x", &ends
	})
	settle(t, s, lease(t, s, api.DeliveryEmail, now.Add(time.Minute)), func(d *store.Delivery) {
		d.State, d.Reason, d.Progress = api.DeliveryFailed, "why", "half"
	})
	asked := pair()
	asked[0].ID, asked[1].ID = "l2", "e2"
	all, err := s.Share(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if all[0].ID != "l1" || all[0].URL != "https://x" || all[0].State != api.DeliveryDelivered {
		t.Errorf("got %+v, want the link there is", all[0])
	}
	if all[1].ID != "e1" || all[1].State != api.DeliveryWaiting || all[1].Reason != "" || all[1].Progress != "" || all[1].Attempts != 0 {
		t.Errorf("got %+v, want the failed mail made due", all[1])
	}
	*now = now.Add(time.Hour)
	if all, err = s.Share(t.Context(), asked); err != nil || all[0].State != api.DeliveryWaiting || all[0].URL != "" || all[0].Expires != nil {
		t.Errorf("got %+v, %v, want an ended link made anew", all[0], err)
	}
}

func TestRetryDelivery(t *testing.T) {
	s, now := outbox(t)
	d := lease(t, s, api.DeliveryLink, now.Add(time.Minute))
	if got, err := s.RetryDelivery(t.Context(), "alice", "t1", "l1"); err != nil || got.State != api.DeliverySending {
		t.Fatalf("one being sent: %+v, %v", got, err)
	}
	settle(t, s, d, func(d *store.Delivery) {
		d.State, d.Due, d.Progress = api.DeliveryWaiting, now.Add(time.Hour), "half"
	})
	none(t, s, api.DeliveryLink, now.Add(time.Minute))
	if _, err := s.RetryDelivery(t.Context(), "bob", "t1", "l1"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("another user: %v, want not found", err)
	}
	got, err := s.RetryDelivery(t.Context(), "alice", "t1", "l1")
	if err != nil || !got.Due.Equal(*now) || got.Progress != "half" || got.Attempts != 0 {
		t.Fatalf("got %+v, %v, want it due now with its progress", got, err)
	}
	settle(t, s, lease(t, s, api.DeliveryLink, now.Add(time.Minute)), func(d *store.Delivery) { d.State = api.DeliveryFailed })
	if got, err := s.RetryDelivery(t.Context(), "alice", "t1", "l1"); err != nil || got.State != api.DeliveryWaiting || got.Progress != "" {
		t.Fatalf("got %+v, %v, want a failed one started anew", got, err)
	}
	settle(t, s, lease(t, s, api.DeliveryLink, now.Add(time.Minute)), func(d *store.Delivery) { d.State = api.DeliveryDelivered })
	if got, err := s.RetryDelivery(t.Context(), "alice", "t1", "l1"); err != nil || got.State != api.DeliveryDelivered {
		t.Fatalf("got %+v, %v, want a delivered one left alone", got, err)
	}
}
