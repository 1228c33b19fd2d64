package attempt

import (
	"context"
	"fmt"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/calibrate"
	"github.com/cultivar-ml/cultivar/trainer/internal/checkpoint"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

// keepHead settles which head is kept. Where test photos measure it, it learns from the validation photos as well; where
// there are none, the validation photos are what measures it.
func (a *Attempt) keepHead(ctx context.Context, t *training, training *fit.Training, c checkpoint.Checkpoint) error {
	a.result.BestEpoch, a.result.ValAccuracy = c.State.BestEpoch, runspec.Float(c.State.BestAccuracy)
	a.result.Recipe = &t.recipe
	head := training.Head(c.State)
	temperature, _, err := t.calibrate(head)
	if err != nil {
		return err
	}
	t.head = head.Cooled(temperature)
	val := t.samples(manifest.Validation)
	before, err := t.headAnswers(t.head, val)
	if err != nil {
		return err
	}
	t.threshold = calibrate.Threshold(before, classes(val))
	_, _, held := t.held()
	if len(t.samples(manifest.Test)) > 0 && !a.stopped.Load() {
		if err := a.keepUnrefit(nil, t.head); err != nil {
			return err
		}
		if head, err = training.Refit(ctx, c.Recipe, c.State); err != nil {
			return fmt.Errorf("train the head: %w", err)
		}
		t.head = head.Cooled(temperature)
		a.journal.Log("info", fmt.Sprintf("The model that is kept has learned from the %d validation photos too, for %d epochs; the test photos measure it.",
			len(val), c.State.BestEpoch))
	}
	t.answers, err = t.headAnswers(t.head, held)
	return err
}

// calibrate finds a head's temperature on the validation photos, and its loss there at it.
func (t *training) calibrate(head fit.Head) (temperature, loss float64, err error) {
	val := t.samples(manifest.Validation)
	logits, err := t.headLogits(head, span{0, t.set.Dim()}, val)
	if err != nil {
		return 1, 0, err
	}
	temperature, loss = calibrate.Temperature(logits, classes(val))
	return temperature, loss, nil
}

// headAnswers are a head's probabilities for samples.
func (t *training) headAnswers(head fit.Head, samples []fit.Sample) ([]float32, error) {
	logits, err := t.headLogits(head, span{0, t.set.Dim()}, samples)
	if err != nil {
		return nil, err
	}
	return calibrate.Probabilities(logits, len(t.labels), 1), nil
}
