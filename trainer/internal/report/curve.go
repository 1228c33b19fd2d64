package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// chart is a curve over the epochs, ready to be drawn: positions are in the units of its view box.
type chart struct {
	Title, Says  string // Says is the whole of it in a sentence
	Width        int
	Height       int
	Left, Bottom float64 // where the axes meet
	Right, Top   float64
	YTicks       []tick
	XTicks       []tick
	Train, Val   string  // points of a path
	Divide       float64 // where fine-tuning begins; 0: there is none
	DivideEnd    bool    // its word ends there rather than beginning
	Best         *point
}

type tick struct {
	At   float64
	Text string
}

type point struct {
	X, Y float64
	Text string
}

const (
	chartWidth, chartHeight = 420, 218
	chartLeft, chartRight   = 44, 408
	chartTop, chartBottom   = 24, 190
	chartTicks              = 5
	wordWidth               = 80  // of "fine-tuning"
	mostDrawn               = 400 // points of a curve: more than a screen has room for
)

// charts are those of accuracy and loss; none of a run without epochs.
func charts(epochs []runspec.Epoch, best int) []chart {
	if len(epochs) == 0 {
		return nil
	}
	accuracy := newChart("Accuracy", epochs, best, true, func(e runspec.Epoch) (float64, float64) { return float64(e.TrainAccuracy), float64(e.ValAccuracy) })
	loss := newChart("Loss", epochs, best, false, func(e runspec.Epoch) (float64, float64) { return float64(e.TrainLoss), float64(e.ValLoss) })
	return []chart{accuracy, loss}
}

func newChart(title string, epochs []runspec.Epoch, best int, share bool, values func(runspec.Epoch) (train, val float64)) chart {
	c := chart{Title: title, Width: chartWidth, Height: chartHeight, Left: chartLeft, Right: chartRight, Top: chartTop, Bottom: chartBottom}
	low, high := math.Inf(1), math.Inf(-1)
	for _, e := range epochs {
		train, val := values(e)
		for _, v := range []float64{train, val} {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if low > high { // not one number
		low, high = 0, 1
	}
	low, high, step := rounded(low, high, share)
	y := func(v float64) float64 { return chartBottom - (v-low)/(high-low)*(chartBottom-chartTop) }
	last := max(epochs[len(epochs)-1].Epoch, 2)
	x := func(epoch int) float64 {
		return chartLeft + float64(epoch-1)/float64(last-1)*(chartRight-chartLeft)
	}
	show := func(v float64) string {
		if share {
			return strconv.FormatFloat(100*v, 'f', -1, 64) + " %"
		}
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	for i := 0; low+float64(i)*step <= high+step/1e6; i++ {
		v := math.Round((low+float64(i)*step)/step) * step
		c.YTicks = append(c.YTicks, tick{y(v), show(math.Round(v*1e6) / 1e6)})
	}
	for e := 0; e <= last; e += epochStep(last) {
		c.XTicks = append(c.XTicks, tick{x(max(1, e)), strconv.Itoa(max(1, e))})
	}
	var train, val track
	every := (len(epochs) + mostDrawn - 1) / mostDrawn
	for i, e := range epochs {
		if i > 0 && e.Phase != epochs[i-1].Phase {
			c.Divide = (x(e.Epoch) + x(epochs[i-1].Epoch)) / 2
			c.DivideEnd = c.Divide > chartRight-wordWidth
			train.lift()
			val.lift()
		}
		t, v := values(e)
		if i%every == 0 || e.Epoch == best || i == len(epochs)-1 {
			train.to(x(e.Epoch), t, y)
			val.to(x(e.Epoch), v, y)
		}
		if e.Epoch == best && !math.IsNaN(v) && !math.IsInf(v, 0) {
			c.Best = &point{x(e.Epoch), y(v), fmt.Sprintf("Kept: epoch %d", best)}
		}
	}
	c.Train, c.Val = train.String(), val.String()
	_, first := values(epochs[0])
	_, final := values(epochs[len(epochs)-1])
	c.Says = fmt.Sprintf("%s on the validation photos over %s: %.3f at first, %.3f at the end.", title, some(len(epochs), "epoch", "epochs"), first, final)
	return c
}

// rounded widens a range to whole steps of a round size.
func rounded(low, high float64, share bool) (from, to, step float64) {
	span := max(high-low, 1e-3)
	step = math.Pow(10, math.Floor(math.Log10(span/chartTicks)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if span/(step*factor) <= chartTicks {
			step *= factor
			break
		}
	}
	from, to = math.Floor(low/step)*step, math.Ceil(high/step)*step
	if share {
		to = min(to, math.Max(1, high))
	}
	if to <= from {
		to = from + step
	}
	return from, to, step
}

// epochStep is how far apart numbered epochs stand.
func epochStep(last int) int {
	step := 1
	for _, factor := range []int{2, 5, 10, 20, 50, 100, 200, 500} {
		if last/step <= 8 {
			break
		}
		step = factor
	}
	return step
}

// track is the data of an SVG path that is broken where a value is no number.
type track struct {
	strings.Builder
	drawing bool
}

func (t *track) lift() { t.drawing = false }

func (t *track) to(x, v float64, y func(float64) float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		t.lift()
		return
	}
	command := "L"
	if !t.drawing {
		command = "M"
	}
	fmt.Fprintf(t, "%s%.1f %.1f", command, x, y(v))
	t.drawing = true
}
