package checkpoint_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/checkpoint"
	"github.com/cultivar-ml/cultivar/trainer/internal/finetune"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

func of(epoch int) checkpoint.Checkpoint {
	return checkpoint.Checkpoint{Version: checkpoint.Version, Spec: "spec", Key: "key", Recipe: runspec.Default(runspec.Best),
		State: fit.State{Epoch: epoch, Params: fit.Params{Kernel: []float32{1, float32(epoch)}, Step: 7}, BestLoss: 0.25}}
}

func save(t *testing.T, dir string, epochs ...int) {
	t.Helper()
	for _, e := range epochs {
		if err := checkpoint.Save(dir, of(e)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeepsTwo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "checkpoint")
	save(t, dir, 1, 2, 9, 10, 11)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Fatalf("files %v, %v", files, err)
	}
	got, found, err := checkpoint.Load(dir, "spec", "key")
	if err != nil || !found || !reflect.DeepEqual(got, of(11)) {
		t.Errorf("loaded %+v, %v, %v", got, found, err)
	}
}

func TestDamagedGivesTheOneBefore(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut":   func(b []byte) []byte { return b[:len(b)-1] },
		"bit":   func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"empty": func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			save(t, dir, 1, 2)
			newest := filepath.Join(dir, "000002.ckpt")
			b, err := os.ReadFile(newest)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(newest, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, found, err := checkpoint.Load(dir, "spec", "key"); err != nil || !found || got.State.Epoch != 1 {
				t.Errorf("loaded epoch %d, %v, %v", got.State.Epoch, found, err)
			}
		})
	}
}

func TestOfAnotherTraining(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, 1)
	for _, other := range [][2]string{{"other", "key"}, {"spec", "other"}} {
		if _, found, err := checkpoint.Load(dir, other[0], other[1]); found || err != nil {
			t.Errorf("%v: found %v, %v", other, found, err)
		}
	}
	if _, found, err := checkpoint.Load(filepath.Join(dir, "none"), "spec", "key"); found || err != nil {
		t.Errorf("no folder: found %v, %v", found, err)
	}
}

func TestTuningIsKept(t *testing.T) {
	begun := finetune.State{Epoch: 3, Step: 12, RateScale: 0.5, Weights: finetune.Vector{1, 2}, M: finetune.Vector{3}, V: finetune.Vector{4}, Mean: finetune.Vector{5, 6}}
	better := begun
	better.Best, better.BestEpoch = finetune.Vector{7, 8}, 2
	for name, s := range map[string]finetune.State{"no best epoch": begun, "a best epoch": better} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			want := of(4)
			want.Tuning = &s
			before := s
			if err := checkpoint.Save(dir, want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(s, before) {
				t.Errorf("saving changed the state to %+v", s)
			}
			if got, found, err := checkpoint.Load(dir, "spec", "key"); err != nil || !found || !reflect.DeepEqual(got, want) {
				t.Errorf("loaded %+v with %+v, %v, %v", got, got.Tuning, found, err)
			}
		})
	}
}
