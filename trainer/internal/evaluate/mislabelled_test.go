package evaluate_test

import (
	"reflect"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/evaluate"
)

func TestMislabelled(t *testing.T) {
	answers := []evaluate.Answer{
		// Of ants .64 is expected on average, of bees .61.
		{Path: "ant", Class: 0, Probabilities: []float32{0.9, 0.1, 0}},
		{Path: "bee among ants", SHA256: "1", Class: 0, Probabilities: []float32{0.25, 0.75, 0}},
		{Path: "odd ant", Class: 0, Probabilities: []float32{0.4, 0.6, 0}}, // a mistake, but no confident one
		{Path: "ants", Class: 0, Probabilities: []float32{1, 0, 0}},
		{Path: "bee", Class: 1, Probabilities: []float32{0.3, 0.7, 0}},
		{Path: "bees", Class: 1, Probabilities: []float32{0, 1, 0}},
		{Path: "ant among bees", SHA256: "2", Class: 1, Probabilities: []float32{0.875, 0.125, 0}},
	}
	got := evaluate.Mislabelled([]string{"ant", "bee", "cat"}, answers)
	want := []runspec.Mislabelled{
		{Path: "ant among bees", SHA256: "2", Given: "bee", Suggested: "ant", GivenProbability: 0.125, SuggestedProbability: 0.875},
		{Path: "bee among ants", SHA256: "1", Given: "ant", Suggested: "bee", GivenProbability: 0.25, SuggestedProbability: 0.75},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := evaluate.Mislabelled([]string{"ant", "bee", "cat"}, answers[3:6]); len(got) > 0 {
		t.Errorf("of images that are all told right %+v are doubted", got)
	}
	if got := evaluate.Mislabelled([]string{"ant"}, nil); len(got) > 0 {
		t.Errorf("of none %+v", got)
	}
}
