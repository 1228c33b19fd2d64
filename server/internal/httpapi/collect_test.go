package httpapi_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/fsck"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// collect runs the sweep and returns how many packs are left on the volume.
func (f *fixture) collect() int {
	f.t.Helper()
	if _, err := f.ingest.Collect(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(f.dir, "volume", "users", "*", "packs", "*", "*"))
	if err != nil {
		f.t.Fatal(err)
	}
	return len(found)
}

// wholesome fails the test when an invariant is broken.
func (f *fixture) wholesome() {
	f.t.Helper()
	volume, err := files.OpenVolume(filepath.Join(f.dir, "volume"))
	if err != nil {
		f.t.Fatal(err)
	}
	r, err := fsck.Run(f.t.Context(), fsck.Options{Store: f.store, Volume: volume, Read: true, Live: true})
	if err != nil || len(r.Findings) > 0 {
		f.t.Errorf("invariants are broken: %+v, %v", r.Findings, err)
	}
}

func TestUnnamedPacksGo(t *testing.T) {
	f := newFixture(t)
	ready := f.dataset("alice", "a", "b")
	m, blobs := photos([]string{"c", "d"}, 3)
	f.upload("alice", "pack", "", packOf(t, m, blobs), 204)
	for _, c := range []struct {
		after time.Duration
		packs int
	}{{0, 2}, {23 * time.Hour, 2}, {2 * time.Hour, 1}, {300 * time.Hour, 1}} {
		f.now.advance(c.after)
		if got := f.collect(); got != c.packs {
			t.Fatalf("%s later %d packs are left, want %d", c.after, got, c.packs)
		}
	}
	f.wholesome()
	f.run("alice", ready)
	// What was removed can be sent again.
	f.upload("alice", "pack", "", packOf(t, m, blobs), 204)
	d := f.createDataset("alice", m)
	f.upload("alice", "manifest", d.Id, manifestBytes(t, m), 204)
	f.wholesome()
}

// Packs of a dataset whose manifest is still to come stay, and go with it when it never comes.
func TestPacksOnTheirWayStay(t *testing.T) {
	f := newFixture(t)
	m, blobs := photos([]string{"c", "d"}, 3)
	d := f.createDataset("alice", m)
	f.upload("alice", "pack", "", packOf(t, m, blobs), 204)
	f.now.advance(6 * 24 * time.Hour)
	if got := f.collect(); got != 1 {
		t.Fatalf("%d packs after six days", got)
	}
	f.now.advance(25 * time.Hour)
	if got := f.collect(); got != 0 {
		t.Fatalf("%d packs after more than a week", got)
	}
	var e api.Error
	f.decode(f.do("alice", "GET", "/api/v1/datasets/"+d.Id, nil), 404, &e)
	f.wholesome()
}

func TestStraysGo(t *testing.T) {
	f := newFixture(t)
	f.dataset("alice", "a", "b")
	users := filepath.Join(f.dir, "volume", "users", "alice")
	strays := []string{
		filepath.Join(users, "packs", "00", strings.Repeat("0", 64)+".pack"),
		filepath.Join(users, "datasets", strings.Repeat("0", 64), runspec.ManifestFile),
		filepath.Join(users, "tasks", "lost", runspec.SpecFile),
		filepath.Join(users, "uploads", "lost.part"),
	}
	for _, name := range strays {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	there := func(name string) bool {
		_, err := os.Stat(name)
		return err == nil
	}
	f.now.advance(23 * time.Hour)
	f.collect()
	if !slices.ContainsFunc(strays, there) || slices.ContainsFunc(strays, func(n string) bool { return !there(n) }) {
		t.Error("what is younger than a day was removed")
	}
	f.now.advance(2 * time.Hour)
	if packs := f.collect(); packs != 1 || slices.ContainsFunc(strays, there) {
		t.Errorf("%d packs, and strays are left", packs)
	}
	f.wholesome()
}
