package compare

import (
	"fmt"
	"slices"
	"strings"
)

// bar is what a preset is to reach against a peer.
type bar struct {
	system, peer System
	gain         float64 // test accuracy above the peer's, at least
	time         float64 // share of the peer's time, at most
	average      bool    // the gain is that over all sets; otherwise each set counts
}

// bars are the promises that the table judges. Far above the tutorial's accuracy is taken as five points.
func bars() []bar {
	return []bar{
		{system: Quick, peer: Probe, gain: 0, time: 0.6},
		{system: Balanced, peer: Strong, gain: 0, time: 0.25},
		{system: Best, peer: Strong, gain: 0.01, time: 1, average: true},
		{system: Balanced, peer: Tutorial, gain: 0.05, time: 0.2},
	}
}

// pair is what a preset and a peer measured on one set with the seeds that both have.
type pair struct {
	seeds, timed int     // timed: on a machine that did nothing else
	gain, time   float64 // of the means
}

func pairOf(rows []Row, s Set, b bar) pair {
	own, peer := bySeed(rows, s, b.system), bySeed(rows, s, b.peer)
	var p pair
	var accuracy, seconds [2]float64
	for seed, o := range own {
		if r, ok := peer[seed]; ok {
			p.seeds++
			accuracy[0], accuracy[1] = accuracy[0]+o.TestAccuracy, accuracy[1]+r.TestAccuracy
			if !o.Busy && !r.Busy {
				p.timed++
				seconds[0], seconds[1] = seconds[0]+o.Seconds, seconds[1]+r.Seconds
			}
		}
	}
	if p.seeds > 0 {
		p.gain = (accuracy[0] - accuracy[1]) / float64(p.seeds)
	}
	if p.timed > 0 {
		p.time = seconds[0] / seconds[1]
	}
	return p
}

// bySeed returns the newest row of each seed.
func bySeed(rows []Row, s Set, system System) map[int64]Row {
	out := map[int64]Row{}
	for _, r := range rows {
		if r.of(s) && r.System == system && r.Date >= out[r.Seed].Date {
			out[r.Seed] = r
		}
	}
	return out
}

// rounding keeps a difference of equal decimals, such as 0.94 - 0.93, from missing its bar.
const rounding = 1e-9

// judge writes the two lines of a bar: accuracy and time on each set, and whether it is met.
func (b bar) judge(rows []Row, sets []Set) string {
	gains, times := make([]string, len(sets)), make([]string, len(sets))
	var short, slow []string
	var sum float64
	n, timed := 0, 0
	for i, s := range sets {
		p := pairOf(rows, s, b)
		gains[i], times[i] = "–", "–"
		if p.timed > 0 {
			timed++
			times[i] = fmt.Sprintf("%.2f×", p.time)
		}
		if p.seeds == 0 {
			continue
		}
		n++
		sum += p.gain
		gains[i] = fmt.Sprintf("%+.1f (%s)", 100*p.gain, count(p.seeds, "seed"))
		if p.gain < b.gain-rounding {
			short = append(short, s.Name)
		}
		if p.time > b.time+rounding {
			slow = append(slow, s.Name)
		}
	}
	wish := fmt.Sprintf("`%s` against %s: ", b.system, b.peer)
	accuracy := verdict(n, len(sets), short)
	points := fmt.Sprintf("points of accuracy, at least %.0f more", 100*b.gain)
	if b.gain == 0 {
		points = "points of accuracy, at least as many"
	}
	if b.average {
		points += " on average"
		if n > 0 {
			accuracy = verdict(n, len(sets), nil)
			if sum/float64(n) < b.gain-rounding {
				accuracy = "not met"
			}
			accuracy += fmt.Sprintf(": %+.1f", 100*sum/float64(n))
		}
	}
	return line(append([]string{wish + points}, append(gains, accuracy)...)) +
		line(append([]string{wish + fmt.Sprintf("time, at most %g×", b.time)}, append(times, verdict(timed, len(sets), slow))...))
}

// verdict says whether a bar is met on the n sets of all that have rows of both.
func verdict(n, all int, missed []string) string {
	switch {
	case n == 0:
		return "not measured"
	case len(missed) > 0:
		return "not met on " + strings.Join(missed, ", ")
	case n < all:
		return fmt.Sprintf("met on %d of %s", n, count(all, "set"))
	}
	return "met"
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func line(cells []string) string {
	escaped := slices.Clone(cells)
	for i := range escaped {
		escaped[i] = strings.ReplaceAll(escaped[i], "|", `\|`)
	}
	return "| " + strings.Join(escaped, " | ") + " |\n"
}
