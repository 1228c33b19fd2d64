package fit_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

// clouds are features of three classes that overlap a little; the first class has share times as many images.
func clouds(n int, share int) fit.Data {
	const dim = 20
	r := rand.New(rand.NewPCG(1, 2))
	var rows [][]float32
	d := fit.Data{Dim: dim, Classes: 3, Read: func(row int, dst []float32) error {
		copy(dst, rows[row])
		return nil
	}}
	add := func(to *[]fit.Sample, class int) {
		row := make([]float32, dim)
		for j := range row {
			row[j] = 3 + float32(r.NormFloat64())*0.7
		}
		row[class] += 1.5
		*to = append(*to, fit.Sample{Row: len(rows), Class: class, Key: r.Uint64()})
		rows = append(rows, row)
	}
	for i := range n {
		for class := range 3 {
			if class == 0 || i%share == 0 {
				add(&d.Train, class)
			}
			if i%4 == 0 {
				add(&d.Val, class)
			}
		}
	}
	return d
}

func recipe(head string) runspec.Recipe {
	r := runspec.Default(runspec.Quick)
	r.Head, r.Epochs, r.Patience = head, 12, 12
	return r
}

type story struct {
	epochs []runspec.Epoch
	states []fit.State
	warned []string
}

func training(t *testing.T, d fit.Data) (*fit.Training, *story) {
	t.Helper()
	tr, err := fit.New(d)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{}
	tr.Warn = func(text string) { s.warned = append(s.warned, text) }
	tr.Epoch = func(e runspec.Epoch, state fit.State) (bool, error) {
		e.Seconds, e.ImagesPerSecond = 0, 0
		s.epochs, s.states = append(s.epochs, e), append(s.states, state)
		return false, nil
	}
	return tr, s
}

func resolve(t *testing.T, tr *fit.Training, r runspec.Recipe) runspec.Recipe {
	t.Helper()
	r, err := tr.Resolve(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Validate(); err != nil {
		t.Errorf("the resolved recipe is not valid: %v", err)
	}
	if r.BatchSize == 0 || r.LearningRate == 0 || r.L2 == 0 || r.ClassWeights == "auto" {
		t.Errorf("automatic values are left in %+v", r)
	}
	return r
}

func TestLearns(t *testing.T) {
	for _, head := range []string{fit.Logistic, fit.Dense} {
		t.Run(head, func(t *testing.T) {
			d := clouds(200, 1)
			tr, story := training(t, d)
			r := recipe(head)
			r.Epochs = 60
			r = resolve(t, tr, r)
			state, err := tr.Run(t.Context(), r, tr.Start())
			if err != nil {
				t.Fatal(err)
			}
			first, last := story.epochs[0], story.epochs[len(story.epochs)-1]
			if last.TrainLoss >= first.TrainLoss || last.ValAccuracy < 0.85 {
				t.Errorf("from %+v to %+v", first, last)
			}
			// The head that takes plain features gives what the epoch measured.
			h, right := tr.Head(state), 0
			row := make([]float32, d.Dim)
			for _, s := range d.Val {
				if err := d.Read(s.Row, row); err != nil {
					t.Fatal(err)
				}
				p := h.Logits(row)
				if best := slices.Index(p, slices.Max(p)); best == s.Class {
					right++
				}
			}
			if got := float64(right) / float64(len(d.Val)); math.Abs(got-state.BestAccuracy) > 1e-9 {
				t.Errorf("the finished head is right on %v, the best epoch was on %v", got, state.BestAccuracy)
			}
		})
	}
}

// What was interrupted and stored goes on to the very same weights, on any number of cores.
func TestResumeIsExact(t *testing.T) {
	for name, c := range map[string]struct {
		head string
		data fit.Data
	}{
		"logistic":                 {fit.Logistic, clouds(100, 1)},
		"dense":                    {fit.Dense, clouds(100, 1)},
		"logistic, several depths": {fit.Logistic, depths()},
		"dense, several depths":    {fit.Dense, depths()},
	} {
		t.Run(name, func(t *testing.T) {
			d := c.data
			whole, story := training(t, d)
			r := resolve(t, whole, recipe(c.head))
			want, err := whole.Run(t.Context(), r, whole.Start())
			if err != nil {
				t.Fatal(err)
			}
			if want.Epoch != r.Epochs {
				t.Fatalf("stopped after %d epochs", want.Epoch)
			}
			var stored bytes.Buffer
			if err := gob.NewEncoder(&stored).Encode(story.states[4]); err != nil {
				t.Fatal(err)
			}
			var state fit.State
			if err := gob.NewDecoder(&stored).Decode(&state); err != nil {
				t.Fatal(err)
			}
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			rest, more := training(t, d)
			got, err := rest.Run(t.Context(), r, state)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Error("the resumed training ends with other weights")
			}
			if !reflect.DeepEqual(more.epochs, story.epochs[5:]) {
				t.Errorf("the resumed training tells\n%+v\ninstead of\n%+v", more.epochs, story.epochs[5:])
			}
		})
	}
}

func TestSeedsDiffer(t *testing.T) {
	d := clouds(50, 1)
	var heads []fit.Head
	for _, seed := range []int64{1, 2} {
		tr, _ := training(t, d)
		r := recipe(fit.Logistic)
		r.Seed, r.L2 = seed, 0.01
		state, err := tr.Run(t.Context(), resolve(t, tr, r), tr.Start())
		if err != nil {
			t.Fatal(err)
		}
		heads = append(heads, tr.Head(state))
	}
	if slices.Equal(heads[0].Kernel, heads[1].Kernel) {
		t.Error("two seeds give the same weights")
	}
}

func TestStopsEarly(t *testing.T) {
	tr, story := training(t, clouds(100, 1))
	r := recipe(fit.Logistic)
	r.Epochs, r.Patience, r.L2 = 500, 3, 1e-5
	state, err := tr.Run(t.Context(), resolve(t, tr, r), tr.Start())
	if err != nil {
		t.Fatal(err)
	}
	if state.Epoch >= 500 || state.Epoch != state.BestEpoch+3 {
		t.Errorf("ended after %d epochs, the best was %d", state.Epoch, state.BestEpoch)
	}
	for _, e := range story.epochs {
		if float64(e.ValLoss) < state.BestLoss {
			t.Errorf("epoch %d was better than the best", e.Epoch)
		}
	}
}

func TestBacksOff(t *testing.T) {
	tr, story := training(t, clouds(50, 1))
	r := recipe(fit.Logistic)
	r.LearningRate, r.L2, r.Epochs = 10, 10, 3
	r = resolve(t, tr, r)
	r.LearningRate = 3e3 // far outside what Validate allows, to be sure
	state, err := tr.Run(t.Context(), r, tr.Start())
	if len(story.warned) == 0 {
		t.Fatalf("no word about the loss; state after %d epochs, error %v", state.Epoch, err)
	}
	if err == nil && state.RateScale >= 1 {
		t.Errorf("the learning rate stays at %v of the given one", state.RateScale)
	}
}

func TestClassWeights(t *testing.T) {
	for _, c := range []struct {
		share       int
		given, want string
	}{{1, "auto", "none"}, {4, "auto", "balanced"}, {4, "none", "none"}, {1, "balanced", "balanced"}} {
		tr, _ := training(t, clouds(80, c.share))
		r := recipe(fit.Logistic)
		r.ClassWeights = c.given
		if got := resolve(t, tr, r).ClassWeights; got != c.want {
			t.Errorf("%s with a class %d times as large: %s instead of %s", c.given, c.share, got, c.want)
		}
	}
}

// Balanced weights find more of the rare classes.
func TestBalancedHelpsRareClasses(t *testing.T) {
	recall := map[string]float64{}
	for _, weights := range []string{"none", "balanced"} {
		d := clouds(300, 30)
		tr, _ := training(t, d)
		r := recipe(fit.Logistic)
		r.ClassWeights, r.L2 = weights, 0.02
		state, err := tr.Run(t.Context(), resolve(t, tr, r), tr.Start())
		if err != nil {
			t.Fatal(err)
		}
		h := tr.Head(state)
		row, rare, found := make([]float32, d.Dim), 0.0, 0.0
		for _, s := range d.Val {
			if s.Class == 0 {
				continue
			}
			if err := d.Read(s.Row, row); err != nil {
				t.Fatal(err)
			}
			rare++
			if p := h.Logits(row); slices.Index(p, slices.Max(p)) == s.Class {
				found++
			}
		}
		recall[weights] = found / rare
	}
	if recall["balanced"] < recall["none"]+0.1 {
		t.Errorf("recall of the rare classes: %v", recall)
	}
}

// The learning rate is shown to people, who want no 0.0017000000000000001.
func TestLearningRateIsShort(t *testing.T) {
	for i := range 60 {
		spread := 0.2 * float32(i+1)
		d := clouds(60, 1)
		plain := d.Read
		d.Read = func(row int, dst []float32) error {
			err := plain(row, dst)
			dst[0] *= spread
			return err
		}
		tr, _ := training(t, d)
		r := recipe(fit.Logistic)
		r.L2 = 0.01
		rate := strconv.FormatFloat(resolve(t, tr, r).LearningRate, 'g', -1, 64)
		if digits := strings.Trim(strings.ReplaceAll(rate, ".", ""), "0"); len(digits) > 2 {
			t.Errorf("the learning rate is %s", rate)
		}
	}
}

func TestResolveShrinksTheBatch(t *testing.T) {
	tr, _ := training(t, clouds(5, 1))
	r := recipe(fit.Logistic)
	r.BatchSize = 4096
	if got := resolve(t, tr, r).BatchSize; got != 15 {
		t.Errorf("batch of %d for 15 images", got)
	}
}

func TestInterrupted(t *testing.T) {
	tr, _ := training(t, clouds(50, 1))
	r := resolve(t, tr, recipe(fit.Logistic))
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("told to leave")
	epochs := 0
	tr.Epoch = func(runspec.Epoch, fit.State) (bool, error) {
		if epochs++; epochs == 2 {
			cancel(reason)
		}
		return false, nil
	}
	if _, err := tr.Run(ctx, r, tr.Start()); !errors.Is(err, reason) || epochs != 2 {
		t.Errorf("error %v after %d epochs", err, epochs)
	}
}

func TestHeadsBesideEachOther(t *testing.T) {
	one := fit.Head{Kernel: []float32{1, 2, 3, 4}, Bias: []float32{0.5, -0.5}} // two features
	other := fit.Head{Kernel: []float32{10, 20}, Bias: []float32{1, 2}}        // one feature
	both := one.Beside(other)
	want := one.Logits([]float32{1, 2})
	for c, x := range other.Logits([]float32{3}) {
		want[c] += x
	}
	if got := both.Logits([]float32{1, 2, 3}); !slices.Equal(got, want) {
		t.Errorf("together they say %v, their sum is %v", got, want)
	}
	if one.Bias[0] != 0.5 {
		t.Error("the first head has changed")
	}
}
