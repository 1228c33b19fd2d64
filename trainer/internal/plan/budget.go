package plan

import (
	"slices"
	"sort"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/rates"
)

const (
	// worthwhile is how many epochs of fine-tuning are kept before views are given up for more of them, and fewest is how few
	// are still better than none.
	worthwhile = 4
	fewest     = 2
	// margin is the part of the time that is planned to be used. The rest is for what differs from the rates.
	margin = 0.9
)

// Within is r with as many views and epochs of fine-tuning, at most its own, as take no more than so many seconds by the rates
// of book; ok is false when not even the least takes that little, and then that is returned. All rates must be known.
func (t Training) Within(r runspec.Recipe, book *rates.Book, seconds float64) (within runspec.Recipe, cost runspec.Cost, ok bool) {
	fits := func(c runspec.Recipe) bool {
		cost, _ = t.Cost(c, book)
		return float64(cost.Seconds) <= margin*seconds
	}
	most := r.FinetuneEpochs
	for _, least := range []int{min(worthwhile, most), min(fewest, most), 0} {
		for views := r.Views; views >= 1; views-- {
			c := r
			c.Views = views
			c.FinetuneEpochs = largest(most, func(epochs int) bool {
				c.FinetuneEpochs = epochs
				return fits(c)
			})
			if least == 0 {
				c.FinetuneEpochs = 0
			}
			if c.FinetuneEpochs >= least && fits(c) {
				return c, cost, true
			}
		}
	}
	r.Views, r.FinetuneEpochs = 1, 0
	cost, _ = t.Cost(r, book)
	return r, cost, float64(cost.Seconds) <= seconds
}

// largest is the largest number up to most that fits, as all smaller ones do then; 0 when none does.
func largest(most int, fits func(int) bool) int {
	return sort.Search(most, func(i int) bool { return !fits(i + 1) })
}

// Missing are the parts of which book does not know how fast this machine is at them, whatever Within makes of r.
func (t Training) Missing(r runspec.Recipe, book *rates.Book) []Part {
	var missing []Part
	for _, epochs := range []int{r.FinetuneEpochs, 0} {
		c := r
		c.FinetuneEpochs = epochs
		_, unknown := t.Cost(c, book)
		for _, p := range unknown {
			if !slices.Contains(missing, p) {
				missing = append(missing, p)
			}
		}
	}
	return missing
}

// Epochs is how many epochs of fine-tuning, at most so many, take no more than so many seconds together with all that follows
// them; 0 when they are too few to be worth it.
func (t Training) Epochs(r runspec.Recipe, book *rates.Book, most int, seconds float64) int {
	n := largest(most, func(epochs int) bool {
		c := r
		c.FinetuneEpochs = epochs
		cost, _ := t.Cost(c, book)
		return of(cost, runspec.PhaseFinetune)+of(cost, runspec.PhaseExport) <= seconds
	})
	if n < min(fewest, most) {
		return 0
	}
	return n
}

// After is how long it takes to make the files, in seconds.
func (t Training) After(r runspec.Recipe, book *rates.Book) float64 {
	cost, _ := t.Cost(r, book)
	return of(cost, runspec.PhaseExport)
}

// of is what a phase takes, in seconds.
func of(c runspec.Cost, phase string) float64 {
	for _, p := range c.Phases {
		if p.Phase == phase {
			return float64(p.Seconds)
		}
	}
	return 0
}
