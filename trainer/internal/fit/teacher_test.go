package fit_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

// taught adds a teacher that says of each row what says of it.
func taught(d fit.Data, weight float64, says func(row int, dst []float32) bool) fit.Data {
	d.Teacher = &fit.Teacher{Temperature: 4, Weight: weight, Logits: func(row int, dst []float32) (bool, error) {
		return says(row, dst), nil
	}}
	return d
}

// fitted is the head that a training ends with.
func fitted(t *testing.T, d fit.Data) fit.Head {
	t.Helper()
	tr, _ := training(t, d)
	r := recipe(fit.Logistic)
	r.Epochs, r.Patience, r.L2, r.ClassWeights = 80, 80, 1e-5, "none"
	r = resolve(t, tr, r)
	state, err := tr.Run(t.Context(), r, tr.Start())
	if err != nil {
		t.Fatal(err)
	}
	state.Best = state.Params // the best one was chosen by labels
	return tr.Head(state)
}

func logits(t *testing.T, d fit.Data, h fit.Head, row int) []float32 {
	t.Helper()
	x := make([]float32, d.Dim)
	if err := d.Read(row, x); err != nil {
		t.Fatal(err)
	}
	return h.Logits(x)
}

// TestTeacherIsFollowed trains on labels that are all shifted by one class; only the teacher, itself a head of the right
// ones, knows better.
func TestTeacherIsFollowed(t *testing.T) {
	d := clouds(150, 1)
	right := fitted(t, d)
	wrong := d
	wrong.Train = slices.Clone(d.Train)
	for i := range wrong.Train {
		wrong.Train[i].Class = (wrong.Train[i].Class + 1) % d.Classes
	}
	all := taught(wrong, 1, func(row int, dst []float32) bool { copy(dst, logits(t, d, right, row)); return true })
	head := fitted(t, all)
	same, apart := 0, 0.0
	for _, s := range d.Train {
		want, got := logits(t, d, right, s.Row), logits(t, d, head, s.Row)
		if slices.Index(want, slices.Max(want)) == slices.Index(got, slices.Max(got)) {
			same++
		}
		for c := range want {
			apart = math.Max(apart, math.Abs(float64((want[c]-want[0])-(got[c]-got[0]))))
		}
	}
	if same < len(d.Train)*99/100 || apart > 1 {
		t.Errorf("the same class of %d in %d rows, logits up to %.2f apart", same, len(d.Train), apart)
	}
	none := taught(wrong, 1, func(int, []float32) bool { return false })
	if a, b := fitted(t, none), fitted(t, wrong); !reflect.DeepEqual(a, b) {
		t.Error("a teacher that says nothing changes the head")
	}
	light := taught(wrong, 0, func(_ int, dst []float32) bool { dst[0] = 9; return true })
	if a, b := fitted(t, light), fitted(t, wrong); !reflect.DeepEqual(a, b) {
		t.Error("a teacher of no weight changes the head")
	}
}

// TestTeacherGradient compares the head's optimum with the loss as it is written: with one constant feature per class
// pattern the best logits are where class and teacher balance.
func TestTeacherGradient(t *testing.T) {
	teacher := fit.Teacher{Temperature: 2, Weight: 0.3, Logits: func(_ int, dst []float32) (bool, error) {
		copy(dst, []float32{1, -1})
		return true, nil
	}}
	// All rows are alike and of class 0: only the bias is learned.
	d := fit.Data{Dim: 1, Classes: 2, Teacher: &teacher, Read: func(int, []float32) error { return nil }}
	for i := range 64 {
		d.Train = append(d.Train, fit.Sample{Row: i, Key: uint64(i)})
	}
	d.Val = d.Train
	h := fitted(t, d)
	z := float64(h.Bias[0] - h.Bias[1])
	loss := func(z float64) float64 {
		ce := func(p, q float64) float64 { return -p*math.Log(q) - (1-p)*math.Log(1-q) }
		sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
		return 0.7*ce(1, sigmoid(z)) + 0.3*4*ce(sigmoid(2.0/2), sigmoid(z/2))
	}
	if best := loss(z); best > loss(z-0.3) || best > loss(z+0.3) {
		t.Errorf("logits %.2f apart: loss %.5f, %.5f below and %.5f above", z, best, loss(z-0.3), loss(z+0.3))
	}
}

func TestSoft(t *testing.T) {
	teacher := fit.Teacher{Temperature: 4, Logits: func(row int, dst []float32) (bool, error) {
		if row > 0 {
			return false, errors.New("unreadable")
		}
		copy(dst, []float32{800, 796})
		return true, nil
	}}
	dst := make([]float32, 2)
	ok, err := teacher.Soft(0, dst)
	if want := float32(1 / (1 + math.Exp(-1))); !ok || err != nil || math.Abs(float64(dst[0]-want)) > 1e-6 || math.Abs(float64(dst[0]+dst[1]-1)) > 1e-6 {
		t.Errorf("%v %v: %v, want %v first", ok, err, dst, want)
	}
	d := clouds(30, 1)
	d.Teacher = &teacher
	tr, _ := training(t, d)
	if _, err := tr.Resolve(t.Context(), recipe(fit.Logistic)); err == nil || !strings.Contains(err.Error(), "unreadable") {
		t.Errorf("what the teacher cannot read: %v", err)
	}
}
