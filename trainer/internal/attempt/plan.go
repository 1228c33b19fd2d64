package attempt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/plan"
	"github.com/cultivar-ml/cultivar/trainer/internal/rates"
)

// option is a recipe that a plan tells the cost of.
type option struct {
	name    string
	t       *training
	amount  plan.Training
	book    *rates.Book
	refused string // why a training with it would end at once
}

// plan answers what the spec's recipe would take, and each preset with the same base. What was never measured on this
// machine is said to be unknown first, and then measured.
func (a *Attempt) plan(ctx context.Context) error {
	a.begin(runspec.PhasePrepare, 0)
	options, err := a.options()
	if err != nil {
		return err
	}
	took := time.Since(a.started).Seconds()
	for _, o := range options {
		if o.refused == "" {
			plan.LearnBeginning(o.book.Try, took)
		}
	}
	if a.tell(options) {
		return nil
	}
	trial, err := a.newTrial()
	if err != nil {
		return err
	}
	defer trial.close()
	for _, o := range options {
		if o.refused != "" {
			continue
		}
		_, missing := o.amount.Cost(o.t.recipe, o.book)
		if o.t.recipe.TimeBudget > 0 {
			missing = o.amount.Missing(o.t.recipe, o.book)
		}
		if len(missing) == 0 {
			continue
		}
		if err := trial.measure(ctx, o.t, o.book, missing); err != nil {
			return err
		}
		if err := o.book.Save(); err != nil {
			return err
		}
		if a.tell(options) {
			break
		}
	}
	return nil
}

// tell records the plan as far as it is known, and whether all of it is.
func (a *Attempt) tell(options []*option) (all bool) {
	p := runspec.Plan{}
	for _, o := range options {
		said := runspec.PlanOption{Name: o.name, Recipe: o.t.recipe, Refused: o.refused}
		if o.refused == "" {
			said.Cost, _ = o.amount.Cost(o.t.recipe, o.book)
		}
		if o.refused == "" && o.t.recipe.TimeBudget > 0 && len(o.amount.Missing(o.t.recipe, o.book)) == 0 {
			said = o.inTime(said)
		}
		p.Measuring = p.Measuring || len(said.Cost.Unknown) > 0
		p.Options = append(p.Options, said)
	}
	a.journal.Add(runspec.TypePlan, p)
	return !p.Measuring
}

// inTime is what a training makes of the recipe to keep to its time budget.
func (o *option) inTime(said runspec.PlanOption) runspec.PlanOption {
	var ok bool
	said.Recipe, said.Cost, ok = o.amount.Within(o.t.recipe, o.book, float64(o.t.recipe.TimeBudget))
	if !ok {
		said.Refused = tooLittle(o.t.recipe.TimeBudget, float64(said.Cost.Seconds)).Text
	}
	return said
}

// options are the recipe and the presets, with what the cache holds for them. A preset that is the recipe itself is there
// under its own name as well.
func (a *Attempt) options() ([]*option, error) {
	d, err := a.planned()
	if err != nil {
		return nil, err
	}
	var options []*option
	add := func(name string, r runspec.Recipe) {
		options = append(options, &option{name: name, t: &training{dataset: d, spec: r, recipe: r}})
	}
	add(runspec.PlanGiven, a.spec.Recipe)
	for _, preset := range []runspec.Preset{runspec.Quick, runspec.Balanced, runspec.Best} {
		r := runspec.Default(preset)
		r.Base, r.StartFrom = a.spec.Recipe.Base, a.spec.Recipe.StartFrom
		add(string(preset), r)
	}
	books := map[string]*rates.Book{}
	for i, o := range options {
		err := a.complete(o, options[:i], books)
		var failure *Failure
		if errors.As(err, &failure) {
			o.refused = failure.Text
		} else if err != nil {
			return nil, err
		}
	}
	return options, nil
}

// planned is the dataset of a plan: that of the spec, or one of as many photos as are described, which cannot be read.
func (a *Attempt) planned() (dataset, error) {
	p := a.spec.Photos
	if p == nil {
		d, _, err := openDataset(a.spec.Dataset)
		return d, err
	}
	if p.Images < 1 || p.Images > manifest.MaxFiles || p.Known < 0 || p.Known > p.Images || p.Classes < manifest.MinClasses || p.Classes > manifest.MaxClasses {
		return dataset{}, fail(runspec.ExitBadSpec, "the spec describes %d photos in %d classes, of which %d are known; that cannot be", p.Images, p.Classes, p.Known)
	}
	d := dataset{labels: make([]string, p.Classes), items: make([]data.Item, p.Images)}
	for i := range d.labels {
		d.labels[i] = fmt.Sprintf("class %d", i+1)
	}
	return d, nil
}

// complete settles what an option needs. Base and book of one before it serve again.
func (a *Attempt) complete(o *option, before []*option, books map[string]*rates.Book) error {
	if err := readyExports(o.t.recipe); err != nil {
		return err
	}
	same := slices.IndexFunc(before, func(b *option) bool { return b.refused == "" && sameBase(b.t.spec, o.t.recipe) })
	if same >= 0 {
		b := before[same].t
		o.t.earlier = b.earlier
		o.t.base, o.t.plain, o.t.weights, o.t.sha256, o.t.key = b.base, b.plain, b.weights, b.sha256, b.key
		o.t.recipe.Base, o.t.recipe.ImageSize = b.recipe.Base, b.recipe.ImageSize
	} else if err := a.loadBase(o.t); err != nil {
		return err
	}
	if err := a.resolveCut(o.t); err != nil {
		return err
	}
	if err := o.t.resolvePruning(); err != nil {
		return err
	}
	if a.spec.Teacher != nil {
		if err := a.loadTeacher(o.t); err != nil {
			return err
		}
	}
	book, err := a.book(o.t)
	if err != nil {
		return err
	}
	if books[book.Path()] == nil {
		books[book.Path()] = book
	}
	o.book = books[book.Path()]
	if a.spec.Photos != nil {
		o.amount, err = a.amountOf(o.t, *a.spec.Photos)
		return err
	}
	o.t.divide()
	o.amount, err = a.amount(o.t)
	return err
}

// sameBase tells whether two recipes, as they were given, need the same base with the same features.
func sameBase(a, b runspec.Recipe) bool {
	return a.Base == b.Base && a.ImageSize == b.ImageSize && a.Features == b.Features && a.Preprocessing == b.Preprocessing &&
		a.StartFrom == b.StartFrom
}

// amountOf is the amount for photos of which only the numbers are known. Those of them that the server has are taken for
// the ones that the cache holds most views of: which ones they are cannot be known, and as a rule the cache holds little
// else for this base.
func (a *Attempt) amountOf(t *training, p runspec.Photos) (plan.Training, error) {
	amount, err := t.measures()
	if err != nil {
		return amount, err
	}
	have, err := features.Held(a.spec.Paths.Features, t.key)
	if err != nil {
		return amount, err
	}
	haveCut := map[data.Hash]features.Views{}
	if t.cut.cached() {
		if haveCut, err = features.Held(a.spec.Paths.Features, t.cut.key); err != nil {
			return amount, err
		}
	}
	amount.Photos = described(p, t.recipe, have, haveCut)
	return amount, nil
}

// described makes up photos of the numbers given, with shares of validation and test photos among the known as among all.
func described(p runspec.Photos, r runspec.Recipe, have, haveCut map[data.Hash]features.Views) []plan.Photo {
	var cached []plan.Photo
	for hash, views := range have {
		cached = append(cached, plan.Photo{Features: views, Cut: haveCut[hash]})
	}
	slices.SortFunc(cached, func(x, y plan.Photo) int {
		return cmp.Or(cmp.Compare(bits.OnesCount32(uint32(y.Features)), bits.OnesCount32(uint32(x.Features))),
			cmp.Compare(bits.OnesCount32(uint32(y.Cut)), bits.OnesCount32(uint32(x.Cut))))
	})
	photos := make([]plan.Photo, p.Images)
	for i := range photos {
		from, to := 0, p.Known
		if i >= p.Known {
			from, to = p.Known, p.Images
		} else if i < len(cached) {
			photos[i] = cached[i]
		}
		photos[i].Bytes = p.Bytes / int64(p.Images)
		// Photos to train on come first, as those have most views in the cache.
		switch at := float64(i-from) / float64(to-from); {
		case at < 1-r.Validation-r.Test:
			photos[i].Side = manifest.Train
		case at < 1-r.Test:
			photos[i].Side = manifest.Validation
		default:
			photos[i].Side = manifest.Test
		}
	}
	return photos
}

// newTrial makes room for trials.
func (a *Attempt) newTrial() (*trial, error) {
	dir := a.path("trial")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make room for measuring this machine: %w", err)
	}
	return &trial{a: a, dir: dir}, nil
}
