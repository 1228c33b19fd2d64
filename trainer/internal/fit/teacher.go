package fit

import "math"

// Teacher is a model whose answers a training learns from as well (distillation: Hinton, Vinyals and Dean 2015,
// arXiv:1503.02531). The loss of a sample is
//
//	(1−Weight)·CE(class, softmax(z)) + Weight·Temperature²·CE(softmax(t/Temperature), softmax(z/Temperature))
//
// of its logits z and the teacher's t. The square keeps both gradients of one size whatever the temperature.
type Teacher struct {
	Temperature float64 // at least 1
	Weight      float64 // 0…1
	// Logits fills dst, one a class, with the teacher's logits for a row as Data.Read counts them; ok tells whether there
	// are any. It may be called from several goroutines.
	Logits func(row int, dst []float32) (ok bool, err error)
}

// Soft fills dst, one a class, with the probabilities of the teacher's softened answer for a row, and tells whether there
// is one.
func (t *Teacher) Soft(row int, dst []float32) (ok bool, err error) {
	if ok, err = t.Logits(row, dst); !ok || err != nil {
		return false, err
	}
	soften(dst, dst, t.Temperature)
	return true, nil
}

// pull is the gradient of the loss with respect to a logit, where one is that of the class' loss, and answer and soft are
// the softened probabilities of that logit and of the teacher's.
func (t *Teacher) pull(one float64, answer, soft float32) float64 {
	return (1-t.Weight)*one + t.Weight*t.Temperature*(float64(answer)-float64(soft))
}

// soften makes dst the softmax of z divided by temperature; both may be one.
func soften(dst, z []float32, temperature float64) {
	highest := z[0]
	for _, v := range z {
		highest = max(highest, v)
	}
	var sum float64
	for _, v := range z {
		sum += math.Exp(float64(v-highest) / temperature)
	}
	for c, v := range z {
		dst[c] = float32(math.Exp(float64(v-highest)/temperature) / sum)
	}
}
