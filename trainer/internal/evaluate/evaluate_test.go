package evaluate_test

import (
	"math"
	"reflect"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
)

func TestThreshold(t *testing.T) {
	answers := []evaluate.Answer{
		{Class: 0, Probabilities: []float32{0.75, 0.25}},
		{Class: 0, Probabilities: []float32{0.5, 0.5}},
		{Class: 1, Probabilities: []float32{0.875, 0.125}},
		{Class: 1, Probabilities: []float32{0.375, 0.625}},
	}
	for at, want := range map[float64]runspec.Threshold{
		0.5:   {Probability: 0.5, Coverage: 1, Accuracy: 0.75},
		0.625: {Probability: 0.625, Coverage: 0.75, Accuracy: 2.0 / 3},
		0.63:  {Probability: 0.63, Coverage: 0.5, Accuracy: 0.5},
		0.9:   {Probability: 0.9},
	} {
		if got := evaluate.Threshold(at, answers); got == nil || *got != want {
			t.Errorf("at %v: %+v, want %+v", at, got, want)
		}
	}
	if got := evaluate.Threshold(0, answers); got != nil {
		t.Errorf("without one: %+v", *got)
	}
}

func TestOf(t *testing.T) {
	labels := []string{"ant", "bee", "cat", "dog"}
	report := evaluate.Of("test", labels, []evaluate.Answer{
		{Path: "1", Class: 0, Probabilities: []float32{0.7, 0.1, 0.1, 0.1}},
		{Path: "2", Class: 0, Probabilities: []float32{0.2, 0.5, 0.2, 0.1}},
		{Path: "3", Class: 1, Probabilities: []float32{0, 1, 0, 0}},
		{Path: "4", Class: 2, Probabilities: []float32{0.25, 0.5, 0.05, 0.2}},
		{Path: "5", Class: 0, Probabilities: []float32{0.09, 0.9, 0.01, 0}},
	})
	near := func(name string, got runspec.Float, want float64) {
		t.Helper()
		if math.Abs(float64(got)-want) > 1e-6 {
			t.Errorf("%s is %v instead of %v", name, got, want)
		}
	}
	near("accuracy", report.Accuracy, 2.0/5)
	near("top3", report.Top3, 4.0/5)
	near("loss", report.Loss, -(math.Log(0.7)+math.Log(0.2)+0+math.Log(0.05)+math.Log(0.09))/5)
	// Bins: .7 right; .5, .5 both wrong; 1 right; .9 wrong.
	near("ece", report.ECE, (0.3+1.0+0+0.9)/5)
	// ant: precision 1, recall 1/3; bee: precision 1/4, recall 1; cat: none; dog does not occur.
	near("macro F1", report.MacroF1, (0.5+0.4+0)/3)
	near("precision of bee", report.Classes[1].Precision, 0.25)
	near("recall of ant", report.Classes[0].Recall, 1.0/3)
	if want := []runspec.Cell{{Actual: 0, Predicted: 0, Count: 1}, {Actual: 0, Predicted: 1, Count: 2}, {Actual: 1, Predicted: 1, Count: 1}, {Actual: 2, Predicted: 1, Count: 1}}; !reflect.DeepEqual(report.Confusion, want) {
		t.Errorf("confusion is %v instead of %v", report.Confusion, want)
	}
	if want := (runspec.Confused{Actual: "ant", Predicted: "bee", Count: 2}); report.Confused[0] != want || len(report.Confused) != 2 {
		t.Errorf("most confused are %v", report.Confused)
	}
	if report.Worst[0].Path != "5" || len(report.Worst) != 3 || report.Worst[1].Path != "2" {
		t.Errorf("worst are %+v", report.Worst)
	}
}

func TestNoProbabilityForTheTruth(t *testing.T) {
	report := evaluate.Of("test", []string{"a", "b"}, []evaluate.Answer{{Class: 1, Probabilities: []float32{1, 0}}})
	if math.IsInf(float64(report.Loss), 0) || math.IsNaN(float64(report.Loss)) {
		t.Errorf("loss is %v", report.Loss)
	}
}
