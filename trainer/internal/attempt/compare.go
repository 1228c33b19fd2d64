package attempt

import (
	"fmt"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// other is a model to compare with, and what is known of it.
type other struct {
	model network.Model
	about runspec.Compared
}

// compare sets the trained model, which is right on that share of the held-out photos, beside its teacher and what it was
// pruned from. Without either there is nothing to compare.
func (a *Attempt) compare(t *training, accuracy runspec.Float) ([]runspec.Compared, error) {
	var all []other
	if t.teacher != nil {
		o, err := a.teacherOf(t)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	if t.whole != nil {
		o, err := t.unpruned()
		if err != nil {
			return nil, err
		}
		if lost := float64(o.about.Accuracy - accuracy); lost > lostPoint+1e-9 {
			a.journal.Log("warning", fmt.Sprintf("The pruned model is right on %.1f %% of the held-out photos, where the whole base with a head alone is on %.1f %%; prune less, or fine-tune for more epochs.",
				100*float64(accuracy), 100*float64(o.about.Accuracy)))
		}
		all = append(all, o)
	}
	if len(all) == 0 {
		return nil, nil
	}
	model, err := t.model()
	if err != nil {
		return nil, err
	}
	return measured(append(all, other{model, runspec.Compared{Role: runspec.RoleTrained, Base: t.recipe.Base, Accuracy: accuracy}}))
}

func (a *Attempt) teacherOf(t *training) (other, error) {
	right, asked, err := t.teacherRight()
	about := runspec.Compared{Role: runspec.RoleTeacher, Run: a.spec.Teacher.Run, Base: a.spec.Teacher.Recipe.Base,
		Accuracy: runspec.Float(float64(right) / float64(max(1, asked)))}
	if t.teacher.saw {
		about.Note = "trained on another split of the photos, so it may know some of these"
	}
	return other{t.teacher.model, about}, err
}

// unpruned is the network before channels were taken out, with the head alone.
func (t *training) unpruned() (other, error) {
	_, _, held := t.held()
	answers, err := t.headAnswers(t.whole.head, held)
	if err != nil {
		return other{}, err
	}
	m, err := headed(t.whole.base, t.whole.weights, t.whole.head, 0)
	return other{m, runspec.Compared{Role: runspec.RoleWhole,
		Base: t.recipe.Base, Accuracy: runspec.Float(accuracy(answers, classes(held))), Note: "with a head alone, not fine-tuned"}}, err
}

// teacherRight counts the held-out photos that the teacher answered for, and those that it is right on.
func (t *training) teacherRight() (right, asked int, err error) {
	_, _, held := t.held()
	logits := make([]float32, len(t.labels))
	for _, s := range held {
		ok, err := t.teacher.logits(s.Row, logits)
		if err != nil {
			return 0, 0, err
		}
		if !ok {
			continue
		}
		asked++
		if evaluate.Best(logits) == s.Class {
			right++
		}
	}
	return right, asked, nil
}

// measured adds what the models cost.
func measured(all []other) ([]runspec.Compared, error) {
	const float = 4 // bytes
	var models []network.Model
	for _, o := range all {
		models = append(models, o.model)
	}
	ms, err := export.Speeds(models...)
	if err != nil {
		return nil, fmt.Errorf("compare models: %w", err)
	}
	out := make([]runspec.Compared, len(all))
	for i, o := range all {
		params, err := o.model.Network.Params()
		if err != nil {
			return nil, fmt.Errorf("compare models: %w", err)
		}
		macs, err := o.model.Network.MACs()
		if err != nil {
			return nil, fmt.Errorf("compare models: %w", err)
		}
		out[i] = o.about
		out[i].Params, out[i].Bytes, out[i].MACs, out[i].MsPerImage = int64(params), float*int64(params), int64(macs), runspec.Float(ms[i])
	}
	return out, nil
}
