package start_test

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/start"
)

func whole() start.Start {
	return start.Start{
		About: start.About{Version: 1, Base: "b", SHA256: "00", ImageSize: 224, Fit: "stretch", Features: "features", Labels: []string{"a", "b"}},
		Head:  fit.Head{Kernel: []float32{1, 2, 3, 4, 5, 6}, Bias: []float32{7, 8}},
		Tuned: network.Weights{"conv/kernel": {Shape: []int{2}, Data: []float32{1, 2}}}, TunedHead: fit.Head{Kernel: []float32{9, 8}, Bias: []float32{7, 6}},
	}
}

func TestRoundTrip(t *testing.T) {
	plain := whole()
	plain.Tuned, plain.TunedHead = nil, fit.Head{}
	for name, want := range map[string]start.Start{"fine-tuned": whole(), "head alone": plain} {
		path := filepath.Join(t.TempDir(), "start")
		if err := want.Save(path); err != nil {
			t.Fatal(err)
		}
		if got, err := start.Load(path); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", name, got, err, want)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, change := range map[string]func(*start.Start){
		"a class more":          func(s *start.Start) { s.Labels = []string{"a", "b", "c"} },
		"a class less":          func(s *start.Start) { s.Labels = []string{"a"} },
		"no class":              func(s *start.Start) { s.Labels = nil },
		"a head of no numbers":  func(s *start.Start) { s.Head.Kernel[3] = float32(math.NaN()) },
		"infinite tuned biases": func(s *start.Start) { s.TunedHead.Bias[0] = float32(math.Inf(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			s, path := whole(), filepath.Join(t.TempDir(), "start")
			change(&s)
			if err := s.Save(path); err != nil {
				t.Fatal(err)
			}
			if got, err := start.Load(path); err == nil {
				t.Errorf("accepted: %+v", got)
			}
		})
	}
	if _, err := start.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestFor: classes are found by name, wherever they stand, and new ones know nothing.
func TestFor(t *testing.T) {
	h := fit.Head{Kernel: []float32{1, 2, 3, 4}, Bias: []float32{5, 6}} // two features of a and b
	got, kept := start.For(h, []string{"a", "b"}, []string{"b", "new", "a"})
	want := fit.Head{Kernel: []float32{2, 0, 1, 4, 0, 3}, Bias: []float32{6, 0, 5}}
	if !reflect.DeepEqual(got, want) || kept != 2 {
		t.Errorf("got %+v with %d kept, want %+v with 2", got, kept, want)
	}
	if got, kept = start.For(h, []string{"a", "b"}, []string{"x", "y"}); kept != 0 || got.Kernel[0] != 0 {
		t.Errorf("of other classes %+v, %d kept", got, kept)
	}
}

func FuzzLoad(f *testing.F) {
	path := filepath.Join(f.TempDir(), "start")
	if err := whole().Save(path); err != nil {
		f.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "start")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := start.Load(path)
		if err != nil {
			return
		}
		start.For(s.Head, s.Labels, []string{"a", "z"})
		if s.Tuned != nil {
			start.For(s.TunedHead, s.Labels, []string{"a", "z"})
		}
	})
}
