package attempt

import (
	"fmt"
	"maps"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// compare sets the trained model, which is right on that share of the held-out photos, beside its teacher and what it was
// pruned from. Without either there is nothing to compare.
func (a *Attempt) compare(t *training, accuracy runspec.Float) ([]runspec.Compared, error) {
	var others []runspec.Compared
	if t.teacher != nil {
		c, err := a.compareTeacher(t)
		if err != nil {
			return nil, err
		}
		others = append(others, c)
	}
	if t.whole != nil {
		c, err := t.compareWhole()
		if err != nil {
			return nil, err
		}
		others = append(others, c)
	}
	if len(others) == 0 {
		return nil, nil
	}
	model, err := t.model()
	if err != nil {
		return nil, err
	}
	own, err := measured(model)
	if err != nil {
		return nil, err
	}
	own.Role, own.Base, own.Accuracy = runspec.RoleTrained, t.recipe.Base, accuracy
	if last := others[len(others)-1]; last.Role == runspec.RoleWhole && float64(last.Accuracy-accuracy) > lostPoint+1e-9 {
		a.journal.Log("warning", fmt.Sprintf("The pruned model is right on %.1f %% of the held-out photos, where the whole base with a head alone is on %.1f %%; prune less, or fine-tune for more epochs.",
			100*float64(accuracy), 100*float64(last.Accuracy)))
	}
	return append(others, own), nil
}

func (a *Attempt) compareTeacher(t *training) (runspec.Compared, error) {
	right, asked, err := t.teacherRight()
	if err != nil {
		return runspec.Compared{}, err
	}
	c, err := measured(t.teacher.model)
	c.Role, c.Run, c.Base = runspec.RoleTeacher, a.spec.Teacher.Run, a.spec.Teacher.Recipe.Base
	c.Accuracy = runspec.Float(float64(right) / float64(max(1, asked)))
	if t.teacher.saw {
		c.Note = "trained on another split of the photos, so it may know some of these"
	}
	return c, err
}

// compareWhole measures the network before it was pruned, with the head alone.
func (t *training) compareWhole() (runspec.Compared, error) {
	_, _, held := t.held()
	answers, err := t.headAnswers(t.whole.head, held)
	if err != nil {
		return runspec.Compared{}, err
	}
	net, err := t.whole.base.WithHead(len(t.labels), 0)
	if err != nil {
		return runspec.Compared{}, err
	}
	weights := maps.Clone(t.whole.weights)
	setHead(weights, t.whole.head)
	c, err := measured(network.Model{Network: net, Weights: weights, Labels: t.labels})
	c.Role, c.Base, c.Accuracy = runspec.RoleWhole, t.recipe.Base, runspec.Float(accuracy(answers, classes(held)))
	c.Note = "with a head alone, not fine-tuned"
	return c, err
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

// measured is what a model with its head costs.
func measured(m network.Model) (runspec.Compared, error) {
	params, err := m.Network.Params()
	if err != nil {
		return runspec.Compared{}, fmt.Errorf("compare models: %w", err)
	}
	macs, err := m.Network.MACs()
	if err != nil {
		return runspec.Compared{}, fmt.Errorf("compare models: %w", err)
	}
	ms, err := export.Speed(m)
	if err != nil {
		return runspec.Compared{}, fmt.Errorf("compare models: %w", err)
	}
	const float = 4 // bytes
	return runspec.Compared{Params: int64(params), Bytes: float * int64(params), MACs: int64(macs), MsPerImage: runspec.Float(ms)}, nil
}
