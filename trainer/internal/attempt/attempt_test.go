package attempt_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/pack"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

const base = "efficientnet_lite0"

// small is a training of a few real photos.
func small(t *testing.T, dir string, perClass int) runspec.Spec {
	t.Helper()
	bases := tasktest.Bases(t, base)
	spec := tasktest.Train(t, dir, tasktest.Data(t, "trashnet"), perClass)
	spec.Paths.Bases, spec.Recipe.Base = bases, base
	return spec
}

// again is another attempt or task on the same volume.
func again(spec runspec.Spec, name string) runspec.Spec {
	spec.Task = name
	spec.Paths.Attempt = filepath.Join(filepath.Dir(spec.Paths.Attempt), name)
	return spec
}

// folder is the one executor's folder of an attempt.
func folder(t *testing.T, spec runspec.Spec) string {
	t.Helper()
	entries, err := os.ReadDir(spec.Paths.Attempt)
	if err != nil || len(entries) != 1 {
		t.Fatalf("executors' folders %v, %v", entries, err)
	}
	return filepath.Join(spec.Paths.Attempt, entries[0].Name())
}

func finish(t *testing.T, dir string) runspec.Finish {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, runspec.ResultFile))
	if err != nil {
		t.Fatal(err)
	}
	var f runspec.Finish
	if err := json.Unmarshal(content, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// bodies are the records of one type.
func bodies[T any](records []runspec.Record) []T {
	var out []T
	for _, r := range records {
		if body, ok := r.Body.(T); ok {
			out = append(out, body)
		}
	}
	return out
}

func TestTrain(t *testing.T) {
	spec := small(t, t.TempDir(), 40)
	spec.Recipe.Exports = []string{"h5", "savedmodel", "tflite_int8"}
	result, err := attempt.Run(t.Context(), spec, attempt.Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if result.State != "succeeded" || result.TestAccuracy == nil || *result.TestAccuracy < 0.6 {
		t.Errorf("result is %+v", result)
	}
	dir := folder(t, spec)
	records := tasktest.Records(t, dir)
	checkStory(t, records)
	done := finish(t, dir)
	checkArtifacts(t, dir, done)
	if done.Result.Recipe == nil || done.Result.Recipe.L2 == 0 || done.Result.Recipe.LearningRate == 0 || done.Result.Recipe.Validate() != nil {
		t.Errorf("the resolved recipe is %+v", done.Result.Recipe)
	}

	checkReport(t, dir, done)
	t.Run("another seed decodes nothing", func(t *testing.T) {
		second := again(spec, "seed")
		second.Recipe.Seed, second.Recipe.Exports = 7, []string{"h5"}
		if _, err := attempt.Run(t.Context(), second, attempt.Options{}); err != nil {
			t.Fatal(err)
		}
		progress := bodies[runspec.Progress](tasktest.Records(t, folder(t, second)))
		if progress[0].Phase != runspec.PhaseFeatures || progress[0].Done != progress[0].Total {
			t.Errorf("the feature pass begins with %+v", progress[0])
		}
	})
	t.Run("the same again gives the same model", func(t *testing.T) {
		second := again(spec, "same")
		if _, err := attempt.Run(t.Context(), second, attempt.Options{Version: "test"}); err != nil {
			t.Fatal(err)
		}
		if a, b := head(t, dir), head(t, folder(t, second)); !slices.Equal(a, b) {
			t.Error("the weights differ")
		}
		if a, b := reports(t, spec, dir), reports(t, second, folder(t, second)); !slices.Equal(a, b) {
			t.Errorf("the reports differ: %s", firstDifference(a, b))
		}
	})
	t.Run("Keras answers as the trainer does", func(t *testing.T) { checkKeras(t, spec, filepath.Join(dir, "artifacts", "model.h5")) })
	t.Run("evaluate task", func(t *testing.T) {
		task := again(spec, "evaluate")
		task.Kind, task.Model = runspec.Evaluate, filepath.Join(dir, "artifacts", "model.h5")
		if _, err := attempt.Run(t.Context(), task, attempt.Options{}); err != nil {
			t.Fatal(err)
		}
		e := bodies[runspec.Evaluation](tasktest.Records(t, folder(t, task)))
		if len(e) != 1 || e[0].Images != 240 || e[0].Accuracy < 0.8 {
			t.Errorf("evaluations are %+v", e)
		}
	})
}

// head is the trained layer's kernel.
func head(t *testing.T, dir string) []float32 {
	t.Helper()
	m, err := keras.Read(filepath.Join(dir, "artifacts", "model.h5"))
	if err != nil {
		t.Fatal(err)
	}
	return m.Weights["predictions/kernel"].Data
}

func checkStory(t *testing.T, records []runspec.Record) {
	t.Helper()
	var phases []string
	for _, p := range bodies[runspec.Phase](records) {
		phases = append(phases, p.Phase)
	}
	if want := []string{"prepare", "features", "head", "evaluate", "export"}; !slices.Equal(phases, want) {
		t.Errorf("phases are %v", phases)
	}
	for i, e := range bodies[runspec.Epoch](records) {
		if e.Epoch != i+1 || e.Attempt != 1 || e.Phase != "head" {
			t.Errorf("epoch %d is %+v", i+1, e)
		}
	}
	if last := records[len(records)-1]; last.Type != runspec.TypeResult {
		t.Errorf("the last record is %+v", last)
	}
	if len(bodies[runspec.Checkpoint](records)) == 0 || len(bodies[runspec.Evaluation](records)) != 1 {
		t.Error("checkpoint or evaluation is missing")
	}
}

func checkArtifacts(t *testing.T, dir string, done runspec.Finish) {
	t.Helper()
	var names []string
	for _, a := range done.Artifacts {
		names = append(names, a.Name)
		content, err := os.ReadFile(filepath.Join(dir, runspec.ArtifactsDir, a.Name))
		if err != nil {
			t.Error(err)
			continue
		}
		if hash := sha256.Sum256(content); hex.EncodeToString(hash[:]) != a.SHA256 || int64(len(content)) != a.Bytes {
			t.Errorf("%s is not what its record says", a.Name)
		}
		if a.Format == "tflite_int8" {
			checkIntegers(t, dir, a)
		}
		if model := a.Format == "h5" || a.Format == "savedmodel"; model && (a.Agreement == nil || *a.Agreement != 1 || a.MsPerImage == nil || *a.Accuracy < 0.5) {
			t.Errorf("%s: %+v", a.Name, a)
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, runspec.ArtifactsDir))
	if err != nil || len(files) != len(names) || len(names) != 9 {
		t.Errorf("artifacts %v, files %v, %v", names, files, err)
	}
}

// What cannot be made is said before hours of training and not after.
func TestExportsAreRefusedAtTheStart(t *testing.T) {
	for format, want := range map[string]string{"html": "trainer/setup/tfjs.sh", "onxn": "onxn"} {
		spec := small(t, t.TempDir(), 4)
		spec.Recipe.Exports = []string{"h5", format}
		_, err := attempt.Run(t.Context(), spec, attempt.Options{})
		var failure *attempt.Failure
		if !errors.As(err, &failure) || failure.Code != runspec.ExitBadSpec || !strings.Contains(failure.Text, want) {
			t.Errorf("%s: %v", format, err)
		}
		if progress := bodies[runspec.Progress](tasktest.Records(t, folder(t, spec))); len(progress) > 0 {
			t.Errorf("%s: it had begun with %+v", format, progress[0])
		}
	}
}

// checkIntegers looks at how the model of integers was made: from every photo of the training side and from no other.
func checkIntegers(t *testing.T, dir string, a runspec.Artifact) {
	t.Helper()
	split, err := os.ReadFile(filepath.Join(dir, runspec.ArtifactsDir, runspec.SplitFile))
	if err != nil {
		t.Fatal(err)
	}
	if taught := strings.Count(string(split), `"train"`); taught == 0 || !strings.Contains(a.Note, fmt.Sprintf("fitted to %d training photos only", taught)) {
		t.Errorf("%d photos were for training, and the note is %q", taught, a.Note)
	}
	if a.Agreement == nil || *a.Agreement < 0.9 || a.Accuracy == nil || a.MsPerImage != nil {
		t.Errorf("%s: %+v", a.Name, a)
	}
}

// checkKeras compares a predict task's answers with Keras' own.
func checkKeras(t *testing.T, spec runspec.Spec, model string) {
	t.Helper()
	photos := tasktest.Data(t, "trashnet")
	m := &manifest.Manifest{}
	var sources []pack.Source
	var files []string
	for _, class := range spec.Dataset.Classes {
		file := filepath.Join(photos, class, class+"12.jpg")
		files = append(files, file)
		tasktest.Add(t, m, &sources, class, file)
		m.Classes = append(m.Classes, class)
	}
	task := again(spec, "predict")
	task.Kind, task.Model = runspec.Predict, model
	inputs := tasktest.Layout(t, t.TempDir(), m, sources)
	task.Inputs = filepath.Join(inputs.Paths.Packs, filepath.FromSlash(runspec.PackName(m.Images[0].Pack)))
	if _, err := attempt.Run(t.Context(), task, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	predictions := bodies[runspec.Prediction](tasktest.Records(t, folder(t, task)))
	if len(predictions) != len(files) {
		t.Fatalf("%d answers for %d photos", len(predictions), len(files))
	}
	var want [][]float64
	out := tasktest.Python(t, filepath.Join("testdata", "keras_answers.py"), append([]string{model, "224"}, files...)...)
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	for i, p := range predictions {
		if p.Index != i || p.SHA256 != sources[i].SHA256 || len(p.Top) != 5 {
			t.Errorf("answer %d is %+v", i, p)
		}
		for _, score := range p.Top {
			keras := want[i][slices.Index(spec.Dataset.Classes, score.Label)]
			if difference := float64(score.Probability) - keras; difference > 1e-4 || difference < -1e-4 {
				t.Errorf("photo %d, %s: %v, Keras says %v", i, score.Label, score.Probability, keras)
			}
		}
	}
}

// callback is a server that acknowledges everything and may react to records.
func callback(t *testing.T, react func(r runspec.Record) (command string)) runspec.Callback {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/register") {
			return
		}
		command, ack := "continue", int64(0)
		decoder := json.NewDecoder(r.Body)
		for decoder.More() {
			var record runspec.Record
			if err := decoder.Decode(&record); err != nil {
				t.Error(err)
				return
			}
			if c := react(record); c != "" {
				command = c
			}
			ack = record.Seq
		}
		fmt.Fprintf(w, `{"ack":%d,"command":%q}`, ack, command)
	}))
	t.Cleanup(web.Close)
	return runspec.Callback{URL: web.URL}
}

func TestResumeGivesTheSameModel(t *testing.T) {
	spec := small(t, t.TempDir(), 12)
	spec.Recipe.Head, spec.Recipe.Epochs, spec.Recipe.Patience, spec.Recipe.LearningRate = "dense", 600, 600, 1e-4
	whole := again(spec, "whole")
	if _, err := attempt.Run(t.Context(), whole, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	broken := again(spec, "1")
	broken.Callback = callback(t, func(r runspec.Record) string {
		if e, ok := r.Body.(runspec.Epoch); ok && e.Epoch >= 3 {
			cancel(attempt.ErrInterrupted)
		}
		return ""
	})
	_, err := attempt.Run(ctx, broken, attempt.Options{})
	if code := attempt.ExitCode(err); code != runspec.ExitInterrupted {
		t.Fatalf("exit code %d, %v", code, err)
	}
	earlier := folder(t, broken)
	if _, err := os.Stat(filepath.Join(earlier, runspec.ResultFile)); err == nil {
		t.Error("an interrupted attempt left a result")
	}
	told := bodies[runspec.Epoch](tasktest.Records(t, earlier))
	backwards(t, spec.Paths.Features)
	backwards(t, earlier)
	if err := os.WriteFile(filepath.Join(broken.Paths.Attempt, "trainer.log"), nil, 0o600); err != nil { // as what starts trainers leaves
		t.Fatal(err)
	}
	next := again(spec, "2")
	next.Attempt, next.Paths.Previous = 2, earlier
	if _, err := attempt.Run(t.Context(), next, attempt.Options{}); err != nil {
		t.Fatal(err)
	}
	more := bodies[runspec.Epoch](tasktest.Records(t, folder(t, next)))
	if len(more) == 0 || more[0].Epoch != told[len(told)-1].Epoch+1 || more[len(more)-1].Epoch != 600 {
		t.Errorf("first told up to epoch %d, then %d epochs", told[len(told)-1].Epoch, len(more))
	}
	if !slices.Equal(head(t, folder(t, whole)), head(t, folder(t, next))) {
		t.Error("the resumed training gives another model")
	}
	if a, b := curves(t, folder(t, whole)), curves(t, folder(t, next)); len(a) != 4 || !slices.Equal(a, b) {
		t.Errorf("the report of the resumed training has other curves: %s", firstDifference(a, b))
	}
}

// backwards makes the newest files of a folder the oldest, and all of them younger than now: what a clock leaves that was wrong
// for a while.
func backwards(t *testing.T, dir string) {
	t.Helper()
	ahead := time.Now().Add(24 * time.Hour)
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		at := ahead.Add(-info.ModTime().Sub(ahead))
		return os.Chtimes(path, at, at)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCommands(t *testing.T) {
	spec := small(t, t.TempDir(), 12)
	spec.Recipe.Head, spec.Recipe.Epochs, spec.Recipe.Patience = "dense", 1000, 1000
	atEpoch := func(command string) func(runspec.Record) string {
		return func(r runspec.Record) string {
			if r.Type == runspec.TypeEpoch {
				return command
			}
			return ""
		}
	}
	t.Run("cancel", func(t *testing.T) {
		task := again(spec, "cancel")
		task.Callback = callback(t, atEpoch("cancel"))
		result, err := attempt.Run(t.Context(), task, attempt.Options{})
		if attempt.ExitCode(err) != runspec.ExitCancelled || result.State != "cancelled" {
			t.Errorf("%v, %+v", err, result)
		}
		if f := finish(t, folder(t, task)); f.Result.State != "cancelled" {
			t.Errorf("result.json says %+v", f)
		}
	})
	t.Run("stop", func(t *testing.T) {
		task := again(spec, "stop")
		task.Callback = callback(t, atEpoch("stop"))
		result, err := attempt.Run(t.Context(), task, attempt.Options{})
		if err != nil || result.State != "succeeded" {
			t.Fatalf("%v, %+v", err, result)
		}
		if n := len(bodies[runspec.Epoch](tasktest.Records(t, folder(t, task)))); n >= 1000 {
			t.Errorf("%d epochs were done", n)
		}
	})
	t.Run("stop before the first epoch", func(t *testing.T) {
		task := again(spec, "early")
		stop := make(chan struct{}, 1)
		stop <- struct{}{}
		result, err := attempt.Run(t.Context(), task, attempt.Options{Stop: stop})
		if err != nil || result.State != "succeeded" {
			t.Fatalf("%v, %+v", err, result)
		}
		if n := len(bodies[runspec.Epoch](tasktest.Records(t, folder(t, task)))); n > 50 {
			t.Errorf("%d epochs were done", n)
		}
	})
}

func TestBadData(t *testing.T) {
	spec := small(t, t.TempDir(), 6)
	m, err := os.ReadFile(spec.Dataset.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(m), "\n")
	var all []manifest.Image
	for _, line := range lines[1 : len(lines)-1] {
		var im manifest.Image
		if err := json.Unmarshal([]byte(line), &im); err != nil {
			t.Fatal(err)
		}
		all = append(all, im)
	}
	exclude := func(keep func(i int, im manifest.Image) bool) (hashes []string) {
		for i, im := range all {
			if !keep(i, im) {
				hashes = append(hashes, im.SHA256)
			}
		}
		return hashes
	}
	for name, c := range map[string]struct {
		change func(s *runspec.Spec)
		code   int
		say    string
	}{
		"no image": {func(s *runspec.Spec) {
			s.Dataset.Exclude = exclude(func(int, manifest.Image) bool { return false })
		}, runspec.ExitNoImages, "no image"},
		"one class": {func(s *runspec.Spec) {
			s.Dataset.Exclude = exclude(func(_ int, im manifest.Image) bool { return im.Class == all[0].Class })
		}, runspec.ExitOneClass, all[0].Class},
		"one image": {func(s *runspec.Spec) {
			s.Dataset.Exclude = exclude(func(i int, im manifest.Image) bool { return i == 0 || im.Class != all[0].Class })
		}, runspec.ExitTooFew, all[0].Class},
		"unknown base":  {func(s *runspec.Spec) { s.Recipe.Base = "vgg" }, runspec.ExitNoBase, "vgg"},
		"no base":       {func(s *runspec.Spec) { s.Recipe.Base, s.Paths.Bases = "", t.TempDir() }, runspec.ExitNoBase, "bases add"},
		"no packs":      {func(s *runspec.Spec) { s.Paths.Packs, s.Paths.Features = t.TempDir(), t.TempDir() }, runspec.ExitBadData, "upload the dataset again"},
		"other dataset": {func(s *runspec.Spec) { s.Dataset.Digest = strings.Repeat("0", 64) }, runspec.ExitBadData, "upload the dataset again"},
		"no manifest":   {func(s *runspec.Spec) { s.Dataset.Manifest += "x" }, runspec.ExitBadData, "manifest"},
		"unknown kind":  {func(s *runspec.Spec) { s.Kind = "dance" }, runspec.ExitBadSpec, "dance"},
	} {
		t.Run(name, func(t *testing.T) {
			task := again(spec, strings.ReplaceAll(name, " ", "-"))
			c.change(&task)
			result, err := attempt.Run(t.Context(), task, attempt.Options{})
			if attempt.ExitCode(err) != c.code || result.State != "failed" || !strings.Contains(result.Reason, c.say) {
				t.Errorf("exit code %d, %v, %+v", attempt.ExitCode(err), err, result)
			}
			if f := finish(t, folder(t, task)); f.Result.Reason != result.Reason {
				t.Errorf("result.json says %+v", f)
			}
		})
	}
}

// Files that are no good are told by name, and the rest trains.
func TestOddFormats(t *testing.T) {
	bases := tasktest.Bases(t, base)
	dir := t.TempDir()
	spec := tasktest.Train(t, dir, tasktest.Data(t, "odd-formats"), 18)
	spec.Paths.Bases, spec.Recipe.Base = bases, base
	spec.Recipe.Views = 2
	result, err := attempt.Run(t.Context(), spec, attempt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if result.ValAccuracy < 0.4 {
		t.Errorf("validation accuracy is %v", result.ValAccuracy)
	}
	problems := bodies[runspec.Problem](tasktest.Records(t, folder(t, spec)))
	for _, p := range problems {
		if !strings.HasSuffix(p.Path, ".tif") || p.Reason != "unsupported" || p.Action != "skipped" || p.Class != strings.Split(p.Path, "/")[0] {
			t.Errorf("problem %+v", p)
		}
	}
	if len(problems) != 18 { // three TIFFs of each class
		t.Errorf("%d problems", len(problems))
	}
}

// The whole of trashnet with the quick preset reaches what a linear classifier on these features can.
func TestTrashnet(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	spec := small(t, t.TempDir(), 0)
	result, err := attempt.Run(t.Context(), spec, attempt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if *result.TestAccuracy < 0.87 {
		t.Errorf("test accuracy %v", *result.TestAccuracy)
	}
}
