package finetune_test

import (
	"errors"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/finetune"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

// shifted is photos whose training labels are all wrong, with a teacher who knows them right if it answers.
func shifted(weight float64, answers bool) *set {
	s := photos(150, 2)
	right := map[int]int{}
	for i := range s.data.Train {
		one := &s.data.Train[i]
		right[one.Row] = one.Class
		one.Class = (one.Class + 1) % 3
	}
	s.data.Teacher = &fit.Teacher{Temperature: 4, Weight: weight, Logits: func(row int, dst []float32) (bool, error) {
		clear(dst)
		dst[right[row]] = 8
		return answers, nil
	}}
	return s
}

func TestTeacherIsFollowed(t *testing.T) {
	for name, change := range map[string]func(*finetune.Settings){
		"plain": func(*finetune.Settings) {},
		"mixup": func(s *finetune.Settings) { s.Mixup = 0.2 },
	} {
		t.Run(name, func(t *testing.T) {
			o := settings()
			o.Epochs = 24
			change(&o)
			s := shifted(1, true)
			tr := open(t, s, o)
			last := run(t, tr, start(t, tr))
			if last.BestAccuracy < 0.85 {
				t.Errorf("accuracy %.2f of what the teacher knows", last.BestAccuracy)
			}
			agrees(t, tr, s, last)
			plain := shifted(1, true)
			plain.data.Teacher = nil
			tr = open(t, plain, o)
			if last = run(t, tr, start(t, tr)); last.BestAccuracy > 0.6 {
				t.Errorf("accuracy %.2f without a teacher", last.BestAccuracy)
			}
		})
	}
}

// Who is silent or counts nothing changes nothing.
func TestIdleTeacher(t *testing.T) {
	o := settings()
	o.Epochs = 2
	plain := shifted(1, true)
	plain.data.Teacher = nil
	tr := open(t, plain, o)
	want := run(t, tr, start(t, tr))
	for name, s := range map[string]*set{"silent": shifted(1, false), "of no weight": shifted(0, true)} {
		tr := open(t, s, o)
		if got := run(t, tr, start(t, tr)); !same(got, want) {
			t.Errorf("%s: ends elsewhere", name)
		}
	}
}

func TestUnreadableTeacher(t *testing.T) {
	s := photos(40, 1)
	broken := errors.New("unreadable")
	s.data.Teacher = &fit.Teacher{Temperature: 4, Weight: 1, Logits: func(int, []float32) (bool, error) { return false, broken }}
	tr := open(t, s, settings())
	if _, err := tr.Run(t.Context(), start(t, tr)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
