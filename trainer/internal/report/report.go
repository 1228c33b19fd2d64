// Package report writes what a person takes home beside the model: a page that shows how good it is and where it errs,
// a model card, and samples of its use. It measures and computes nothing of its own, and equal runs give equal files.
//
// Names of classes and photos are other people's: on the page and in the Markdown they are text, whatever they contain.
package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
)

// Run is a finished run, as far as its reports tell of it.
type Run struct {
	Task      string        // id of the run
	Version   string        // of the program
	Ended     time.Time     // when the model was ready
	Took      time.Duration // 0: in several attempts, and nobody knows
	Report    runspec.Report
	Epochs    []runspec.Epoch // of all phases, in their order, each once
	BestEpoch int             // the one that is kept
	Tuned     bool            // what is kept was fine-tuned
	Asked     runspec.Recipe  // as it was given, with automatic values
	Used      runspec.Recipe  // with every automatic value resolved
	Dataset   Dataset
	Base      bases.Entry
	Models    []runspec.Artifact // the files that are models
	Problems  []runspec.Problem
	Warnings  []string
	Pictures  map[string]Picture // of photos, by their SHA-256; those of Shown, as far as they can be read
}

// Dataset is what the run was trained and measured on, after the user's edits.
type Dataset struct {
	Digest     string
	Classes    []Class // in label order
	Excluded   int     // photos that the user left out
	Relabelled int     // photos that the user gave another class
	Formats    map[manifest.Format]int
	Sizes      [2]int // the median photo's width and height, pixels
}

// Class counts the photos of a class on each side of the split.
type Class struct {
	Name               string
	Train, Valid, Test int
}

// Photos is how many there are of the class.
func (c Class) Photos() int { return c.Train + c.Valid + c.Test }

// sum adds up the classes.
func (d Dataset) sum() Class {
	var all Class
	for _, c := range d.Classes {
		all.Train, all.Valid, all.Test = all.Train+c.Train, all.Valid+c.Valid, all.Test+c.Test
	}
	return all
}

// shownPhotos is how many mistakes, and how many photos that are likely mislabelled, are shown as pictures.
const shownPhotos = 24

// Shown are the photos that the page shows as pictures: the worst mistakes, and those that are likely mislabelled.
func Shown(r runspec.Report) ([]runspec.Mistake, []runspec.Mislabelled) {
	return r.Mistakes[:min(shownPhotos, len(r.Mistakes))], r.Mislabelled[:min(shownPhotos, len(r.Mislabelled))]
}

// Wilson is the interval in which the true share lies with 95 % confidence, when a part of n was counted (Wilson 1927): unlike
// the normal approximation it stays within 0…1 and holds for shares near 1, which is where classifiers are.
func Wilson(part, n int) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	const z = 1.959964
	p, m := float64(part)/float64(n), float64(n)
	centre := (p + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return max(0, centre-half), min(1, centre+half)
}

// right is how many photos of the evaluation the model got right.
func (r Run) right() int {
	return int(math.Round(float64(r.Report.Accuracy) * float64(r.Report.Images)))
}

// Whole tells whether all of the base model was trained on.
func (r Run) Whole() bool { return r.Tuned && r.Used.Cut == runspec.NoCut }

// unseen says which photos the model was measured on.
func (r Run) unseen() string {
	if r.Report.Split == "test" {
		return "photos it had never seen"
	}
	return "photos held back to choose the best epoch"
}

const (
	longestName = 60 // of a class, in columns; whole names are in labels.txt
	longestPath = 90
)

func name(s string) string { return safe.Text(s).Cut(longestName).String() }

func path(s string) string { return safe.Text(s).CutStart(longestPath).String() }

// percent is a share of 0…1 with one decimal.
func percent[T ~float64](share T) string {
	if math.IsNaN(float64(share)) || math.IsInf(float64(share), 0) {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(share))
}

// count groups the digits of a number by thousands.
func count(n int) string {
	text := strconv.Itoa(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// some is a number of things.
func some(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

func ms(v runspec.Float) string { return fmt.Sprintf("%.1f", float64(v)) }

func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

func took(d time.Duration) string {
	if d < time.Minute {
		return some(int(math.Round(d.Seconds())), "second", "seconds")
	}
	minutes := int(d.Round(time.Minute) / time.Minute)
	if minutes < 60 {
		return some(minutes, "minute", "minutes")
	}
	return strings.TrimSuffix(fmt.Sprintf("%s %d min", some(minutes/60, "hour", "hours"), minutes%60), " 0 min")
}

// models are the run's files of any of the formats, in that order.
func (r Run) models(formats ...export.Format) []string {
	var names []string
	for _, f := range formats {
		for _, a := range r.Models {
			if a.Format == string(f) {
				names = append(names, a.Name)
			}
		}
	}
	return names
}
