package attempt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"

	"github.com/cultivar-ml/cultivar/shared/pack"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/classify"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
)

const predictedTop = 5 // answers for one image of a predict task

func (a *Attempt) openModel() (*classify.Classifier, error) {
	c, err := classify.Open(a.spec.Model, data.Fit(a.spec.Recipe.Preprocessing), runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, fail(runspec.ExitBadData, "the model cannot be loaded (%v); make it again", err)
	}
	return c, nil
}

// evaluateModel measures an exported model on a whole dataset.
func (a *Attempt) evaluateModel(ctx context.Context) error {
	a.begin(runspec.PhasePrepare, 0)
	d, notes, err := openDataset(a.spec.Dataset)
	if err != nil {
		return err
	}
	for _, note := range notes {
		a.journal.Log("info", note)
	}
	model, err := a.openModel()
	if err != nil {
		return err
	}
	defer model.Close()
	for i, item := range d.items {
		class := slices.Index(model.Labels, d.labels[item.Class])
		if class < 0 {
			return fail(runspec.ExitBadData, "the model knows no class %q; evaluate it on classes that it was trained on", d.labels[item.Class])
		}
		d.items[i].Class = class
	}
	progress := a.phase(runspec.PhaseEvaluate, len(d.items))
	var answers []evaluate.Answer
	err = model.Each(ctx, d.items, a.spec.Paths.Packs, func(answer classify.Answer) error {
		item := d.items[answer.Item]
		if answer.Fault != nil {
			a.problem(item, model.Labels[item.Class], answer.Fault)
		} else {
			answers = append(answers, evaluate.Answer{Path: item.Path, SHA256: item.Hash.String(), Class: item.Class, Probabilities: answer.Probabilities})
		}
		progress(answer.Item+1, len(d.items))
		return nil
	})
	if err != nil {
		return storeFailure(err)
	}
	if len(answers) == 0 {
		return fail(runspec.ExitNoImages, "none of the %d images could be read; see the list of problems", len(d.items))
	}
	report := evaluate.Of("all", model.Labels, answers)
	report.Threshold = evaluate.Threshold(model.Usage.Threshold, answers)
	a.journal.Add(runspec.TypeEvaluation, report.Evaluation)
	return a.keepReport(report)
}

func (a *Attempt) keepReport(report runspec.Report) error {
	content, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("write the evaluation: %w", err)
	}
	return a.keep(runspec.EvaluationFile, "evaluation", func(w io.Writer) error {
		_, err := w.Write(append(content, '\n'))
		return err
	})
}

// storeFailure makes damaged storage a failure that is not tried again.
func storeFailure(err error) error {
	var store *data.StoreError
	if errors.As(err, &store) {
		return fail(runspec.ExitBadData, "%s", store.Text)
	}
	return err
}

// predict answers for the images of a pack, in its order.
func (a *Attempt) predict(ctx context.Context) error {
	items, err := a.inputs()
	if err != nil {
		return err
	}
	model, err := a.openModel()
	if err != nil {
		return err
	}
	defer model.Close()
	progress := a.phase(runspec.PhaseEvaluate, len(items))
	return storeFailure(model.Each(ctx, items, "", func(answer classify.Answer) error {
		p := runspec.Prediction{Index: answer.Item, SHA256: items[answer.Item].Hash.String(), Top: []runspec.Score{}, Unsure: answer.Unsure}
		if answer.Fault != nil {
			p.Error = answer.Fault.Text
		}
		for _, class := range classify.Top(answer.Probabilities, predictedTop) {
			p.Top = append(p.Top, runspec.Score{Label: model.Labels[class], Probability: runspec.Float(answer.Probabilities[class])})
		}
		a.journal.Add(runspec.TypePrediction, p)
		progress(answer.Item+1, len(items))
		return nil
	}))
}

// inputs lists the images of the input pack.
func (a *Attempt) inputs() ([]data.Item, error) {
	f, err := os.Open(a.spec.Inputs)
	if err != nil {
		return nil, fail(runspec.ExitBadData, "the images cannot be opened (%v); send them again", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the images: %w", err)
	}
	index, err := pack.ReadIndex(f, info.Size())
	if err != nil {
		return nil, fail(runspec.ExitBadData, "the images cannot be read (%v); send them again", err)
	}
	items := make([]data.Item, len(index.Entries))
	for i, e := range index.Entries {
		hash, err := data.ParseHash(e.SHA256)
		if err != nil {
			return nil, fail(runspec.ExitBadData, "the images cannot be read (%v); send them again", err)
		}
		items[i] = data.Item{Path: fmt.Sprintf("image %d", i+1), Class: -1, Hash: hash, File: a.spec.Inputs, Offset: e.Offset, Length: e.Length}
	}
	if len(items) == 0 {
		return nil, fail(runspec.ExitNoImages, "there is no image to answer for")
	}
	return items, nil
}
