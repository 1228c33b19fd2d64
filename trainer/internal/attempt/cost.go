package attempt

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/finetune"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/plan"
	"github.com/cultivar-ml/cultivar/trainer/internal/rates"
)

// ledger is what a training is expected to take and what it takes.
type ledger struct {
	begun    []begun
	measured []func(plan.Note)
	timing   features.Timing
	rows     int
	cached   int
}

type begun struct {
	phase string
	at    time.Time
}

// begin announces a phase.
func (a *Attempt) begin(name string, total int) {
	a.journal.Add(runspec.TypePhase, runspec.Phase{Phase: name, Total: total})
	a.ledger.begun = append(a.ledger.begun, begun{name, time.Now()})
}

// learned notes a measurement, which counts once the training has succeeded.
func (a *Attempt) learned(tell func(plan.Note)) { a.ledger.measured = append(a.ledger.measured, tell) }

// counted notes how much of a feature pass was there before it.
func (a *Attempt) counted(progress func(done, total int)) func(done, total int) {
	first := true
	return func(done, total int) {
		if first {
			first, a.ledger.rows, a.ledger.cached = false, total, done
		}
		progress(done, total)
	}
}

// readPhotos notes what a feature pass took.
func (a *Attempt) readPhotos(t *training, timing features.Timing) {
	a.ledger.timing = timing
	bytes := int64(len(t.wants)) * t.key.RowBytes()
	cut := ""
	if t.cut.cached() {
		cut, bytes = t.cut.name, bytes+int64(len(t.wants))*t.cut.key.RowBytes()
	}
	a.learned(func(note plan.Note) { plan.LearnPass(note, timing, bytes, cut) })
}

// learnedHead notes what a head took that was trained up to an epoch; one that went on from a checkpoint tells nothing.
func (a *Attempt) learnedHead(t *training, d fit.Data, first, epochs int, took time.Duration) {
	if first > 0 {
		return
	}
	amount := fit.Amount{Rows: len(d.Train), Val: len(d.Val), Dim: d.Dim, Classes: d.Classes}
	for _, s := range d.Train {
		if s.View == 0 {
			amount.Plain++
		}
	}
	work := fit.Work(a.spec.Recipe, amount, epochs, 0)
	a.learned(func(note plan.Note) { plan.LearnHead(note, t.recipe.Head, work, took.Seconds()) })
}

// tuned is how fine-tuning's time is noted: seconds until the first epoch could begin without those of the head that it
// begins with, and the epochs.
type tuned struct {
	begun       time.Time
	early       time.Duration // of the head
	first, last time.Time     // ends of epochs
	epochs      int
}

func (m *tuned) epoch() {
	m.last = time.Now()
	if m.epochs++; m.epochs == 1 {
		m.first = m.last
	}
}

// each is how many seconds an epoch takes.
func (m tuned) each() float64 {
	if m.epochs < 2 {
		return m.last.Sub(m.begun).Seconds()
	}
	return m.last.Sub(m.first).Seconds() / float64(m.epochs-1)
}

// tell notes what fine-tuning with so many photos took. The first epoch is longer, as TensorFlow settles how to compute in it;
// what it takes more than the others counts as beginning.
func (m tuned) tell(note plan.Note, cut string, images, val int) {
	if m.epochs < 2 {
		return
	}
	each := m.each()
	work := plan.EpochWork(images, val) * float64(m.epochs-1)
	graph := m.first.Sub(m.begun).Seconds() - m.early.Seconds() - each
	plan.LearnTuning(note, cut, max(0, graph), work, each*float64(m.epochs-1))
}

// learnedTuning notes what fine-tuning took, before what is kept of it is settled.
func (a *Attempt) learnedTuning(t *training) {
	if t.whole != nil { // faster than the rate is for
		return
	}
	took, images, val := t.took, len(plainViews(t.samples(manifest.Train))), len(t.samples(manifest.Validation))
	a.learned(func(note plan.Note) { took.tell(note, t.cut.name, images, val) })
}

// sampled and exported note what proving files took of a network that has so many times the weights of the base.
func (a *Attempt) sampled(took time.Duration, size float64) {
	a.learned(func(note plan.Note) { plan.LearnSample(note, took.Seconds()/size) })
}

func (a *Attempt) exported(format string, took time.Duration, size float64) {
	bytes := int64(0)
	for _, file := range a.artifacts {
		if file.Format == format {
			bytes = file.Bytes
		}
	}
	a.learned(func(note plan.Note) {
		plan.LearnExport(note, format, took.Seconds()/size, int64(float64(bytes)/size))
	})
}

// size is how many times the weights of the base a network has that was made of it by forking; 1 for all others.
func (t *training) size(net network.Network) (float64, error) {
	if _, forked := net.Layer(network.Forked(t.plain.Features)); !forked {
		return 1, nil
	}
	own, err := net.Params()
	if err != nil {
		return 0, err
	}
	plain, err := t.plain.Params()
	return float64(own) / float64(max(1, plain)), err
}

// book is the rates of a base on this machine, with the features that the head alone sees, whatever is kept in the end.
func (a *Attempt) book(t *training) (*rates.Book, error) {
	return rates.Open(a.spec.Paths.Features, rates.NewKey(t.sha256, t.recipe.ImageSize, t.key.Cut))
}

// amount is how much a training has to do, of which the cache may hold a part.
func (a *Attempt) amount(t *training) (plan.Training, error) {
	p, err := t.measures()
	if err != nil {
		return p, err
	}
	have, err := features.Held(a.spec.Paths.Features, t.key)
	if err != nil {
		return p, err
	}
	haveCut := map[data.Hash]features.Views{}
	if t.cut.cached() {
		if haveCut, err = features.Held(a.spec.Paths.Features, t.cut.key); err != nil {
			return p, err
		}
	}
	asked := map[data.Hash]features.Views{}
	if t.teacher != nil {
		if asked, err = features.Held(a.spec.Paths.Features, t.teacher.key); err != nil {
			return p, err
		}
	}
	p.Photos = make([]plan.Photo, len(t.items))
	for i, item := range t.items {
		p.Photos[i] = plan.Photo{Bytes: item.Length, Side: t.sides[i], Features: have[item.Hash], Cut: haveCut[item.Hash], Asked: asked[item.Hash]}
	}
	return p, nil
}

// measures is an amount without photos.
func (t *training) measures() (plan.Training, error) {
	p := plan.Training{Classes: len(t.labels), Folds: labelFolds, Dim: t.base.FeatureDim, RowBytes: t.key.RowBytes(),
		Workers: features.Workers(runtime.GOMAXPROCS(0), features.MemoryLimit(os.DirFS("/")), t.base.Size)}
	var err error
	if t.teacher != nil {
		if p.Teacher, err = share(t.teacher.model.Network, t.plain); err != nil {
			return p, err
		}
	}
	if t.cut.name == "" {
		return p, nil
	}
	net := t.plain
	if t.cut.cached() {
		if net, err = net.Suffix(t.cut.name); err != nil {
			return p, err
		}
		p.CutRowBytes = t.cut.key.RowBytes()
		for _, width := range t.partnerParts() {
			p.Partner += width
		}
	}
	if t.pruned != nil {
		left := t.pruned.net
		if t.cut.cached() {
			if left, err = left.Suffix(t.cut.name); err != nil {
				return p, err
			}
		}
		if p.Thin, err = share(left, net); err != nil {
			return p, err
		}
	}
	if t.ensemble() {
		forked, err := t.fork()
		if err != nil {
			return p, err
		}
		if p.Both, err = t.size(forked); err != nil {
			return p, err
		}
	}
	p.Cut, p.Last = t.cut.name, t.plain.FeatureDim
	p.Trained, err = finetune.Trained(net, max(2, p.Classes))
	return p, err
}

// share is how much one network computes for an image, as a share of what another does.
func share(of, whole network.Network) (float64, error) {
	some, err := of.MACs()
	if err != nil {
		return 0, err
	}
	all, err := whole.MACs()
	return float64(some) / float64(max(1, all)), err
}

// expect says what the training will take, before it reads a photo.
func (a *Attempt) expect(t *training) error {
	amount, err := a.amount(t)
	if err != nil {
		return err
	}
	book, err := a.book(t)
	if err != nil {
		return err
	}
	cost, _ := amount.Cost(t.recipe, book)
	a.result.Planned = &cost
	return nil
}

// spent is what the attempt took so far.
func (a *Attempt) spent() *runspec.Cost {
	c := runspec.Cost{Seconds: runspec.Float(time.Since(a.started).Seconds()), Phases: []runspec.PhaseSeconds{},
		Rows: a.ledger.rows, CachedRows: a.ledger.cached, CacheBytes: a.ledger.timing.Written, FileBytes: a.fileBytes()}
	from := a.started // the first phase begins with the attempt
	for i, b := range a.ledger.begun {
		to := time.Now()
		if i+1 < len(a.ledger.begun) {
			to = a.ledger.begun[i+1].at
		}
		c.Phases = append(c.Phases, runspec.PhaseSeconds{Phase: b.phase, Seconds: runspec.Float(to.Sub(from).Seconds())})
		from = to
	}
	return &c
}

// fileBytes is the size of what the attempt has left in its folder.
func (a *Attempt) fileBytes() int64 {
	total := int64(0)
	// What has vanished meanwhile does not count.
	_ = filepath.WalkDir(a.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total
}

// remember keeps what a training that succeeded tells about this machine. That it cannot be kept is no failure of the
// training.
func (a *Attempt) remember(t *training) {
	if a.stopped.Load() { // it did less than it seems
		return
	}
	book, err := a.book(t)
	if err == nil {
		for _, tell := range a.ledger.measured {
			tell(book.Learn)
		}
		err = book.Save()
	}
	if err != nil {
		a.journal.Log("warning", "What this training took could not be noted, so the next plan is less exact: "+err.Error())
	}
}
