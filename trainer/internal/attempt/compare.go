package attempt

import (
	"fmt"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// compare sets the trained model, which is right on that share of the held-out photos, beside its teacher. Without one
// there is nothing to compare.
func (a *Attempt) compare(t *training, accuracy runspec.Float) ([]runspec.Compared, error) {
	if t.teacher == nil {
		return nil, nil
	}
	right, asked, err := t.teacherRight()
	if err != nil {
		return nil, err
	}
	teacher, err := measured(t.teacher.model)
	if err != nil {
		return nil, err
	}
	teacher.Role, teacher.Run, teacher.Base = runspec.RoleTeacher, a.spec.Teacher.Run, a.spec.Teacher.Recipe.Base
	teacher.Accuracy = runspec.Float(float64(right) / float64(max(1, asked)))
	if t.teacher.saw {
		teacher.Note = "trained on another split of the photos: it may know some of these"
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
	return []runspec.Compared{teacher, own}, nil
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
