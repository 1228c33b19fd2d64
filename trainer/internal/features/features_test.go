package features_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// small is a pass of a small network over some real photos.
func small(t *testing.T, perClass, views int) (*features.Pass, *counts) {
	t.Helper()
	dir := t.TempDir()
	model := exporttest.Small(t)
	items, packs := tasktest.Items(t, dir, tasktest.Data(t, "trashnet"), perClass)
	c := &counts{}
	p := &features.Pass{Network: model.Network, Weights: model.Weights, Fit: data.Stretch, Packs: packs, Items: items, Notes: dir,
		Progress: func(done, _ int) { c.progress = append(c.progress, done) },
		Problem:  func(item data.Item, f *data.Fault) { c.problems = append(c.problems, string(f.Reason)+" "+item.Path) }}
	for i := range items {
		for v := range views {
			p.Wants = append(p.Wants, features.Want{Item: i, View: v})
		}
	}
	return p, c
}

type counts struct {
	progress []int
	problems []string
}

func open(t *testing.T, dir string, p *features.Pass, writer string) *features.Cache {
	t.Helper()
	key := features.NewKey("weights", p.Network, p.Fit)
	c, err := features.Open(dir, key, writer)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func rows(t *testing.T, s *features.Set) [][]float32 {
	t.Helper()
	var out [][]float32
	for i := range s.Len() {
		row := make([]float32, s.Dim())
		if s.Has(i) {
			if err := s.Read(i, row); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, row)
	}
	return out
}

func run(t *testing.T, p *features.Pass, cache *features.Cache) [][]float32 {
	t.Helper()
	sets, err := p.Run(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	defer sets[0].Close()
	return rows(t, sets[0])
}

func TestSecondPassDecodesNothing(t *testing.T) {
	p, _ := small(t, 5, 3)
	dir := t.TempDir()
	first := run(t, p, open(t, dir, p, "a"))
	if slices.Equal(first[0], first[1]) || slices.Equal(first[0], first[3]) {
		t.Error("different views or photos have the same features")
	}
	// Without the packs nothing could be decoded.
	if err := os.RemoveAll(p.Packs); err != nil {
		t.Fatal(err)
	}
	second := run(t, p, open(t, dir, p, "b"))
	for i := range first {
		if !slices.Equal(first[i], second[i]) {
			t.Fatalf("row %d has changed", i)
		}
	}
}

// The same features come out whatever the number of cores, so that a training can be repeated.
func TestSameOnAnyCores(t *testing.T) {
	p, _ := small(t, 4, 2)
	two := run(t, p, open(t, t.TempDir(), p, "a"))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one := run(t, p, open(t, t.TempDir(), p, "a"))
	for i := range one {
		if !slices.Equal(one[i], two[i]) {
			t.Fatalf("row %d differs", i)
		}
	}
}

func TestDamageIsComputedAgain(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"cut short":      func(b []byte) []byte { return b[:len(b)-7] },
		"a value":        func(b []byte) []byte { b[len(b)-3] ^= 4; return b },
		"the index":      func(b []byte) []byte { b[30] ^= 1; return b },
		"the row count":  func(b []byte) []byte { b[12] = 0xff; return b },
		"nothing at all": func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := small(t, 3, 1)
			dir := t.TempDir()
			want := run(t, p, open(t, dir, p, "a"))
			segments, err := filepath.Glob(filepath.Join(dir, "*", "*.seg"))
			if err != nil || len(segments) != 1 {
				t.Fatalf("segments %v, %v", segments, err)
			}
			b, err := os.ReadFile(segments[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(segments[0], damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			cache := open(t, dir, p, "b")
			found, err := cache.Find(p.Rows())
			if err != nil {
				t.Fatal(err)
			}
			missing := 0
			for i := range found.Len() {
				if !found.Has(i) {
					missing++
				}
			}
			found.Close()
			if missing == 0 {
				t.Fatal("the damage was not noticed")
			}
			for i, row := range run(t, p, cache) {
				for j := range row {
					// The last bits may differ, as a row may stand elsewhere in its batch.
					if math.Abs(float64(row[j]-want[i][j])) > 2e-3*(1+math.Abs(float64(want[i][j]))) {
						t.Fatalf("row %d is %v instead of %v", i, row[j], want[i][j])
					}
				}
			}
		})
	}
}

func TestUnreadableImagesAreProblems(t *testing.T) {
	p, c := small(t, 3, 1)
	bad := filepath.Join(t.TempDir(), "bad.jpg")
	if err := os.WriteFile(bad, []byte("no image"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Items[4] = data.Item{Path: "bad.jpg", Hash: data.Hash{7}, File: bad}
	sets, err := p.Run(t.Context(), open(t, t.TempDir(), p, "a"))
	if err != nil {
		t.Fatal(err)
	}
	set := sets[0]
	defer set.Close()
	for i := range set.Len() {
		if set.Has(i) != (i != 4) {
			t.Errorf("row %d: there is %v", i, set.Has(i))
		}
	}
	if !slices.Equal(c.problems, []string{"not_an_image bad.jpg"}) {
		t.Errorf("problems are %q", c.problems)
	}
	if last := c.progress[len(c.progress)-1]; last != set.Len() || !slices.IsSorted(c.progress) {
		t.Errorf("progress is %v of %d", c.progress, set.Len())
	}
}

func TestInterruptionKeepsWhatWasComputed(t *testing.T) {
	p, _ := small(t, 40, 1)
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("told to leave")
	report := p.Progress
	p.Progress = func(done, total int) {
		report(done, total)
		if done >= 32 {
			cancel(reason)
		}
	}
	cache := open(t, dir, p, "a")
	if _, err := p.Run(ctx, cache); !errors.Is(err, reason) {
		t.Fatalf("error is %v", err)
	}
	set, err := cache.Find(p.Rows())
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	kept := 0
	for i := range set.Len() {
		if set.Has(i) {
			kept++
		}
	}
	if kept < 32 || kept == set.Len() {
		t.Errorf("%d of %d rows were kept", kept, set.Len())
	}
	if left, _ := filepath.Glob(filepath.Join(p.Notes, "decoding-*")); len(left) > 0 {
		t.Errorf("notes %v were left by an orderly end", left)
	}
}

// An image that was being decoded when the process died is tried once more, last, and then left out.
func TestSuspects(t *testing.T) {
	p, c := small(t, 3, 1)
	dir := t.TempDir()
	once, twice := p.Items[2].Hash, p.Items[5].Hash
	for name, text := range map[string]string{"decoding-0": once.String() + " 1\n", "decoding-1": twice.String() + " 2\n", "decoding-2": "torn"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if p.Suspects, err = features.Suspects(dir); err != nil {
		t.Fatal(err)
	}
	if len(p.Suspects) != 2 {
		t.Fatalf("suspects are %v", p.Suspects)
	}
	sets, err := p.Run(t.Context(), open(t, t.TempDir(), p, "a"))
	if err != nil {
		t.Fatal(err)
	}
	set := sets[0]
	defer set.Close()
	if !set.Has(2) || set.Has(5) {
		t.Errorf("noted once: there is %v; noted twice: there is %v", set.Has(2), set.Has(5))
	}
	if len(c.problems) != 1 || c.problems[0] != "decoder_crashed "+p.Items[5].Path {
		t.Errorf("problems are %q", c.problems)
	}
}

func TestKeyNamesDepths(t *testing.T) {
	net, err := network.ByName("mobilenet_v2")
	if err != nil {
		t.Fatal(err)
	}
	deep, err := net.Deep()
	if err != nil {
		t.Fatal(err)
	}
	fewer := net
	fewer.Taps = net.Taps[1:]
	if fewer, err = fewer.Deep(); err != nil {
		t.Fatal(err)
	}
	fewer.FeatureDim = deep.FeatureDim
	names := map[string]bool{}
	for _, n := range []network.Network{net, deep, fewer} {
		names[features.NewKey("weights", n, data.Stretch).Name()] = true
	}
	if len(names) != 3 {
		t.Errorf("three kinds of features share a cache: %v", names)
	}
	// Those of the last layer are still found where the releases before those of several depths have put them.
	plain, err := json.Marshal(features.NewKey("weights", net, data.Stretch))
	if err != nil || !strings.HasPrefix(string(plain), `{"format":1,"base":"weights","cut":"global_average_pooling2d","dim":1280,"image_size":224,`) {
		t.Errorf("the key of the last layer's features is %s, %v", plain, err)
	}
}

// TestOpeningMarksAsUsed: what is evicted goes by the newest file of a key, so opening a key makes one new.
func TestOpeningMarksAsUsed(t *testing.T) {
	p, _ := small(t, 1, 1)
	dir := t.TempDir()
	open(t, dir, p, "first")
	path := filepath.Join(dir, features.NewKey("weights", p.Network, p.Fit).Name(), "key.json")
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	open(t, dir, p, "second")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !info.ModTime().After(long.Add(time.Minute)) {
		t.Errorf("it was last used at %v", info.ModTime())
	}
}
