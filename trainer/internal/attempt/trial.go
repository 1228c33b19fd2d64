package attempt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/finetune"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/plan"
	"github.com/cultivar-ml/cultivar/trainer/internal/rates"
)

// trial measures how fast this machine does the parts of a training, each in a second or few, by doing them on photos and
// numbers that are made up. Nothing of it is kept but the rates.
type trial struct {
	a      *Attempt
	dir    string
	photos []data.Item
}

const (
	trialClasses = 10
	trialViews   = 4
	trialWidth   = 640
	trialHeight  = 480
	// trialMistakes is how many photos a report shows of a model that errs now and then.
	trialMistakes = 20
)

func (x *trial) close() { os.RemoveAll(x.dir) }

// measure notes in book the rates of the parts.
func (x *trial) measure(ctx context.Context, t *training, book *rates.Book, parts []plan.Part) error {
	for _, part := range parts {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := x.part(ctx, t, book.Try, part); err != nil {
			return fmt.Errorf("measure this machine, %s: %w", part, err)
		}
	}
	return nil
}

func (x *trial) part(ctx context.Context, t *training, note plan.Note, part plan.Part) error {
	switch part.Kind {
	case plan.Beginning:
		plan.LearnBeginning(note, time.Since(x.a.started).Seconds())
	case plan.Reading:
		return x.read(ctx, t, note, part.Of)
	case plan.Head:
		return x.head(ctx, t, note)
	case plan.Tuning:
		return x.tune(ctx, t, note)
	case plan.Checking:
		_, _, err := x.check(t, note)
		return err
	case plan.File:
		return x.file(t, note, part.Of)
	}
	return nil
}

// random is the same in every trial.
func random() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// items are photos of soft shapes with the grain of a camera, one beside the other in a file.
func (x *trial) items() ([]data.Item, error) {
	if x.photos != nil {
		return x.photos, nil
	}
	path := filepath.Join(x.dir, "photos")
	r := random()
	var all bytes.Buffer
	var items []data.Item
	for range max(export.CalibrationPhotos/8, 16*runtime.GOMAXPROCS(0)) {
		from := all.Len()
		if err := jpeg.Encode(&all, scene(r), &jpeg.Options{Quality: 90}); err != nil {
			return nil, err
		}
		file := all.Bytes()[from:]
		items = append(items, data.Item{Path: "made up", File: path, Hash: sha256.Sum256(file), Offset: int64(from), Length: int64(len(file))})
	}
	if err := os.WriteFile(path, all.Bytes(), 0o644); err != nil {
		return nil, err
	}
	x.photos = items
	return items, nil
}

// scene draws waves of light in a few directions, with grain.
func scene(r *rand.Rand) image.Image {
	m := image.NewRGBA(image.Rect(0, 0, trialWidth, trialHeight))
	slope := [3][2]float64{}
	for c := range slope {
		slope[c] = [2]float64{r.Float64() * 0.8, r.Float64() * 0.8}
	}
	for y := range trialHeight {
		for x := range trialWidth {
			var rgb [3]uint8
			for c, s := range slope {
				wave := int(float64(x)*s[0]+float64(y)*s[1]) % 200
				rgb[c] = uint8(20 + wave + r.IntN(24))
			}
			m.SetRGBA(x, y, color.RGBA{rgb[0], rgb[1], rgb[2], 255})
		}
	}
	return m
}

// read is a feature pass into a cache of its own.
func (x *trial) read(ctx context.Context, t *training, note plan.Note, cut string) error {
	items, err := x.items()
	if err != nil {
		return err
	}
	keys := []features.Key{t.key}
	if cut != "" {
		keys = append(keys, t.cut.key)
	}
	root, err := os.MkdirTemp(x.dir, "cache-")
	if err != nil {
		return err
	}
	var caches []*features.Cache
	rowBytes := int64(0)
	for _, key := range keys {
		c, err := features.Open(root, key, "trial")
		if err != nil {
			return err
		}
		caches, rowBytes = append(caches, c), rowBytes+key.RowBytes()
	}
	pass := &features.Pass{Network: t.base, Weights: t.weights, Fit: t.key.Fit, Items: items, Notes: x.dir,
		Progress: func(int, int) {}, Problem: func(data.Item, *data.Fault) {}}
	for i := range items {
		for v := range trialViews {
			pass.Wants = append(pass.Wants, features.Want{Item: i, View: v})
		}
	}
	sets, err := pass.Run(ctx, caches...)
	if err != nil {
		return err
	}
	for _, s := range sets {
		s.Close()
	}
	plan.LearnPass(note, pass.Timing, rowBytes*int64(len(pass.Wants)), cut)
	return nil
}

// samples are n of all classes in turn, the rows from a number on.
func trialSamples(from, n, classes int) []fit.Sample {
	out := make([]fit.Sample, n)
	for i := range out {
		out[i] = fit.Sample{Row: from + i, Class: i % classes, Key: uint64(from + i)}
	}
	return out
}

// head trains one on random features for a few epochs.
func (x *trial) head(ctx context.Context, t *training, note plan.Note) error {
	const rows, held, epochs = 1000, 200, 10
	parts, err := t.base.Parts()
	if err != nil {
		return err
	}
	noise := make([]float32, t.base.FeatureDim+rows+held)
	r := random()
	for i := range noise {
		noise[i] = r.Float32()
	}
	start := time.Now()
	training, err := fit.New(fit.Data{Dim: t.base.FeatureDim, Classes: trialClasses, Parts: parts,
		Train: trialSamples(0, rows, trialClasses), Val: trialSamples(rows, held, trialClasses),
		Read: func(row int, dst []float32) error { copy(dst, noise[row:]); return nil }})
	if err != nil {
		return err
	}
	training.Warn = func(string) {}
	training.Epoch = func(runspec.Epoch, fit.State) (bool, error) { return false, nil }
	recipe := t.recipe
	recipe.Epochs, recipe.Patience, recipe.L2, recipe.BatchSize, recipe.LearningRate = epochs, epochs, 0.01, 64, 1e-4
	if _, err := training.Run(ctx, recipe, training.Start()); err != nil {
		return err
	}
	work := fit.Work(recipe, fit.Amount{Rows: rows, Plain: rows, Val: held, Dim: t.base.FeatureDim, Classes: trialClasses}, epochs, 0)
	plan.LearnHead(note, recipe.Head, work, time.Since(start).Seconds())
	return nil
}

// tune fine-tunes for two epochs on random activations, or pixels where there is no cut.
func (x *trial) tune(ctx context.Context, t *training, note plan.Note) error {
	const rows, held, epochs = 3 * finetuneBatch, 32, 2
	net, dim := t.plain, 3*t.plain.Size*t.plain.Size
	if t.cut.cached() {
		var err error
		if net, err = net.Suffix(t.cut.name); err != nil {
			return err
		}
		dim = t.cut.key.Dim
	}
	// Halves from 0.25 to 1: exponents that activations have, and no denormal numbers, which are slow.
	noise := make([]byte, 2*(dim+rows+held))
	r := random()
	for i := 0; i < len(noise); i += 2 {
		noise[i], noise[i+1] = byte(r.Uint32()), 0x34|byte(r.Uint32())&0x07
	}
	width := t.plain.FeatureDim
	head := fit.Scaled{Mean: make([]float32, width), Scale: make([]float32, width),
		Kernel: make([]float32, width*trialClasses), Bias: make([]float32, trialClasses)}
	for i := range head.Scale {
		head.Scale[i] = 1
	}
	d := finetune.Data{Train: trialSamples(0, rows, trialClasses), Val: trialSamples(rows, held, trialClasses), Weights: make([]float64, trialClasses),
		Fresh: !t.cut.cached(), Read: func(s fit.Sample, dst []byte) error { copy(dst, noise[2*s.Row:]); return nil }}
	for c := range d.Weights {
		d.Weights[c] = 1
	}
	took := tuned{begun: time.Now()}
	tuning, err := finetune.New(net, t.weights, head, d, finetune.Settings{Epochs: epochs, BatchSize: finetuneBatch, Rate: 1e-6,
		Mixup: t.recipe.Mixup, Patience: epochs, HeadLoss: 10})
	if err != nil {
		return err
	}
	defer tuning.Close()
	tuning.Warn = func(string) {}
	tuning.Epoch = func(runspec.Epoch, finetune.State) (bool, error) { took.epoch(); return false, nil }
	state, err := tuning.Start()
	if err != nil {
		return err
	}
	if _, err := tuning.Run(ctx, state); err != nil {
		return err
	}
	took.tell(note, t.cut.name, rows, held)
	return nil
}

// model is the base with a head that knows nothing.
func (x *trial) model(t *training) (network.Model, error) {
	made := *t
	made.labels = make([]string, trialClasses)
	for i := range made.labels {
		made.labels[i] = fmt.Sprintf("class %d", i+1)
	}
	r := random()
	dim := t.base.FeatureDim
	made.head = fit.Head{Mean: make([]float32, dim), Deviation: slices.Repeat([]float32{1}, dim), Kernel: make([]float32, dim*trialClasses), Bias: make([]float32, trialClasses)}
	for i := range made.head.Kernel {
		made.head.Kernel[i] = float32(r.NormFloat64()) / 100
	}
	return made.model()
}

// check prepares what files are checked on.
func (x *trial) check(t *training, note plan.Note) (export.Sample, network.Model, error) {
	items, err := x.items()
	if err != nil {
		return export.Sample{}, network.Model{}, err
	}
	var held []data.Item
	for i := range checkImages {
		held = append(held, items[i%len(items)])
	}
	model, err := x.model(t)
	if err != nil {
		return export.Sample{}, model, err
	}
	start := time.Now()
	s, err := x.a.sampleOf(held, model, t.key.Fit)
	plan.LearnSample(note, time.Since(start).Seconds())
	return s, model, err
}

// report looks at photos as the report shows them. How large that is, a training tells.
func (x *trial) report(t *training, note plan.Note) error {
	items, err := x.items()
	if err != nil {
		return err
	}
	model, err := x.model(t)
	if err != nil {
		return err
	}
	start := time.Now()
	var huge sync.Mutex
	decoder, err := data.NewDecoder(&huge)
	if err != nil {
		return err
	}
	defer decoder.Close()
	var photos []*pictured
	for i, item := range items[:trialMistakes] {
		p := &pictured{item: item, class: i % trialClasses}
		p.prepare(decoder, "", t.base.Size, t.key.Fit)
		photos = append(photos, p)
	}
	if _, err := activations(model, photos); err != nil {
		return err
	}
	plan.LearnExport(note, runspec.FormatReport, time.Since(start).Seconds(), 0)
	return nil
}

// file writes and checks a file.
func (x *trial) file(t *training, note plan.Note, name string) error {
	if name == runspec.FormatReport {
		return x.report(t, note)
	}
	format, err := export.ParseFormat(name)
	if err != nil {
		return err
	}
	s, model, err := x.check(t, note)
	if err != nil {
		return err
	}
	each := len(s.Images) / checkImages
	var photos iter.Seq2[[]float32, error] = func(yield func([]float32, error) bool) {
		for i := range export.CalibrationPhotos {
			at := i % checkImages * each
			if !yield(s.Images[at:at+each], nil) {
				return
			}
		}
	}
	start := time.Now()
	written, err := export.Write(x.dir, format, model, export.Options{Calibrate: photos})
	if err != nil {
		return err
	}
	if _, err := export.Check(x.dir, written, s); err != nil {
		return err
	}
	plan.LearnExport(note, name, time.Since(start).Seconds(), written.Bytes)
	return nil
}
