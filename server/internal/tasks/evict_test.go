package tasks

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func TestEvict(t *testing.T) {
	old, middle, recent := strings.Repeat("cc", 32), strings.Repeat("bb", 32), strings.Repeat("aa", 32)
	all := []string{old, middle, recent} // 100 bytes each
	for _, c := range []struct {
		name     string
		limit    int64
		free     uint64 // of 1000 bytes, before anything is removed
		active   []store.Task
		survives []string
	}{
		{"at the limit", 300, 500, nil, all},
		{"a byte over it", 299, 500, nil, []string{middle, recent}},
		{"far over it", 150, 500, nil, []string{recent}},
		{"nothing fits", 1, 500, nil, nil},
		{"no limit", 0, 0, nil, all},
		{"a tenth is free", 1000, 100, nil, all},
		{"less is", 1000, 99, nil, []string{middle, recent}},
		{"less still", 1000, 0, nil, []string{middle, recent}},
		{"one of theirs executes", 1, 0, []store.Task{{Owner: "me", State: api.StateRunning}}, all},
		{"one of theirs waits", 299, 500, []store.Task{{Owner: "me", State: api.StateQueued}}, []string{middle, recent}},
		{"one of others executes", 299, 500, []store.Task{{Owner: "you", State: api.StateRunning}}, []string{middle, recent}},
	} {
		t.Run(c.name, func(t *testing.T) {
			volume, err := files.OpenVolume(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			dir, err := volume.Path(runspec.FeaturesDir("me"))
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			for i, key := range all {
				used := now.Add(time.Duration(i) * time.Hour)
				writeAt(t, filepath.Join(dir, key, "key.json"), 40, used)
				// Of these only the newest file tells that the key was used.
				writeAt(t, filepath.Join(dir, key, "w-1.seg"), 60, now.Add(-time.Duration(i)*time.Hour))
			}
			writeAt(t, filepath.Join(dir, "rates", "machine.json"), 1000, now.Add(-time.Hour)) // are no features
			s := &Service{volume: volume, features: c.limit, free: func() (uint64, uint64, error) {
				return c.free + 100*uint64(len(all)+1-len(folders(t, dir))), 1000, nil
			}}
			if err := s.evict("me", c.active); err != nil {
				t.Fatal(err)
			}
			got := folders(t, dir)
			want := append(slices.Sorted(slices.Values(c.survives)), "rates")
			if !slices.Equal(got, want) {
				t.Errorf("left are %v, want %v", got, want)
			}
		})
	}
}

func writeAt(t *testing.T, path string, size int, at time.Time) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("x", size)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func folders(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
