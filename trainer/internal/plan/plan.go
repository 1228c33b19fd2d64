// Package plan says what a training will take, in time and on disk, from how much there is to do and how fast this machine
// was measured to be at it. It reads nothing and runs nothing.
package plan

import (
	"cmp"
	"slices"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/finetune"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/rates"
)

// Photo is one image of a training.
type Photo struct {
	Bytes    int64 // of its file
	Side     manifest.Side
	Features features.Views // that are cached
	Cut      features.Views // likewise of the activations at the cut
	Asked    features.Views // likewise of the teacher's answers
}

// Training is how much there is to do, whatever the number of views and epochs.
type Training struct {
	Photos  []Photo
	Classes int
	Workers int // of the feature pass

	Folds    int   // that the photos are dealt to for the check of their labels
	Dim      int   // of the features
	RowBytes int64 // that one view takes in the cache

	Cut         string // where fine-tuning begins; empty: there is none
	CutRowBytes int64  // 0: no activations are kept, as all of the base is trained
	Trained     int    // numbers that fine-tuning trains, the head's included
	Last        int    // length of the features that fine-tuning's own head sees
	Partner     int    // and of those that the head sees which the outcome is mixed with; 0: there is none

	Teacher float64 // what the teacher computes for a view, as a share of what the base does; 0: none is known
	Thin    float64 // what pruning leaves to compute behind the cut, likewise; 0: nothing is pruned
	Both    float64 // how many times as many weights an ensemble has as one network; 0: there is none
}

// EarlyEpochs is how long the head learns with which fine-tuning begins.
const EarlyEpochs = 5

// What stays of a run beside its artifacts, bytes. Measured: gob writes a head's kernel with its moments and its best
// state in 18.5 bytes a weight, a fine-tuning's five vectors in 4 each; two checkpoints stay, what a later run can start from
// holds each number once more, and the split and the records take about 140 bytes a photo.
const (
	keptCheckpoints = 2
	headWeightBytes = keptCheckpoints*18.5 + 4
	tunedBytes      = keptCheckpoints*5*4 + 4
	photoBytes      = 140
)

// rows counts the views that r needs of the photos, by side.
type rows struct {
	train, plain, val, test int // plain: photos to train on, each once
	cached                  int
	missing                 toRead
	newFeatures, newCut     float64 // rows that are added to the caches
	ask                     toRead
}

// toRead is what a pass has to compute.
type toRead struct {
	plain, changed int
	bytes          int64 // of files
}

// photo adds so many views of one photo. It is decoded once for the view as it is, larger once more for others.
func (n *toRead) photo(p Photo, plain, changed int) {
	n.plain += plain
	n.changed += changed
	n.bytes += p.Bytes * int64(plain+min(changed, 1))
}

func (n toRead) rows() int { return n.plain + n.changed }

func (t Training) count(r runspec.Recipe) rows {
	var n rows
	tune := t.cutOf(r) != ""
	for _, p := range t.Photos {
		views := 1
		switch p.Side {
		case manifest.Train:
			views = r.Views
			n.plain++
		case manifest.Validation:
			n.val++
		case manifest.Test:
			n.test++
		}
		if p.Side == manifest.Train {
			n.train += views
		}
		n.photo(p, views, tune)
		n.askFor(p, views)
	}
	return n
}

// askFor adds what a teacher has to say of one photo.
func (n *rows) askFor(p Photo, views int) {
	plain, changed := 0, 0
	for v := range views {
		switch {
		case p.Asked.Has(v):
		case v == 0:
			plain++
		default:
			changed++
		}
	}
	n.ask.photo(p, plain, changed)
}

// photo adds what is to be computed of one photo.
func (n *rows) photo(p Photo, views int, tune bool) {
	plain, changed := 0, 0
	for v := range views {
		has, hasCut := p.Features.Has(v), !tune || p.Cut.Has(v)
		if !has {
			n.newFeatures++
		}
		if !hasCut {
			n.newCut++
		}
		switch {
		case has && hasCut:
			n.cached++
		case v == 0:
			plain++
		default:
			changed++
		}
	}
	n.missing.photo(p, plain, changed)
}

func (n rows) all() int { return n.train + n.val + n.test }

func (t Training) amount(n rows) fit.Amount {
	return fit.Amount{Rows: n.train, Plain: n.plain, Val: n.val, Dim: t.Dim, Classes: t.Classes}
}

// Cost is what a training with r takes by the rates of book, if it is not ended early by its patience. The parts that the
// book does not know are returned too, and named in Unknown.
func (t Training) Cost(r runspec.Recipe, book *rates.Book) (runspec.Cost, []Part) {
	n := t.count(r)
	e := estimate{book: book, cost: runspec.Cost{Phases: []runspec.PhaseSeconds{}, Rows: n.all(), CachedRows: n.cached}}
	tune := r.FinetuneEpochs > 0
	e.phase(runspec.PhasePrepare, Part{Beginning, ""}, term{nPrepare, 1})
	e.phase(runspec.PhaseFeatures, Part{Reading, t.cutOf(r)}, t.reading(r, n)...)
	if r.Teacher != "" && t.Teacher > 0 {
		e.phase(runspec.PhaseTeacher, Part{Reading, t.cutOf(r)}, t.pass(n.ask, t.cutOf(r), t.Teacher)...)
	}
	refit := 0
	if !tune && n.test > 0 {
		refit = r.Epochs
	}
	e.phase(runspec.PhaseHead, Part{Head, r.Head}, term{named(nHead, r.Head), fit.Work(r, t.amount(n), r.Epochs, refit)})
	if tune {
		e.phase(runspec.PhaseFinetune, Part{Tuning, t.Cut}, term{named(nGraph, t.Cut), 1},
			term{named(nTune, t.Cut), tuningWork(n, r.FinetuneEpochs) * cmp.Or(t.Thin, 1)})
		e.phase(runspec.PhaseFinetune, Part{Head, r.Head}, term{named(nHead, r.Head), t.headsWork(n, r)})
	}
	e.phase(runspec.PhaseEvaluate, Part{Head, r.Head}, term{named(nHead, r.Head), fit.OutOfFoldWork(len(t.Photos), t.Folds, t.Dim, t.Classes)})
	size := 1.0
	if tune {
		size = cmp.Or(t.Both, 1)
	}
	e.phase(runspec.PhaseExport, Part{Checking, ""}, term{nSample, size})
	for _, format := range append(slices.Clone(r.Exports), runspec.FormatReport) {
		e.phase(runspec.PhaseExport, Part{File, format}, term{named(nExport, format), size})
		e.cost.FileBytes += int64(size * e.rate(Part{File, format}, named(nBytes, format)))
	}
	weights := float64(t.Dim * t.Classes)
	e.cost.FileBytes += int64(headWeightBytes*weights) + photoBytes*int64(len(t.Photos))
	if tune {
		e.cost.FileBytes += tunedBytes * int64(t.Trained)
	}
	e.cost.CacheBytes = int64(n.newFeatures)*t.RowBytes + int64(n.newCut)*t.CutRowBytes
	for _, p := range e.unknown {
		e.cost.Unknown = append(e.cost.Unknown, p.String())
	}
	if r.Teacher != "" && t.Teacher == 0 {
		e.cost.Unknown = append(e.cost.Unknown, "asking the teacher")
	}
	return e.cost, e.unknown
}

// cutOf is the cut whose activations a training with r keeps; empty when it keeps none.
func (t Training) cutOf(r runspec.Recipe) string {
	if r.FinetuneEpochs == 0 || t.CutRowBytes == 0 {
		return ""
	}
	return t.Cut
}

// headsWork is what heads take that fine-tuning needs: the one that it begins with, and the one that it is mixed with.
func (t Training) headsWork(n rows, r runspec.Recipe) float64 {
	r.L2 = 1 // is chosen already
	a := t.amount(n)
	a.Dim = t.Last
	work := fit.Work(r, a, EarlyEpochs, 0)
	if a.Dim = t.Partner; a.Dim > 0 {
		work += fit.Work(r, a, r.Epochs, r.Epochs)
	}
	if t.Both > 0 { // with the head alone, which learns from the validation photos then
		a.Dim = t.Dim
		work += fit.Work(r, a, 0, r.Epochs)
	}
	return work
}

// tuningWork counts the images that fine-tuning learns from and measures on: in its epochs, in those that end it with the
// validation photos where test photos measure it, and in the two measurements that settle what is kept.
func tuningWork(n rows, epochs int) float64 {
	work := float64(epochs)*EpochWork(n.plain, n.val) + float64(n.val+max(n.test, n.val))/measured
	if n.test > 0 {
		work += float64(finetune.RefitEpochs(epochs) * (n.plain + n.val))
	}
	return work
}

// EpochWork is what an epoch of fine-tuning learns from, in images. Measuring on a validation photo takes a third of that.
func EpochWork(train, val int) float64 { return float64(train) + float64(val)/measured }

const measured = 3

func (t Training) reading(r runspec.Recipe, n rows) []term {
	bytes := float64(n.all()) * float64(t.RowBytes)
	if t.cutOf(r) != "" {
		bytes += float64(n.all()) * float64(t.CutRowBytes)
	}
	return append([]term{{nFind, bytes}}, t.pass(n.missing, t.cutOf(r), 1)...)
}

// pass is what it takes to compute so much, with a network that has that share of the base's work.
func (t Training) pass(n toRead, cut string, share float64) []term {
	if n.rows() == 0 {
		return nil
	}
	k := float64(max(1, t.Workers))
	terms := []term{{nPass, 1}, {nDecode, float64(n.bytes) / k}, {network(cut), share * float64(n.rows()) / k}}
	if n.plain > 0 {
		terms = append(terms, term{nPlain, float64(n.plain) / k})
	}
	if n.changed > 0 {
		terms = append(terms, term{nChanged, float64(n.changed) / k})
	}
	return terms
}

// term is so many units of a rate.
type term struct {
	name  string
	units float64
}

// Part is what can be measured by itself. Of tells which one, where there are several.
type Part struct {
	Kind Kind
	Of   string
}

// Kind is a kind of Part.
type Kind string

// The kinds.
const (
	Beginning Kind = "beginning"
	Reading   Kind = "reading photos" // of a cut whose activations are kept as well; "": none
	Head      Kind = "the head"       // of a kind of head
	Tuning    Kind = "fine-tuning"    // of a cut
	Checking  Kind = "checking files"
	File      Kind = "the file" // of a format
)

// String is what people call it.
func (p Part) String() string {
	if p.Kind == File {
		return string(p.Kind) + " " + p.Of
	}
	return string(p.Kind)
}

// estimate adds up a cost.
type estimate struct {
	book    *rates.Book
	cost    runspec.Cost
	unknown []Part
}

// rate is a rate of the book; 0, and the part unknown, when the book lacks it.
func (e *estimate) rate(part Part, name string) float64 {
	v, ok := e.book.Get(name)
	if !ok && !slices.Contains(e.unknown, part) {
		e.unknown = append(e.unknown, part)
	}
	return v
}

// phase adds terms to a phase.
func (e *estimate) phase(phase string, part Part, terms ...term) {
	seconds := 0.0
	for _, t := range terms {
		seconds += t.units * e.rate(part, t.name)
	}
	e.cost.Seconds += runspec.Float(seconds)
	if last := len(e.cost.Phases) - 1; last >= 0 && e.cost.Phases[last].Phase == phase {
		e.cost.Phases[last].Seconds += runspec.Float(seconds)
		return
	}
	e.cost.Phases = append(e.cost.Phases, runspec.PhaseSeconds{Phase: phase, Seconds: runspec.Float(seconds)})
}

// Begun is the rate that says how many seconds there are before the feature pass.
const Begun = "prepare"

// The names of the rates. Seconds, if nothing else is said; those of the feature pass are of one worker.
const (
	nPrepare = Begun
	nFind    = "find"    // for a byte looked up in the cache
	nPass    = "pass"    // before a pass' workers are ready
	nDecode  = "decode"  // for a byte of a file
	nPlain   = "plain"   // for a square of a photo as it is
	nChanged = "changed" // for a square of a changed view
	nNetwork = "network" // for a row; with a cut, for one of its activations as well
	nHead    = "head"    // for a product, see fit.Work; of a kind of head
	nGraph   = "graph"   // before the first step of fine-tuning; of a cut
	nTune    = "tune"    // for an image learned from, see EpochWork; of a cut
	nSample  = "sample"  // preparing the check of files
	nExport  = "export"  // writing and checking a file; of a format
	nBytes   = "bytes"   // bytes of a file; of a format
)

func named(rate, of string) string { return rate + ":" + of }

func network(cut string) string {
	if cut == "" {
		return nNetwork
	}
	return named(nNetwork, cut)
}
