package rates_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/rates"
)

func key(base string) rates.Key { return rates.NewKey(base, 224, "features") }

func open(t testing.TB, dir string, k rates.Key) *rates.Book {
	t.Helper()
	b, err := rates.Open(dir, k)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWhatCounts: trainings count, trials only where there was none.
func TestWhatCounts(t *testing.T) {
	type note struct {
		trained bool
		value   float64
	}
	for name, tc := range map[string]struct {
		notes []note
		want  float64
	}{
		"a trial":                      {[]note{{false, 3}}, 3},
		"a newer trial":                {[]note{{false, 3}, {false, 5}}, 5},
		"a training after a trial":     {[]note{{false, 3}, {true, 8}}, 8},
		"a trial after a training":     {[]note{{true, 8}, {false, 3}}, 8},
		"trainings":                    {[]note{{true, 8}, {true, 4}, {true, 2}}, 4},
		"what cannot be":               {[]note{{true, 8}, {true, math.NaN()}, {true, math.Inf(1)}, {true, -1}, {false, math.NaN()}}, 8},
		"nothing is a rate, too":       {[]note{{true, 0}}, 0},
		"a trial that cannot be":       {[]note{{false, 3}, {false, math.Inf(1)}}, 3},
		"so slow that nobody waits it": {[]note{{false, 3}, {true, 1e300}}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, t.TempDir(), key("a"))
			for _, n := range tc.notes {
				if n.trained {
					b.Learn("view", n.value)
				} else {
					b.Try("view", n.value)
				}
			}
			if got, ok := b.Get("view"); !ok || got != tc.want {
				t.Errorf("%v, %v; want %v", got, ok, tc.want)
			}
			if _, ok := b.Get("other"); ok {
				t.Error("there is a rate that nobody noted")
			}
		})
	}
}

func TestBooksAreKept(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, key("a"))
	if err := b.Save(); err != nil { // nothing to keep, so no file
		t.Fatal(err)
	}
	if _, err := os.Stat(b.Path()); !os.IsNotExist(err) {
		t.Errorf("an empty book was written: %v", err)
	}
	b.Learn("view", 2)
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, key("a"))
	again.Learn("view", 4)
	if got, _ := again.Get("view"); got != 3 {
		t.Errorf("the second training makes it %v", got)
	}
	for _, other := range []rates.Key{key("b"), rates.NewKey("a", 192, "features"), rates.NewKey("a", 224, "avg_pool")} {
		if _, ok := open(t, dir, other).Get("view"); ok {
			t.Errorf("%+v has the rates of another", other)
		}
	}
}

// TestDamagedBooks: what a book held is measured again.
func TestDamagedBooks(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, key("a"))
	b.Learn("view", 2)
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(b.Path())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"empty": nil, "cut": whole[:len(whole)/2], "of another key": []byte(`{"key":{"base":"b"},"rates":{"view":{"value":2}}}`)} {
		if err := os.WriteFile(b.Path(), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if v, ok := open(t, dir, key("a")).Get("view"); ok {
			t.Errorf("%s: %v", name, v)
		}
	}
}

func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	path := open(f, dir, key("a")).Path()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		f.Fatal(err)
	}
	b := open(f, dir, key("a"))
	b.Learn("view", 2)
	if err := b.Save(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"rates":{"view":{"value":-1}}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if v, ok := open(t, dir, key("a")).Get("view"); ok && !(v >= 0 && !math.IsInf(v, 0)) {
			t.Errorf("%v is no rate", v)
		}
	})
}
