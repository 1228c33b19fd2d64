package deliver_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/deliver"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/delivertest"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/dropboxtest"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// running is a store with an ended run and an outbox for it, on the usual clock. Its pauses end only when after says so.
func running(t *testing.T, fault func(string) dropboxtest.Fault, after func(time.Duration) <-chan time.Time) (*store.Store, *deliver.Service, *strings.Builder) {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "db"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	front := httptest.NewServer(dropboxtest.New(dropboxtest.Options{AppKey: "key", AppSecret: appSecret, RefreshToken: refreshToken, Fault: fault}))
	t.Cleanup(front.Close)
	var log strings.Builder
	s, err := deliver.New(deliver.Options{
		Store: db, Artifact: delivertest.Finder(db, dir), Log: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now, After: after, Block: 1000,
		Config: config.Deliver{Dropbox: &config.Dropbox{
			AppKey: "key", AppSecretFile: secretFile(t, "secret", appSecret), RefreshTokenFile: secretFile(t, "token", refreshToken), APIURL: front.URL,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := delivertest.Begin(t.Context(), db, "r1", api.Notify{}); err != nil {
		t.Fatal(err)
	}
	a, err := delivertest.Model(dir, "r1", make([]byte, 5000))
	if err != nil {
		t.Fatal(err)
	}
	if err := delivertest.End(t.Context(), db, s, "r1", api.StateSucceeded, a); err != nil {
		t.Fatal(err)
	}
	return db, s, &log
}

// within runs the outbox until the run's only delivery is in a state, and then ends it.
func within(t *testing.T, s *deliver.Service, begin func(), state api.DeliveryState) store.Delivery {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		s.Run(ctx)
		close(done)
	}()
	defer func() {
		stop()
		<-done
	}()
	begin()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		all, err := s.List(t.Context(), delivertest.User, "r1")
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 1 && all[0].State == state {
			return all[0]
		}
	}
	t.Fatalf("it never was %s", state)
	return store.Delivery{}
}

// TestSharingStartsAtOnce: without any pause coming to its end, what is asked for is done.
func TestSharingStartsAtOnce(t *testing.T) {
	_, s, _ := running(t, nil, func(time.Duration) <-chan time.Time { return nil })
	within(t, s, func() {
		if _, err := s.Share(t.Context(), delivertest.User, "r1", api.ShareCreate{}); err != nil {
			t.Fatal(err)
		}
	}, api.DeliveryDelivered)
}

// TestRowsOfEndedRunsAreFound: a row that nobody told of is found by looking.
func TestRowsOfEndedRunsAreFound(t *testing.T) {
	db, s, _ := running(t, nil, func(time.Duration) <-chan time.Time { return time.After(time.Millisecond) })
	within(t, s, func() {
		task, err := db.ActiveTask(t.Context(), "r1")
		if err != nil {
			t.Fatal(err)
		}
		task.Notify = share
		all, err := db.Artifacts(t.Context(), delivertest.User, "r1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Share(t.Context(), s.Plan(task, api.StateSucceeded, []api.Artifact{all[0].Artifact})); err != nil {
			t.Fatal(err)
		}
	}, api.DeliveryDelivered)
}

// TestEndOfTheServerLeavesTheRow: a server that ends in the middle of an upload leaves the row to the next at once, with
// what was kept.
func TestEndOfTheServerLeavesTheRow(t *testing.T) {
	var blocks atomic.Int64
	third, end := make(chan struct{}), make(chan struct{})
	db, s, log := running(t, func(route string) dropboxtest.Fault {
		if strings.HasSuffix(route, "append_v2") && blocks.Add(1) == 3 {
			close(third)
			<-end
		}
		return dropboxtest.None
	}, nil)
	t.Cleanup(func() { close(end) })
	within(t, s, func() {
		if _, err := s.Share(t.Context(), delivertest.User, "r1", api.ShareCreate{}); err != nil {
			t.Fatal(err)
		}
		<-third
	}, api.DeliverySending)
	all, err := s.List(t.Context(), delivertest.User, "r1")
	if err != nil || all[0].State != api.DeliveryWaiting || all[0].Due.After(time.Now()) || !strings.Contains(all[0].Progress, `"offset":2000`) {
		t.Fatalf("got %+v, %v", all, err)
	}
	if d, err := db.LeaseDelivery(t.Context(), api.DeliveryLink, time.Now().Add(time.Minute)); err != nil || d.Attempts != 2 {
		t.Fatalf("the next server gets %+v, %v", d, err)
	}
	if s := log.String(); strings.Contains(s, "canary") || strings.Contains(s, "sl.1") {
		t.Fatalf("the log tells secrets: %s", s)
	}
}
