// Package curves writes what a training measured after each epoch in the forms that other programs read.
package curves

import (
	"cmp"
	"encoding/csv"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Point is an epoch with the moment it ended.
type Point struct {
	Time time.Time
	runspec.Epoch
}

// Settled puts points in the order of their epochs. Of an epoch that a later attempt did again, its word counts.
func Settled(points []Point) []Point {
	type key struct {
		phase string
		epoch int
	}
	last := map[key]Point{}
	for _, p := range points {
		k := key{p.Phase, p.Epoch.Epoch}
		if before, ok := last[k]; !ok || p.Attempt >= before.Attempt {
			last[k] = p
		}
	}
	out := make([]Point, 0, len(last))
	for _, p := range last {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Point) int {
		return cmp.Or(cmp.Compare(a.Epoch.Epoch, b.Epoch.Epoch), cmp.Compare(a.Phase, b.Phase))
	})
	return out
}

// curve is one of the numbers of an epoch: its column of a table, and what TensorBoard calls it.
type curve struct {
	column, tag string
	of          func(runspec.Epoch) runspec.Float
}

func all() []curve {
	return []curve{
		{"train_loss", "loss/train", func(e runspec.Epoch) runspec.Float { return e.TrainLoss }},
		{"train_accuracy", "accuracy/train", func(e runspec.Epoch) runspec.Float { return e.TrainAccuracy }},
		{"val_loss", "loss/validation", func(e runspec.Epoch) runspec.Float { return e.ValLoss }},
		{"val_accuracy", "accuracy/validation", func(e runspec.Epoch) runspec.Float { return e.ValAccuracy }},
		{"learning_rate", "learning_rate", func(e runspec.Epoch) runspec.Float { return e.LearningRate }},
		{"seconds", "", func(e runspec.Epoch) runspec.Float { return e.Seconds }},
		{"images_per_second", "images_per_second", func(e runspec.Epoch) runspec.Float { return e.ImagesPerSecond }},
	}
}

// WriteCSV writes a table with a line for each point, below a line of names. What is not a number is an empty cell.
func WriteCSV(w io.Writer, points []Point) error {
	table := csv.NewWriter(w)
	names := []string{"time", "attempt", "phase", "epoch"}
	for _, c := range all() {
		names = append(names, c.column)
	}
	if err := table.Write(names); err != nil {
		return err
	}
	for _, p := range points {
		line := []string{p.Time.UTC().Format(time.RFC3339Nano), strconv.Itoa(p.Attempt), p.Phase, strconv.Itoa(p.Epoch.Epoch)}
		for _, c := range all() {
			cell := ""
			if v := float64(c.of(p.Epoch)); !math.IsNaN(v) && !math.IsInf(v, 0) {
				cell = strconv.FormatFloat(v, 'g', -1, 64)
			}
			line = append(line, cell)
		}
		if err := table.Write(line); err != nil {
			return err
		}
	}
	table.Flush()
	return table.Error()
}
