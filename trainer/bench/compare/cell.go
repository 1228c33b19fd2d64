package compare

import (
	"slices"
	"time"
)

// System is something that learns from photos: a preset of this project, or a peer as people use it.
type System string

// The systems.
const (
	Quick    System = "quick" // presets of this project
	Balanced System = "balanced"
	Best     System = "best"
	Probe    System = "probe"    // frozen features and scikit-learn's logistic regression
	Strong   System = "strong"   // a strong plain Keras fine-tuning
	Tutorial System = "tutorial" // the recipe of the Keras transfer-learning tutorial
)

// Systems lists the systems in the order in which they run: cheap ones first.
func Systems() []System { return []System{Quick, Probe, Balanced, Best, Strong, Tutorial} }

// Own tells whether the system is a preset of this project.
func (s System) Own() bool { return s == Quick || s == Balanced || s == Best }

// Set is a folder of photos as the project scans it.
type Set struct {
	Name    string
	Images  int
	Classes int
}

// Cell is one thing to measure.
type Cell struct {
	Set    Set
	Seed   int64
	System System
}

// Cells lists what to measure in the order to do it: seed after seed, within a seed the cheap systems first, each on all
// sets. So whatever a cut budget leaves can be compared. The tutorial's recipe is measured with the first seed only.
func Cells(sets []Set, seeds []int64, systems []System) []Cell {
	var cells []Cell
	for i, seed := range seeds {
		for _, system := range Systems() {
			if !slices.Contains(systems, system) || i > 0 && system == Tutorial {
				continue
			}
			for _, set := range sets {
				cells = append(cells, Cell{set, seed, system})
			}
		}
	}
	return cells
}

// Of returns the rows of one machine.
func Of(machine string, rows []Row) []Row {
	return slices.DeleteFunc(slices.Clone(rows), func(r Row) bool { return r.Machine != machine })
}

// Missing returns the cells that have no row on this machine. A row of a set that has another number of photos now is of
// another set.
func Missing(cells []Cell, machine string, rows []Row) []Cell {
	rows = Of(machine, rows)
	return slices.DeleteFunc(slices.Clone(cells), func(c Cell) bool {
		return slices.ContainsFunc(rows, func(r Row) bool { return r.of(c.Set) && r.Seed == c.Seed && r.System == c.System })
	})
}

func (r Row) of(s Set) bool { return r.Set == s.Name && r.Images == s.Images && r.Classes == s.Classes }

// guesses are a system's seconds to start and per photo where no row says better: what 2 cores needed once.
func (s System) guess(images int) float64 {
	g := map[System][2]float64{Quick: {5, 0.006}, Probe: {15, 0.02}, Balanced: {5, 0.08}, Best: {5, 0.3},
		Strong: {30, 0.3}, Tutorial: {30, 0.3}}[s]
	return g[0] + g[1]*float64(images)
}

// Expect tells how long a cell is likely to take on this machine: as long as with other seeds, else as long a photo as on
// other sets, else what another machine needed.
func Expect(c Cell, machine string, rows []Row) time.Duration {
	var same, photo []float64
	for _, r := range Of(machine, rows) {
		if r.System != c.System || r.Busy {
			continue
		}
		photo = append(photo, r.Seconds/float64(r.Images))
		if r.of(c.Set) {
			same = append(same, r.Seconds)
		}
	}
	seconds := c.System.guess(c.Set.Images)
	switch {
	case len(same) > 0:
		seconds = mean(same)
	case len(photo) > 0:
		seconds = mean(photo) * float64(c.Set.Images)
	}
	return time.Duration(seconds * float64(time.Second))
}

// Next takes the first cell that is likely to fit into the time left out of cells and returns it with the rest; ok is
// false when none is.
func Next(cells []Cell, machine string, rows []Row, left time.Duration) (next Cell, rest []Cell, ok bool) {
	for i, c := range cells {
		if Expect(c, machine, rows) <= left {
			return c, slices.Concat(cells[:i], cells[i+1:]), true
		}
	}
	return Cell{}, cells, false
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
