package features_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/features"
)

// TestHeld: of each image those views are held that a pass has kept, and of another key none.
func TestHeld(t *testing.T) {
	p, _ := small(t, 1, 3)
	dir := t.TempDir()
	key := features.NewKey("weights", p.Network, p.Fit)
	held, err := features.Held(dir, key)
	if err != nil || len(held) != 0 {
		t.Fatalf("before the pass %v, %v", held, err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) > 0 {
		t.Errorf("looking has made %v", names)
	}
	whole := p.Wants
	p.Wants = nil
	for i, w := range whole {
		if w.View != 1 || w.Item == 0 { // view 1 of the first photo only
			p.Wants = append(p.Wants, whole[i])
		}
	}
	run(t, p, open(t, dir, p, "one"))
	if held, err = features.Held(dir, key); err != nil || len(held) != len(p.Items) {
		t.Fatalf("%d photos are held, %v; want %d", len(held), err, len(p.Items))
	}
	for i, item := range p.Items {
		for view, want := range []bool{true, i == 0, true, false} {
			if held[item.Hash].Has(view) != want {
				t.Errorf("view %d of photo %d: %v, want %v", view, i, !want, want)
			}
		}
	}
	if held[p.Items[0].Hash].Has(64) {
		t.Error("a view that no set can hold is held")
	}
	other := key
	other.Base = "others"
	if held, err = features.Held(dir, other); err != nil || len(held) != 0 {
		t.Errorf("of other weights %v, %v", held, err)
	}
	segments, _ := filepath.Glob(filepath.Join(dir, key.Name(), "*.seg"))
	for _, name := range segments {
		if err := os.Truncate(name, 20); err != nil {
			t.Fatal(err)
		}
	}
	if held, err = features.Held(dir, key); err != nil || len(held) != 0 {
		t.Errorf("of torn segments %v, %v", held, err)
	}
}

// TestTiming: every row is counted once, and a pass that finds everything computes nothing.
func TestTiming(t *testing.T) {
	p, _ := small(t, 5, 2)
	dir := t.TempDir()
	run(t, p, open(t, dir, p, "one"))
	took, n := p.Timing, len(p.Items)
	if took.PlainRows != n || took.ChangedRows != n || took.NetworkRows >= 2*n || took.NetworkRows < 2*n-8*took.Workers {
		t.Errorf("%d photos in 2 views: %+v", n, took)
	}
	bytes, files := int64(0), int64(0)
	for _, item := range p.Items {
		bytes += item.Length
	}
	segments, _ := filepath.Glob(filepath.Join(dir, "*", "*.seg"))
	for _, name := range segments {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		files += info.Size()
	}
	if took.Bytes != 2*bytes || took.Written != files { // changed views are of a larger decoding
		t.Errorf("%d bytes decoded of %d, %d written of %d", took.Bytes, bytes, took.Written, files)
	}
	for name, d := range map[string]int64{"Find": int64(took.Find), "Wall": int64(took.Wall), "Startup": int64(took.Startup),
		"Decode": int64(took.Decode), "Plain": int64(took.Plain), "Changed": int64(took.Changed), "Network": int64(took.Network)} {
		if d <= 0 {
			t.Errorf("%s took no time", name)
		}
	}
	run(t, p, open(t, dir, p, "two"))
	if took = p.Timing; took.Wall != 0 || took.NetworkRows != 0 || took.Written != 0 || took.Find <= 0 {
		t.Errorf("the second pass: %+v", took)
	}
}
