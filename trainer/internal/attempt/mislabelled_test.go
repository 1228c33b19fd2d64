package attempt_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

// report is the evaluation.json of a training.
func report(t *testing.T, dir string) runspec.Report {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, runspec.ArtifactsDir, runspec.EvaluationFile))
	if err != nil {
		t.Fatal(err)
	}
	var r runspec.Report
	if err := json.Unmarshal(content, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// One label in twenty is wrong: most of those are found, on all sides of the split, and most of what is found is wrong.
func TestWrongLabelsAreFound(t *testing.T) {
	for _, c := range []struct {
		set               string
		perClass          int
		recall, precision float64
	}{{"sign-digits", 60, 0.7, 0.7}, {"trashnet", 0, 0.7, 0.6}, {"grocery-produce24", 0, 0.7, 0.7}} {
		t.Run(c.set, func(t *testing.T) {
			if testing.Short() && c.perClass == 0 {
				t.Skip("takes half a minute")
			}
			spec := tasktest.Train(t, t.TempDir(), tasktest.Data(t, c.set), c.perClass)
			spec.Paths.Bases, spec.Recipe.Base = tasktest.Bases(t, base), base
			right := map[string]string{}
			for i, im := range tasktest.Manifest(t, spec).Images {
				if i%20 == 7 {
					right[im.SHA256] = im.Class
					at := slices.Index(spec.Dataset.Classes, im.Class) + 1 + i%(len(spec.Dataset.Classes)-1)
					wrong := spec.Dataset.Classes[at%len(spec.Dataset.Classes)]
					spec.Dataset.Relabel = append(spec.Dataset.Relabel, runspec.Edit{SHA256: im.SHA256, Class: wrong})
				}
			}
			if _, err := attempt.Run(t.Context(), spec, attempt.Options{}); err != nil {
				t.Fatal(err)
			}
			listed := report(t, folder(t, spec)).Mislabelled
			found, named := 0, 0
			for i, m := range listed {
				if m.Path == "" || m.Given == m.Suggested || m.GivenProbability >= m.SuggestedProbability {
					t.Errorf("number %d is %+v", i, m)
				}
				class, wrong := right[m.SHA256]
				if wrong {
					found++
				}
				if wrong && m.Suggested == class {
					named++
				}
			}
			recall, precision := float64(found)/float64(len(right)), float64(found)/float64(max(1, len(listed)))
			t.Logf("of %d wrong labels %.2f are found, %d with the right class; of %d that are listed %.2f are wrong", len(right), recall, named, len(listed), precision)
			if recall < c.recall || precision < c.precision || named < found*9/10 {
				t.Errorf("recall %.2f, precision %.2f, %d of %d named rightly", recall, precision, named, found)
			}
		})
	}
}
