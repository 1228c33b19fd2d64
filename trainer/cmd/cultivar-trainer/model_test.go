package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// answered is a line of predict --json, of either kind.
type answered struct {
	prediction
	outcome
}

// call runs a command line and returns what it printed.
func call(t *testing.T, in io.Reader, args ...string) string {
	t.Helper()
	c := command()
	var out bytes.Buffer
	c.SetIn(in)
	c.SetOut(&out)
	c.SetArgs(args)
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return out.String()
}

// predicted are the lines of predict --json.
func predicted(t *testing.T, in io.Reader, args ...string) []answered {
	t.Helper()
	var lines []answered
	for line := range strings.Lines(call(t, in, append([]string{"predict", "--json"}, args...)...)) {
		var a answered
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		lines = append(lines, a)
	}
	return lines
}

// trained is a model of a few real photos, which are not square, cut to their middle; with the folder of those photos.
func trained(t *testing.T) (network.Model, string) {
	t.Helper()
	const base = "efficientnet_lite0"
	photos, few := tasktest.Data(t, "trashnet"), t.TempDir()
	classes, err := os.ReadDir(photos)
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range classes {
		for i := 1; i <= 14; i++ {
			name := filepath.Join(class.Name(), fmt.Sprintf("%s%d.jpg", class.Name(), i))
			content, err := os.ReadFile(filepath.Join(photos, name))
			if err != nil {
				continue // not everyone has all numbers
			}
			if err := os.MkdirAll(filepath.Join(few, class.Name()), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(few, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	spec := tasktest.Train(t, t.TempDir(), few, 0)
	spec.Paths.Bases, spec.Recipe.Base = tasktest.Bases(t, base), base
	spec.Recipe.Preprocessing, spec.Recipe.Exports = "crop", []string{"h5"}
	if _, err := attempt.Run(t.Context(), spec, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(spec.Paths.Attempt, "*", runspec.ArtifactsDir, "model.h5"))
	if err != nil || len(files) != 1 {
		t.Fatalf("models %q, %v", files, err)
	}
	m, err := keras.Read(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if !m.Usage.Crop || m.Usage.Threshold <= 1/float64(len(m.Labels)) || m.Usage.Threshold > 1 {
		t.Fatalf("usage %+v", m.Usage)
	}
	return m, few
}

// Every format answers alike for a folder, for standard input and when it is evaluated, and knows by itself how photos are to
// be prepared and from when on it is sure.
func TestModelsOfEveryFormat(t *testing.T) {
	m, photos := trained(t)
	m.Usage.Threshold = 0.9 // so that there are photos on both sides
	dir := t.TempDir()
	var pixels iter.Seq2[[]float32, error] = func(yield func([]float32, error) bool) {
		yield(exporttest.Photos(t, 20, m.Network.Size), nil)
	}
	want := map[string]answered{}
	for _, f := range export.Formats() { // .h5 comes first
		t.Run(string(f), func(t *testing.T) {
			o := export.Options{Calibrate: pixels}
			if f == export.Page {
				o.Bundle = exporttest.Tool(t, "fetch TensorFlow.js with trainer/setup/tfjs.sh", ".deps/tfjs/tf.min.js")
			}
			a, err := export.Write(dir, f, m, o)
			if err != nil {
				t.Fatal(err)
			}
			model := filepath.Join(dir, a.Path)
			lines := predicted(t, nil, "--model", model, photos)
			last, lines := lines[len(lines)-1], lines[:len(lines)-1]
			right, unsure, differ := 0, 0, 0
			for _, l := range lines {
				top := l.Top[0]
				if below := float64(top.Probability) < m.Usage.Threshold; below != l.Unsure || l.Actual != filepath.Base(filepath.Dir(l.Path)) {
					t.Errorf("%+v with the threshold %g", l, m.Usage.Threshold)
				}
				if top.Label == l.Actual {
					right++
				}
				if l.Unsure {
					unsure++
				}
				if f == export.H5 {
					want[l.Path] = l
				} else if top.Label != want[l.Path].Top[0].Label {
					differ++
				}
			}
			if n := len(lines); last.Images != n || n < 60 || float64(last.Accuracy) != float64(right)/float64(n) || last.Threshold == nil ||
				float64(last.Threshold.Coverage) != float64(n-unsure)/float64(n) || unsure == 0 || unsure == n {
				t.Errorf("%d lines, %d right, %d unsure: %+v", n, right, unsure, last)
			}
			if differ > 0 && f != export.TFLiteInt8 || differ > len(lines)/5 {
				t.Errorf("%d of %d are named otherwise than by the .h5", differ, len(lines))
			}
			agree(t, model, photos, lines, last.outcome)
		})
	}
}

// agree compares standard input, evaluate and the ways to prepare photos with the lines of predict and their outcome.
func agree(t *testing.T, model, photos string, lines []answered, o outcome) {
	t.Helper()
	content, err := os.ReadFile(lines[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	sent := predicted(t, bytes.NewReader(content), "--model", model, "-")
	if len(sent) != 1 || sent[0].Path != "-" || sent[0].Unsure != lines[0].Unsure || !near(sent[0].Top, lines[0].Top) {
		t.Errorf("from standard input %+v, from the file %+v", sent, lines[0])
	}
	for fit, same := range map[string]bool{"crop": true, "stretch": false} {
		if got := predicted(t, nil, "--model", model, "--preprocessing", fit, lines[0].Path)[0].Top; near(got, lines[0].Top) != same {
			t.Errorf("with %s %+v, without %+v", fit, got, lines[0].Top)
		}
	}
	var report runspec.Report
	if err := json.Unmarshal([]byte(call(t, nil, "evaluate", "--json", "--model", model, "--images", photos)), &report); err != nil {
		t.Fatal(err)
	}
	if report.Accuracy != o.Accuracy || report.Threshold == nil || *report.Threshold != *o.Threshold {
		t.Errorf("evaluated %v %+v, predicted %+v", report.Accuracy, report.Threshold, o)
	}
}

// near tells whether answers are the same but for the rounding that the size of a batch makes.
func near(a, b []runspec.Score) bool {
	return slices.EqualFunc(a, b, func(a, b runspec.Score) bool {
		d := a.Probability - b.Probability
		return a.Label == b.Label && d < 1e-3 && d > -1e-3
	})
}

func TestPredictInWords(t *testing.T) {
	m, photos := trained(t)
	m.Usage.Threshold = 1
	dir := t.TempDir()
	a, err := export.Write(dir, export.H5, m, export.Options{})
	if err != nil {
		t.Fatal(err)
	}
	model := filepath.Join(dir, a.Path)
	if text := call(t, nil, "predict", "--model", model, "--top", "2", photos); !strings.Contains(text, ".jpg: unsure; ") ||
		!strings.Contains(text, " %\n\naccuracy ") || !strings.Contains(text, "\nunsure of ") {
		t.Errorf("it says\n%s", text)
	}
	if text := call(t, nil, "evaluate", "--model", model, "--images", photos); !strings.Contains(text, "\nunsure of ") || !strings.Contains(text, "precision") {
		t.Errorf("it says\n%s", text)
	}
	// A folder that is no class: nobody knows what is right.
	if err := os.Mkdir(filepath.Join(photos, "unsorted"), 0o755); err != nil {
		t.Fatal(err)
	}
	if text := call(t, nil, "predict", "--model", model, photos); strings.Contains(text, "accuracy") {
		t.Errorf("it says\n%s", text)
	}
}
