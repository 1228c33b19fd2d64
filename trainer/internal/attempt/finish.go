package attempt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/durable"
	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

const (
	checkImages = 100  // held-out images that every export is compared on
	tolerance   = 1e-4 // of probabilities
	lostPoint   = 0.01 // from which loss of accuracy on an export is warned of
)

func previousCheckpoints(dir string) string { return filepath.Join(dir, runspec.CheckpointDir) }

// held is the side that the model is judged by: test if there is one.
func (t *training) held() (manifest.Side, string, []fit.Sample) {
	if s := t.samples(manifest.Test); len(s) > 0 {
		return manifest.Test, "test", s
	}
	return manifest.Validation, "validation", t.samples(manifest.Validation)
}

// evaluateHead judges what is kept on images it has not learned from, and the labels of all.
func (a *Attempt) evaluateHead(ctx context.Context, t *training) error {
	side, name, samples := t.held()
	progress := a.phase(runspec.PhaseEvaluate, len(samples))
	answers := t.answersFor(samples, t.answers)
	report := evaluate.Of(name, t.labels, answers)
	report.Threshold = evaluate.Threshold(t.threshold, answers)
	var err error
	if report.Mislabelled, err = a.doubtLabels(ctx, t); err != nil {
		return err
	}
	if report.Compared, err = a.compare(t, report.Accuracy); err != nil {
		return err
	}
	progress(len(samples), len(samples))
	t.evaluation = report
	a.journal.Add(runspec.TypeEvaluation, report.Evaluation)
	if side == manifest.Test {
		a.result.TestAccuracy = &report.Accuracy
	}
	return a.keepReport(report)
}

// keep writes a file that is no model into the artifacts and records it.
func (a *Attempt) keep(name, format string, write func(io.Writer) error) error {
	hash := sha256.New()
	path := filepath.Join(a.path(runspec.ArtifactsDir), name)
	if err := durable.Write(path, func(w io.Writer) error { return write(io.MultiWriter(w, hash)) }); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	a.artifact(runspec.Artifact{Name: name, Format: format, Bytes: info.Size(), SHA256: hex.EncodeToString(hash.Sum(nil))})
	return nil
}

func (a *Attempt) artifact(r runspec.Artifact) {
	a.artifacts = append(a.artifacts, r)
	a.journal.Add(runspec.TypeArtifact, r)
}

// model is the base with the trained head.
func (t *training) model() (network.Model, error) {
	dropout := 0.0
	if t.recipe.Head == fit.Dense {
		dropout = t.recipe.Dropout
	}
	weights := maps.Clone(t.weights)
	maps.Copy(weights, t.tuned)
	m, err := headed(t.base, weights, t.head, dropout)
	m.Labels, m.Usage = t.labels, network.Usage{Crop: t.key.Fit == data.Crop, Threshold: t.threshold}
	return m, err
}

// headed is a base, whose weights are given, with a head.
func headed(base network.Network, weights network.Weights, head fit.Head, dropout float64) (network.Model, error) {
	net, err := base.Clipped()
	if err == nil {
		net, err = net.WithHead(len(head.Bias), float32(dropout))
	}
	if err != nil {
		return network.Model{}, fmt.Errorf("put the head on the base: %w", err)
	}
	weights = maps.Clone(weights)
	maps.Copy(weights, headWeights(head))
	if err := net.Validate(weights); err != nil {
		return network.Model{}, fmt.Errorf("put the head on the base: %w", err)
	}
	return network.Model{Network: net, Weights: weights}, nil
}

// headWeights are a head's arrays, and those that clip what it sees.
func headWeights(head fit.Head) network.Weights {
	w := network.ClipWeights(head.Mean, head.Deviation, fit.Reach)
	classes := len(head.Bias)
	w[network.PredictionsName+"/kernel"] = network.Tensor{Shape: []int{len(head.Kernel) / classes, classes}, Data: head.Kernel}
	w[network.PredictionsName+"/bias"] = network.Tensor{Shape: []int{classes}, Data: head.Bias}
	return w
}

// export writes the files that people take home and proves them.
func (a *Attempt) export(ctx context.Context, t *training) error {
	files := len(t.recipe.Exports) + 3
	progress := a.phase(runspec.PhaseExport, files)
	err := a.keep(runspec.SplitFile, "split", func(w io.Writer) error { return manifest.EncodeSplit(w, t.images, t.sides) })
	if err != nil {
		return err
	}
	progress(1, files)
	dir := a.path(runspec.ArtifactsDir)
	names, err := export.WriteLabels(dir, t.labels)
	if err != nil {
		return err
	}
	a.artifact(runspec.Artifact{Name: names.Name, Format: string(names.Format), Bytes: names.Bytes, SHA256: names.SHA256, Note: names.Note})
	progress(2, files)
	model, err := t.model()
	if err != nil {
		return err
	}
	size, err := t.size(model.Network)
	if err != nil {
		return err
	}
	start := time.Now()
	sample, classes, err := a.sample(t, model)
	if err != nil {
		return err
	}
	a.sampled(time.Since(start), size)
	for i, name := range t.recipe.Exports {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		start := time.Now()
		tf.Release() // the graph that the one before was checked with
		if err := a.exportOne(name, t, model, sample, classes); err != nil {
			return err
		}
		a.exported(name, time.Since(start), size)
		progress(i+3, files)
	}
	start = time.Now()
	tf.Release()
	if err := a.report(t, model); err != nil {
		return err
	}
	a.exported(runspec.FormatReport, time.Since(start), size)
	progress(files, files)
	return nil
}

func (a *Attempt) exportOne(name string, t *training, model network.Model, sample export.Sample, classes []int) error {
	format, err := export.ParseFormat(name)
	if err != nil {
		return fail(runspec.ExitBadSpec, "%v", err)
	}
	dir := a.path(runspec.ArtifactsDir)
	written, err := export.Write(dir, format, model, export.Options{Calibrate: a.calibration(t)})
	if err != nil {
		return err
	}
	tf.Release() // what writing it took
	check, err := export.Check(dir, written, sample)
	if err != nil {
		return err
	}
	if written.Path != written.Name { // unpacked only to be checked
		if err := os.RemoveAll(filepath.Join(dir, written.Path)); err != nil {
			return fmt.Errorf("tidy up after the check of %s: %w", written.Name, err)
		}
	}
	exported := accuracy(check.Probabilities, classes)
	if text := doubt(written, check, accuracy(sample.Probabilities, classes), exported); text != "" {
		a.journal.Log("warning", text)
	}
	agreement := runspec.Float(check.Top1)
	file := runspec.Artifact{Name: written.Name, Format: string(written.Format), Bytes: written.Bytes, SHA256: written.SHA256,
		Agreement: &agreement, Note: written.Note}
	if check.MsPerImage > 0 {
		ms := runspec.Float(check.MsPerImage)
		file.MsPerImage = &ms
	}
	// Of a part of the photos it would stand beside the evaluation's accuracy and differ from it.
	if _, _, held := t.held(); len(held) == check.Images {
		right := runspec.Float(exported)
		file.Accuracy = &right
	}
	a.artifact(file)
	return nil
}

// doubt is what to say of an export that is not as good as the trained model, or nothing. Accuracies are of 0…1.
func doubt(written export.Artifact, check export.Report, trained, exported float64) string {
	switch {
	case trained-exported > lostPoint+1e-9: // a point is a point, however it is rounded
		return fmt.Sprintf("%s is right on %.1f %% of %d held-out images where the trained model is on %.1f %%; %s.",
			written.Name, 100*exported, check.Images, 100*trained, instead(written.Format))
	case written.Format.Exact() && check.MaxDifference > tolerance:
		return fmt.Sprintf("%s answers up to %.1e differently from the trained model; prefer another format.", written.Name, check.MaxDifference)
	}
	return ""
}

// instead is what to do when a format lost accuracy.
func instead(f export.Format) string {
	switch f {
	case export.TFLiteInt8:
		return "take the format tflite_float16, which loses less, or add photos for the integers to be fitted to"
	case export.TFLiteFloat16:
		return "take the format tflite, which loses nothing"
	}
	return "prefer another format"
}

func accuracy(probabilities []float32, classes []int) float64 {
	width, right := len(probabilities)/max(1, len(classes)), 0
	for i, class := range classes {
		row := probabilities[i*width : (i+1)*width]
		if evaluate.Best(row) == class {
			right++
		}
	}
	return float64(right) / float64(max(1, len(classes)))
}

// sample prepares held-out images for the check of exports, with the trained model's own answers, and tells their classes.
func (a *Attempt) sample(t *training, model network.Model) (export.Sample, []int, error) {
	_, _, held := t.held()
	held = held[:min(len(held), checkImages)]
	items, classes := make([]data.Item, len(held)), make([]int, len(held))
	for i, h := range held {
		items[i] = t.items[t.wants[h.Row].Item]
		classes[i] = items[i].Class
	}
	s, err := a.sampleOf(items, model, t.key.Fit)
	return s, classes, err
}

func (a *Attempt) sampleOf(items []data.Item, model network.Model, fit data.Fit) (export.Sample, error) {
	renderer := data.Renderer{Size: model.Network.Size, Fit: fit}
	var huge sync.Mutex
	decoder, err := data.NewDecoder(&huge)
	if err != nil {
		return export.Sample{}, err
	}
	defer decoder.Close()
	s := export.Sample{Labels: model.Labels, Usage: model.Usage, Images: make([]float32, len(items)*renderer.Values())}
	for i, item := range items {
		file, err := a.render(s.Images[i*renderer.Values():(i+1)*renderer.Values()], decoder, &renderer, item)
		if err != nil {
			return s, fmt.Errorf("prepare the check of exports: %w", err)
		}
		s.Encoded = append(s.Encoded, file)
	}
	s.Probabilities, err = answers(model, s.Images)
	return s, err
}

// answers runs a model on prepared images [n,size,size,3].
func answers(model network.Model, images []float32) ([]float32, error) {
	frozen, err := graph.NewFrozen(model.Network, model.Weights, []string{network.ProbabilitiesName}, graph.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	defer frozen.Close()
	const batch = 8
	size := model.Network.Size
	each := size * size * 3
	var all []float32
	for len(images) > 0 {
		n := min(len(images), batch*each)
		tensor, err := tf.FromFloats([]int{n / each, size, size, 3}, images[:n])
		if err != nil {
			return nil, err
		}
		out, err := frozen.Run(tensor)
		if err != nil {
			return nil, err
		}
		part, err := tf.Floats(out[0], nil)
		if err != nil {
			return nil, err
		}
		all, images = append(all, part...), images[n:]
	}
	return all, nil
}
