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
	temperature, err := t.temperature(head)
	if err != nil {
		return err
	}
	t.head = head.Cooled(temperature)
	if t.answers, err = t.headAnswers(t.heldRows()); err != nil {
		return err
	}
	if len(t.samples(manifest.Test)) == 0 || a.stopped.Load() {
		return nil
	}
	head, err = training.Refit(ctx, c.Recipe, c.State)
	if err != nil {
		return fmt.Errorf("train the head: %w", err)
	}
	t.head = head.Cooled(temperature)
	a.journal.Log("info", fmt.Sprintf("The model that is kept has learned from the %d validation photos too, for %d epochs; the test photos measure it.",
		len(t.samples(manifest.Validation)), c.State.BestEpoch))
	// The answers for the validation photos stay those from before it learned from them.
	tested, err := t.headAnswers(t.heldRows()[:len(t.samples(manifest.Test))])
	copy(t.answers, tested)
	return err
}

// settleThreshold chooses from which probability on an answer counts, by the validation photos.
func (t *training) settleThreshold() {
	samples := t.samples(manifest.Validation)
	truth := make([]int, len(samples))
	for i, s := range samples {
		truth[i] = s.Class
	}
	t.threshold = calibrate.Threshold(t.answers[len(t.answers)-len(samples)*len(t.labels):], truth)
}

// temperature calibrates a head on the validation photos.
func (t *training) temperature(head fit.Head) (float64, error) {
	row := make([]float32, t.set.Dim())
	var logits []float32
	var truth []int
	for _, s := range t.samples(manifest.Validation) {
		if err := t.set.Read(s.Row, row); err != nil {
			return 1, err
		}
		logits, truth = append(logits, head.Logits(row)...), append(truth, s.Class)
	}
	temperature, _ := calibrate.Temperature(logits, truth)
	return temperature, nil
}

// headAnswers are the head's probabilities for rows of the features.
func (t *training) headAnswers(rows []int) ([]float32, error) {
	row := make([]float32, t.set.Dim())
	var logits []float32
	for _, at := range rows {
		if err := t.set.Read(at, row); err != nil {
			return nil, err
		}
		logits = append(logits, t.head.Logits(row)...)
	}
	return calibrate.Probabilities(logits, len(t.labels), 1), nil
}
