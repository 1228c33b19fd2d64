package deliver_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/deliver"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

var update = flag.Bool("update", false, "write the golden files")

// TestMailsInWords compares the whole of each kind of mail.
func TestMailsInWords(t *testing.T) {
	started := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	after := func(d time.Duration) *time.Time { at := started.Add(d); return &at }
	number := func(f float64) *float64 { return &f }
	run := store.Task{
		Number: 3, Name: "tulips & roses", DatasetName: "flowers", Classes: []string{"daisy", "roses", "tulips"},
		State: api.StateSucceeded, Started: &started, Ended: after(12*time.Minute + 10*time.Second), TestAccuracy: number(0.9417),
	}
	files := []runspec.Artifact{{Name: "labels.txt", Format: "labels"}, {Name: "model.h5", Format: "h5"}}
	link := &store.Delivery{URL: "https://www.dropbox.com/scl/fi/abc/model.h5?rlkey=def&dl=0", Expires: after(30 * 24 * time.Hour)}
	lasting := &store.Delivery{URL: link.URL}
	none := &store.Delivery{Reason: "Dropbox no longer lets this server into the account: its permission was withdrawn. Ask this server's admin to connect it to Dropbox again."}
	with := func(change func(*store.Task)) store.Task { t := run; change(&t); return t }
	for _, c := range []struct {
		name string
		task store.Task
		link *store.Delivery
		url  string
	}{
		{"succeeded", run, link, "https://cultivar.example.org"},
		{"without_test", with(func(t *store.Task) { t.TestAccuracy, t.ValAccuracy, t.Name = nil, number(0.5), "" }), lasting, ""},
		{"link_failed", run, none, ""},
		{"no_dropbox", run, nil, "https://cultivar.example.org"},
		{"failed", with(func(t *store.Task) {
			t.State, t.Reason, t.Ended = api.StateFailed, "The trainer was killed because it needed more than 4 GiB of memory. Choose a bigger machine size.", after(time.Hour+5*time.Minute)
		}), nil, "https://cultivar.example.org"},
		{"cancelled", with(func(t *store.Task) { t.State, t.Started, t.Reason = api.StateCancelled, nil, "You cancelled it." }), nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			subject, text, html, err := deliver.Tell(c.task, files, c.link, c.url)
			if err != nil {
				t.Fatal(err)
			}
			for suffix, got := range map[string]string{".txt": "Subject: " + subject + "\n\n" + text, ".html": html} {
				path := filepath.Join("testdata", c.name+suffix)
				if *update {
					if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil || got != string(want) {
					t.Errorf("%s: %v; got\n%s\nwant\n%s", path, err, got, want)
				}
			}
		})
	}
}
