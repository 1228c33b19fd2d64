package httpapi_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// TestFeaturesAreEvicted: features past the limit are gone before a run of theirs begins; what it computes itself stays as
// long as it executes.
func TestFeaturesAreEvicted(t *testing.T) {
	f := newFixture(t)
	f.features = 1 << 10
	f.restart()
	key := func(user, name string) string {
		return filepath.Join(f.dir, "volume", filepath.FromSlash(runspec.FeaturesDir(user)), strings.Repeat(name, 32), "w-1.seg")
	}
	there := func(path string) bool { _, err := os.Stat(path); return err == nil }
	write := func(path string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 2<<10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	earlier, own, after := key("alice", "11"), key("alice", "22"), key("bob", "33")
	write(earlier)
	specs, finish := make(chan runspec.Spec, 1), make(chan struct{})
	f.script = func(tr *trainer) runner.Exit {
		tr.post("register", executor, []byte(`{"executor":"`+executor+`","version":"v1.2.3"}`))
		specs <- tr.spec
		<-finish
		return tr.finish()
	}
	run := f.run("alice", f.dataset("alice"))
	spec := <-specs
	if there(earlier) || spec.FeatureBytes != f.features {
		t.Errorf("when the run begins, earlier features are there: %v; the trainer may write %d bytes", there(earlier), spec.FeatureBytes)
	}
	write(own)
	write(after)
	f.restart() // which looks for what is left over at once, in the order of users' names
	eventually(t, "bob's features to be evicted", func() bool { return !there(after) })
	if !there(own) {
		t.Error("features of a run that executes were evicted")
	}
	close(finish)
	f.await("alice", run.Id, api.StateSucceeded)
	f.restart()
	eventually(t, "the features to be evicted", func() bool { return !there(own) })
}
