package attempt_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
	"github.com/cultivar-ml/cultivar/trainer/internal/weights"
)

// taughtBy makes spec one that learns from the run of another.
func taughtBy(t *testing.T, spec, other runspec.Spec) runspec.Spec {
	t.Helper()
	dir := folder(t, other)
	spec.Recipe.Teacher, spec.Recipe.TeacherTemperature, spec.Recipe.TeacherWeight = "other", 4, 1
	spec.Teacher = &runspec.Teacher{Run: "other", Model: filepath.Join(dir, runspec.ArtifactsDir, "model.h5"), Digest: other.Dataset.Digest, Recipe: other.Recipe}
	if _, err := os.Stat(filepath.Join(dir, runspec.UnrefitFile)); err == nil {
		spec.Teacher.Unrefit = filepath.Join(dir, runspec.UnrefitFile)
	}
	return spec
}

func warnings(t *testing.T, spec runspec.Spec) (texts []string) {
	t.Helper()
	for _, l := range bodies[runspec.Log](tasktest.Records(t, folder(t, spec))) {
		if l.Level == "warning" {
			texts = append(texts, l.Text)
		}
	}
	return texts
}

// TestDistill has a student learn from a teacher's answers alone, with the classes in another order.
func TestDistill(t *testing.T) {
	first := small(t, t.TempDir(), 30)
	first.Recipe.ImageSize = 128
	if _, err := attempt.Run(t.Context(), first, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	student := taughtBy(t, again(first, "student"), first)
	student.Recipe.Features = "last"
	student.Dataset.Classes = slices.Clone(first.Dataset.Classes)
	slices.Reverse(student.Dataset.Classes)
	result, err := attempt.Run(t.Context(), student, attempt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if result.TestAccuracy == nil || *result.TestAccuracy < 0.55 {
		t.Errorf("the student: %+v", result)
	}
	if w := warnings(t, student); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
	compared := report(t, folder(t, student)).Compared
	if len(compared) != 2 {
		t.Fatalf("compared %+v", compared)
	}
	teacher, own := compared[0], compared[1]
	if teacher.Role != runspec.RoleTeacher || teacher.Run != "other" || own.Role != runspec.RoleTrained || own.Base != base || teacher.Note != "" {
		t.Errorf("compared %+v", compared)
	}
	// The teacher sees several depths, its student the last one alone.
	if teacher.Params <= own.Params || own.Bytes != 4*own.Params || own.MACs < 100e6 || own.MsPerImage <= 0 || teacher.MsPerImage <= 0 {
		t.Errorf("compared %+v", compared)
	}
	if own.Accuracy != *result.TestAccuracy || teacher.Accuracy < 0.55 {
		t.Errorf("accuracies %v and %v of %v", teacher.Accuracy, own.Accuracy, *result.TestAccuracy)
	}
	t.Run("nothing is asked twice", func(t *testing.T) {
		second := again(student, "second")
		if _, err := attempt.Run(t.Context(), second, attempt.Options{}); err != nil {
			t.Fatal(err)
		}
		for _, p := range bodies[runspec.Progress](tasktest.Records(t, folder(t, second))) {
			if p.Phase == runspec.PhaseTeacher && p.Done != p.Total {
				t.Errorf("the teacher is at %d of %d", p.Done, p.Total)
			}
		}
	})
	t.Run("another split", func(t *testing.T) {
		other := again(student, "split")
		other.Recipe.Seed = 9
		if _, err := attempt.Run(t.Context(), other, attempt.Options{}); err != nil {
			t.Fatal(err)
		}
		if w := warnings(t, other); len(w) != 1 || !strings.Contains(w[0], "another split") || report(t, folder(t, other)).Compared[0].Note == "" {
			t.Errorf("warnings %q, compared %+v", w, report(t, folder(t, other)).Compared)
		}
	})
	t.Run("what it was before counts", func(t *testing.T) {
		nothing := map[string]network.Tensor{"predictions/bias": {Shape: []int{6}, Data: []float32{9, 0, 0, 0, 0, 0}}}
		content, err := weights.Encode(nothing, nil)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), runspec.UnrefitFile)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		other := again(student, "before")
		teacher := *other.Teacher
		teacher.Unrefit = file
		other.Teacher = &teacher
		if _, err := attempt.Run(t.Context(), other, attempt.Options{}); err != nil {
			t.Fatal(err)
		}
		if compared := report(t, folder(t, other)).Compared; compared[0].Accuracy > 0.5 {
			t.Errorf("a teacher that mostly said one thing is right as often as %v", compared[0].Accuracy)
		}
	})
	t.Run("no word of what it was before", func(t *testing.T) {
		other := again(student, "refit")
		teacher := *other.Teacher
		teacher.Unrefit = ""
		other.Teacher = &teacher
		if _, err := attempt.Run(t.Context(), other, attempt.Options{}); err != nil {
			t.Fatal(err)
		}
		if w := warnings(t, other); len(w) != 1 || !strings.Contains(w[0], "validation photos too") {
			t.Errorf("warnings %q", w)
		}
	})
}

// TestUnrefit looks at what is kept of a model from before it learned from the validation photos.
func TestUnrefit(t *testing.T) {
	for name, c := range map[string]struct {
		spec  func(*testing.T) runspec.Spec
		tuned bool
	}{
		"head":  {func(t *testing.T) runspec.Spec { return small(t, t.TempDir(), 20) }, false},
		"tuned": {func(t *testing.T) runspec.Spec { return tuned(t, "block6d_add") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			spec := c.spec(t)
			if _, err := attempt.Run(t.Context(), spec, attempt.Options{}); err != nil {
				t.Fatal(err)
			}
			raw, _, err := weights.ReadSafetensors(filepath.Join(folder(t, spec), runspec.UnrefitFile))
			if err != nil {
				t.Fatal(err)
			}
			before, err := weights.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			m, err := keras.Read(filepath.Join(folder(t, spec), runspec.ArtifactsDir, "model.h5"))
			if err != nil {
				t.Fatal(err)
			}
			changed := 0
			maps.DeleteFunc(before, func(name string, _ network.Tensor) bool { return strings.HasPrefix(name, network.ClipNormName) })
			for name, array := range before {
				after, ok := m.Weights[name]
				if !ok || !slices.Equal(array.Shape, after.Shape) {
					t.Fatalf("%s has shape %v before and %v after", name, array.Shape, after.Shape)
				}
				if !slices.Equal(array.Data, after.Data) {
					changed++
				}
			}
			if changed != len(before) || (len(before) > 2) != c.tuned {
				t.Errorf("%d of %d arrays have changed", changed, len(before))
			}
		})
	}
}

// ofClass are the hashes of a class' images.
func ofClass(t *testing.T, spec runspec.Spec, class string) (hashes []string) {
	t.Helper()
	for _, im := range tasktest.Manifest(t, spec).Images {
		if im.Class == class {
			hashes = append(hashes, im.SHA256)
		}
	}
	return hashes
}

func TestTeacherIsRefused(t *testing.T) {
	first := small(t, t.TempDir(), 8)
	if _, err := attempt.Run(t.Context(), first, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*runspec.Spec)
		code   int
		want   string
	}{
		"not told":      {func(s *runspec.Spec) { s.Teacher = nil }, runspec.ExitBadSpec, "the same release"},
		"not there":     {func(s *runspec.Spec) { s.Teacher.Model = "/nowhere/model.h5" }, runspec.ExitBadData, "choose another run"},
		"no model":      {func(s *runspec.Spec) { s.Teacher.Model = s.Dataset.Manifest }, runspec.ExitBadData, "choose another run"},
		"other arrays":  {func(s *runspec.Spec) { s.Teacher.Unrefit = s.Dataset.Manifest }, runspec.ExitBadData, "choose another run"},
		"other classes": {func(s *runspec.Spec) { s.Dataset.Exclude = ofClass(t, *s, s.Dataset.Classes[0]) }, runspec.ExitBadSpec, "must have the same classes"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := taughtBy(t, again(first, strings.ReplaceAll(name, " ", "-")), first)
			c.change(&spec)
			_, err := attempt.Run(t.Context(), spec, attempt.Options{})
			var failure *attempt.Failure
			if !errors.As(err, &failure) || failure.Code != c.code || !strings.Contains(failure.Text, c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
