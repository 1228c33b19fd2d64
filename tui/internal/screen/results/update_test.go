package results

import (
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// d saves the first file: it must be a model, also where its accuracy was not measured because only a part of the photos was.
func TestModelsFirst(t *testing.T) {
	agreement := runspec.Float(1)
	var names []string
	for _, f := range modelsFirst([]runspec.Artifact{
		{Name: "evaluation.json", Format: "evaluation"}, {Name: "split.jsonl", Format: "split"}, {Name: "labels.txt", Format: "labels"},
		{Name: "model.h5", Format: "h5", Agreement: &agreement}, {Name: "model.onnx", Format: "onnx", Agreement: &agreement},
		{Name: "report.html", Format: "report"}, {Name: "model-card.md", Format: "card"}, {Name: "usage.md", Format: "usage"},
	}) {
		names = append(names, f.Name)
	}
	want := []string{"model.h5", "model.onnx", "labels.txt", "report.html", "usage.md", "model-card.md", "evaluation.json", "split.jsonl"}
	if !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}
