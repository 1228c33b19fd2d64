package report

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func epochs(phases []string, losses ...float64) []runspec.Epoch {
	var all []runspec.Epoch
	for i, v := range losses {
		phase := runspec.PhaseHead
		if i < len(phases) {
			phase = phases[i]
		}
		all = append(all, runspec.Epoch{Phase: phase, Epoch: i + 1, TrainLoss: runspec.Float(v / 2), ValLoss: runspec.Float(v), ValAccuracy: runspec.Float(1 - v/10)})
	}
	return all
}

func TestLossChart(t *testing.T) {
	nan := math.NaN()
	for name, c := range map[string]struct {
		epochs []runspec.Epoch
		best   int
		val    string // of the path; the axes span 44…408 and 190…24
		divide string
		keeps  string
	}{
		"one epoch":           {epochs(nil, 1), 1, "M44.0 24.0", "", "Kept: epoch 1 at 44,24"},
		"falls to a half":     {epochs(nil, 2, 1.5, 1), 3, "M44.0 24.0L226.0 79.3L408.0 134.7", "", "Kept: epoch 3 at 408,135"},
		"broken by a NaN":     {epochs(nil, 2, nan, 1), 3, "M44.0 24.0M408.0 134.7", "", "Kept: epoch 3 at 408,135"},
		"the best is a NaN":   {epochs(nil, 2, nan, 1), 2, "M44.0 24.0M408.0 134.7", "", ""},
		"nothing but NaN":     {epochs(nil, nan, nan), 1, "", "", ""},
		"fine-tuning follows": {epochs([]string{"head", "finetune", "finetune"}, 2, 1.5, 1), 3, "M44.0 24.0M226.0 79.3L408.0 134.7", "135", "Kept: epoch 3 at 408,135"},
	} {
		t.Run(name, func(t *testing.T) {
			got := charts(c.epochs, c.best)[1]
			divide, keeps := "", ""
			if got.Divide != 0 {
				divide = fmt.Sprintf("%.0f", got.Divide)
			}
			if got.Best != nil {
				keeps = fmt.Sprintf("%s at %.0f,%.0f", got.Best.Text, got.Best.X, got.Best.Y)
			}
			if got.Val != c.val || divide != c.divide || keeps != c.keeps {
				t.Errorf("path %q, divided at %q, %q", got.Val, divide, keeps)
			}
		})
	}
	if charts(nil, 0) != nil {
		t.Error("there is a chart of no epochs")
	}
}

func TestChartsHaveRoundTicks(t *testing.T) {
	e := epochs(nil, 0.7, 0.4, 0.31)
	var said []string
	for _, c := range charts(e, 3) {
		var ticks []string
		for _, k := range c.YTicks {
			if k.At < chartTop-0.01 || k.At > chartBottom+0.01 {
				t.Errorf("%s is at %v", k.Text, k.At)
			}
			ticks = append(ticks, k.Text)
		}
		said = append(said, strings.Join(ticks, " "))
	}
	if want := []string{"0 % 20 % 40 % 60 % 80 % 100 %", "0 0.2 0.4 0.6 0.8"}; said[0] != want[0] || said[1] != want[1] {
		t.Errorf("%q, want %q", said, want)
	}
	long := make([]float64, 5000)
	c := charts(epochs(nil, long...), 4999)[1]
	if n := strings.Count(c.Val, "L"); n > mostDrawn+2 || !strings.Contains(c.Val, "L407.9 ") {
		t.Errorf("5,000 epochs are drawn by %d points, and the best must be among them", n)
	}
	if len(c.XTicks) > 12 {
		t.Errorf("%d numbers below", len(c.XTicks))
	}
}

func TestSettings(t *testing.T) {
	asked := runspec.Default(runspec.Quick)
	asked.Epochs, asked.Exports = 1, []string{"h5", "onnx"}
	used := asked
	used.L2, used.Base, used.ClassWeights = 0.01, "mobilenet_v2", "balanced"
	got := map[string]string{}
	for _, s := range settings(asked, used) {
		got[s.Title] = s.Value + ", " + s.From
	}
	for title, want := range map[string]string{
		"L2 regularisation": "0.01, chosen at the start", "Base model": "mobilenet_v2, chosen at the start", "Epochs": "1 epoch, set by hand",
		"Files to make": "h5, onnx, set by hand", "Class weights": "balanced, chosen at the start", "Patience": "12 epochs, preset",
		"Fine-tuning": "none, preset", "Preset": "quick, set by hand",
	} {
		if got[title] != want {
			t.Errorf("%s: %q, want %q", title, got[title], want)
		}
	}
	for _, without := range []string{"Mixup", "Fine-tune from", "Dropout"} {
		if _, ok := got[without]; ok {
			t.Errorf("%s is told, but had no effect", without)
		}
	}
	used.FinetuneEpochs, used.Head = 8, "dense"
	told := map[string]bool{}
	for _, s := range settings(used, used) {
		told[s.Title] = true
	}
	if !told["Mixup"] || !told["Dropout"] {
		t.Errorf("settings with an effect are left out: %v", told)
	}
}

func TestAdvice(t *testing.T) {
	classes := func(counts ...int) []Class {
		var all []Class
		for i, n := range counts {
			all = append(all, Class{Name: string(rune('a' + i)), Train: n})
		}
		return all
	}
	confused := func(all ...runspec.Confused) runspec.Report {
		return runspec.Report{Evaluation: runspec.Evaluation{Split: "test", Images: 500, Confused: all}}
	}
	for name, c := range map[string]struct {
		run  Run
		want string
	}{
		"nothing to say":   {Run{Report: confused(), Dataset: Dataset{Classes: classes(50, 60)}}, ""},
		"confused once":    {Run{Report: confused(runspec.Confused{Actual: "a", Predicted: "b", Count: 1})}, ""},
		"confused":         {Run{Report: confused(runspec.Confused{Actual: "a", Predicted: "b", Count: 9}, runspec.Confused{Actual: "b", Predicted: "a", Count: 4})}, "confused a b 9 4"},
		"few of a class":   {Run{Report: confused(), Dataset: Dataset{Classes: classes(90, 29)}}, "few b 29"},
		"not so few":       {Run{Report: confused(), Dataset: Dataset{Classes: classes(90, 30)}}, ""},
		"unread":           {Run{Report: confused(), Problems: make([]runspec.Problem, 3)}, "unread 3"},
		"no test":          {Run{Report: runspec.Report{Evaluation: runspec.Evaluation{Split: "validation", Images: 9}}}, "untested"},
		"few to test with": {Run{Report: runspec.Report{Evaluation: runspec.Evaluation{Split: "test", Images: 99}}}, "small 99"},
		"likely mislabelled": {Run{Report: runspec.Report{Evaluation: runspec.Evaluation{Split: "test", Images: 100}, Mislabelled: make([]runspec.Mislabelled, 2)}},
			"mislabelled 2"},
	} {
		t.Run(name, func(t *testing.T) {
			var said []string
			for _, a := range advise(c.run) {
				words := []string{a.Kind, a.Actual, a.Predicted, a.Class}
				for _, n := range []int{a.Times, a.Backwards, a.N} {
					if n != 0 {
						words = append(words, fmt.Sprint(n))
					}
				}
				said = append(said, strings.Join(strings.Fields(strings.Join(words, " ")), " "))
			}
			if got := strings.Join(said, "; "); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
