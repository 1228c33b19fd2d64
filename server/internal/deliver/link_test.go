package deliver_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/contenthash"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/delivertest"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/dropboxtest"
	"github.com/cultivar-ml/cultivar/shared/api"
)

var share = api.Notify{Share: func() *bool { yes := true; return &yes }()}

// one checks that there is one file, the right one, and one link to it.
func (w *world) oneFileOneLink(run string) dropboxtest.State {
	w.Helper()
	st := w.dropbox.State()
	f, err := os.Open(filepath.Join(w.dir, run, "model.h5"))
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	want, err := contenthash.Compute(f)
	if err != nil {
		w.Fatal(err)
	}
	if name := "/cultivar/" + run + "/model.h5"; len(st.Files) != 1 || st.Files[name] != want {
		w.Fatalf("files are %v, want only %s with the hash %s", st.Files, name, want)
	}
	if len(st.Links) != 1 || st.Created != 1 {
		w.Fatalf("links are %+v, of %d made, want one", st.Links, st.Created)
	}
	return st
}

// TestLinkWhateverHappensToRequests: in 300 worlds every fourth request goes wrong in one of five ways. Where a day is not
// enough, somebody presses the retry key.
func TestLinkWhateverHappensToRequests(t *testing.T) {
	worlds := uint64(300)
	if testing.Short() {
		worlds = 40
	}
	for seed := range worlds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			faults := []dropboxtest.Fault{dropboxtest.Lose, dropboxtest.Drop, dropboxtest.Busy, dropboxtest.Broken, dropboxtest.Forget}
			w := newWorld(t, settings{noMail: true, expiry: time.Duration(seed%2) * time.Hour * 240, dropbox: dropboxtest.Options{
				NoExpiry: seed%3 == 0,
				Fault: func(string) dropboxtest.Fault {
					if r.IntN(4) == 0 {
						return faults[r.IntN(len(faults))]
					}
					return dropboxtest.None
				},
			}})
			w.ended("r1", api.StateSucceeded, share, int(seed)*37%6000)
			w.settle()
			d := w.rows("r1")[0]
			for range 3 {
				if d.State != api.DeliveryFailed {
					break
				}
				if _, err := w.deliver.Retry(t.Context(), delivertest.User, "r1", d.ID); err != nil {
					t.Fatal(err)
				}
				w.settle()
				d = w.rows("r1")[0]
			}
			if d.State != api.DeliveryDelivered {
				t.Fatalf("%s after %d attempts: %s", d.State, d.Attempts, d.Reason)
			}
			if st := w.oneFileOneLink("r1"); d.URL != st.Links[0].URL || d.Progress != "" {
				t.Fatalf("got %+v, want the link %s", d, st.Links[0].URL)
			}
		})
	}
}

// TestUploadGoesOnWhereItWas: a connection that breaks at every third block costs no byte twice but the broken one.
func TestUploadGoesOnWhereItWas(t *testing.T) {
	n := 0
	w := newWorld(t, settings{noMail: true, dropbox: dropboxtest.Options{Fault: func(route string) dropboxtest.Fault {
		if strings.HasSuffix(route, "append_v2") {
			if n++; n%3 == 0 {
				return dropboxtest.Lose
			}
		}
		return dropboxtest.None
	}}})
	w.ended("r1", api.StateSucceeded, share, 9500)
	w.settle()
	if st := w.oneFileOneLink("r1"); st.Bytes != 9500 || st.Finished != 1 {
		t.Fatalf("%d bytes in %d files were uploaded, want 9500 in 1", st.Bytes, st.Finished)
	}
	if d := w.rows("r1")[0]; d.Attempts < 3 {
		t.Fatalf("%d attempts: nothing went wrong", d.Attempts)
	}
}

func TestWaitsAreAsLongAsDropboxSays(t *testing.T) {
	busy := true
	w := newWorld(t, settings{noMail: true, dropbox: dropboxtest.Options{Fault: func(string) dropboxtest.Fault {
		if busy {
			return dropboxtest.Busy
		}
		return dropboxtest.None
	}}})
	w.ended("r1", api.StateSucceeded, share, 10)
	waits := []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute}
	for _, want := range waits {
		w.step()
		d := w.rows("r1")[0]
		if got := d.Due.Sub(w.now); got != want || d.State != api.DeliveryWaiting || !strings.Contains(d.Reason, "asks to wait") {
			t.Fatalf("%s for %v: %s; want %v", d.State, got, d.Reason, want)
		}
		w.now = d.Due
	}
	busy = false
	w.settle()
	w.oneFileOneLink("r1")
}

func TestGivenUpAfterADayAndRetried(t *testing.T) {
	broken := true
	w := newWorld(t, settings{noMail: true, dropbox: dropboxtest.Options{Fault: func(string) dropboxtest.Fault {
		if broken {
			return dropboxtest.Broken
		}
		return dropboxtest.None
	}}})
	w.ended("r1", api.StateSucceeded, share, 10)
	begun := w.now
	w.settle()
	d := w.rows("r1")[0]
	if took := w.now.Sub(begun); d.State != api.DeliveryFailed || took < 24*time.Hour || took > 25*time.Hour || !strings.Contains(d.Reason, "a day") {
		t.Fatalf("%s after %v: %s", d.State, took, d.Reason)
	}
	broken = false
	if _, err := w.deliver.Retry(t.Context(), delivertest.User, "r1", d.ID); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.oneFileOneLink("r1")
}

func TestWithdrawnPermissionIsForTheAdmin(t *testing.T) {
	w := newWorld(t, settings{noMail: true})
	w.dropbox.Revoke()
	w.ended("r1", api.StateSucceeded, share, 10)
	w.settle()
	d := w.rows("r1")[0]
	if d.State != api.DeliveryFailed || d.Attempts != 1 || !strings.Contains(d.Reason, "withdrawn") || !strings.Contains(d.Reason, "admin") {
		t.Fatalf("%s after %d attempts: %s", d.State, d.Attempts, d.Reason)
	}
}

func TestRotatedSecretsCount(t *testing.T) {
	var file string
	w := newWorld(t, settings{noMail: true, change: func(c *config.Deliver) {
		file = secretFile(t, "wrong", "old")
		c.Dropbox.AppSecretFile = file
	}})
	w.ended("r1", api.StateSucceeded, share, 10)
	w.settle()
	d := w.rows("r1")[0]
	if d.State != api.DeliveryFailed {
		t.Fatalf("%s: %s", d.State, d.Reason)
	}
	if err := os.WriteFile(file, []byte(appSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.deliver.Retry(t.Context(), delivertest.User, "r1", d.ID); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.oneFileOneLink("r1")
}

func TestExpiry(t *testing.T) {
	for _, c := range []struct {
		name    string
		refused bool
		reason  string
	}{{"may", false, ""}, {"may not", true, "cannot make links that end"}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, settings{noMail: true, expiry: 48 * time.Hour, dropbox: dropboxtest.Options{NoExpiry: c.refused}})
			w.ended("r1", api.StateSucceeded, share, 10)
			asked := w.now
			w.settle()
			w.oneFileOneLink("r1")
			d := w.rows("r1")[0]
			if (d.Expires == nil) != c.refused || !strings.Contains(d.Reason, c.reason) || (c.reason == "") != (d.Reason == "") {
				t.Fatalf("got %+v", d)
			}
			if d.Expires != nil && !d.Expires.Equal(asked.Add(48*time.Hour)) {
				t.Fatalf("ends %v, asked at %v", d.Expires, asked)
			}
		})
	}
}

// TestEndedLinkIsMadeAnew: asking again after the end of a link makes another one of the same file.
func TestEndedLinkIsMadeAnew(t *testing.T) {
	w := newWorld(t, settings{noMail: true, expiry: 48 * time.Hour})
	w.ended("r1", api.StateSucceeded, share, 10)
	w.settle()
	first := w.rows("r1")[0]
	w.now = w.now.Add(49 * time.Hour)
	if _, err := w.deliver.Share(t.Context(), delivertest.User, "r1", api.ShareCreate{}); err != nil {
		t.Fatal(err)
	}
	w.settle()
	st, d := w.dropbox.State(), w.rows("r1")[0]
	if len(st.Files) != 1 || len(st.Links) != 1 || st.Finished != 1 || d.URL == first.URL || d.State != api.DeliveryDelivered || !d.Expires.After(w.now) {
		t.Fatalf("got %+v of %+v", d, st)
	}
}

func TestDamagedModelIsNotShared(t *testing.T) {
	w := newWorld(t, settings{noMail: true})
	w.ended("r1", api.StateSucceeded, share, 10)
	if err := os.WriteFile(filepath.Join(w.dir, "r1", "model.h5"), []byte("xxxxxxxxxx"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.settle()
	d := w.rows("r1")[0]
	if d.State != api.DeliveryFailed || !strings.Contains(d.Reason, "damaged") || len(w.dropbox.State().Files) != 0 {
		t.Fatalf("%s: %s", d.State, d.Reason)
	}
}
