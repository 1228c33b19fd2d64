package attempt

import (
	"context"
	"fmt"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/calibrate"
	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
)

// labelFolds is how many parts the photos are dealt to for the check of their labels. With more each head learns from more
// and finds hardly more wrong labels.
const labelFolds = 3

// doubtLabels looks for photos of all sides that probably lie in the wrong folder, by heads that have not learned from
// them. What keeps it from looking is no reason to end a training.
func (a *Attempt) doubtLabels(ctx context.Context, t *training) ([]runspec.Mislabelled, error) {
	var samples []fit.Sample
	for _, side := range []manifest.Side{manifest.Train, manifest.Validation, manifest.Test} {
		samples = append(samples, plainViews(t.samples(side))...)
	}
	ofImages := manifest.Folds(t.images, labelFolds, t.recipe.Seed)
	folds := make([]int, len(samples))
	for i, s := range samples {
		folds[i] = ofImages[t.wants[s.Row].Item]
	}
	logits, err := t.heads.OutOfFold(ctx, t.recipe, samples, folds)
	t.heads = nil
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		a.journal.Log("warning", fmt.Sprintf("The labels of the photos could not be checked: %v.", err))
		return nil, nil
	}
	temperature, _ := calibrate.Temperature(logits, classes(samples))
	return evaluate.Mislabelled(t.labels, t.answersFor(samples, calibrate.Probabilities(logits, len(t.labels), temperature))), nil
}

// answersFor puts photos and probabilities [n,classes] for them together.
func (t *training) answersFor(samples []fit.Sample, probabilities []float32) []evaluate.Answer {
	answers := make([]evaluate.Answer, len(samples))
	for i, s := range samples {
		item := t.items[t.wants[s.Row].Item]
		answers[i] = evaluate.Answer{Path: item.Path, SHA256: item.Hash.String(), Class: item.Class,
			Probabilities: probabilities[i*len(t.labels) : (i+1)*len(t.labels)]}
	}
	return answers
}
