package finetune

import (
	graft "github.com/wamuir/graft/tensorflow"
	"github.com/wamuir/graft/tensorflow/op"

	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// withTeacher blends losses with those of a teacher's answers, as fit.Teacher says. What is reported stays the loss of the
// classes, which can be compared with that of validation.
func (s *shard) withTeacher(scope *op.Scope, l *layout, each tf.Output) tf.Output {
	s.soft = op.Placeholder(scope.SubScope("soft"), graft.Float, op.PlaceholderShape(graft.MakeShape(-1, int64(l.classes))))
	s.taught = op.Placeholder(scope.SubScope("taught"), graft.Float, op.PlaceholderShape(graft.MakeShape(-1)))
	softened := op.Mul(scope.SubScope("softened"), s.logits, op.Const(scope.SubScope("cold"), float32(1/l.softness)))
	apart, _ := op.SoftmaxCrossEntropyWithLogits(scope.SubScope("apart"), softened, s.soft)
	scaled := op.Mul(scope.SubScope("scaled"), apart, op.Const(scope.SubScope("square"), float32(l.softness*l.softness)))
	return op.AddV2(scope, each, op.Mul(scope.SubScope("part"), s.taught, op.Sub(scope.SubScope("more"), scaled, each)))
}

func (s *shard) feedTeacher(feeds map[tf.Output]*tf.Tensor, l *layout, p part) (err error) {
	if l.softness == 0 {
		return nil
	}
	if feeds[s.soft], err = tf.FromFloats([]int{len(p.taught), l.classes}, p.soft); err != nil {
		return err
	}
	feeds[s.taught], err = tf.FromFloats([]int{len(p.taught)}, p.taught)
	return err
}

// teach adds the teacher's answers for a shard's samples to its part, mixed as the samples are. Who has none, or is mixed
// with one that has none, learns from the classes alone.
func (t *Training) teach(p *part, samples []fit.Sample) error {
	teacher, classes := t.data.Teacher, t.layout.classes
	if teacher == nil {
		return nil
	}
	own, answered := make([]float32, t.size*classes), make([]bool, t.size)
	for j, one := range samples {
		var err error
		if answered[j], err = teacher.Soft(one.Row, own[j*classes:(j+1)*classes]); err != nil {
			return err
		}
	}
	p.soft, p.taught = make([]float32, t.size*classes), make([]float32, t.size)
	for j := range samples {
		partner, share := int(p.partners[j]), p.shares[j]
		if !answered[j] || !answered[partner] {
			continue
		}
		p.taught[j] = float32(teacher.Weight)
		for c := range classes {
			p.soft[j*classes+c] = share*own[j*classes+c] + (1-share)*own[partner*classes+c]
		}
	}
	return nil
}
