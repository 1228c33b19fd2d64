package attempt_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// artifact is the text of a file that a run left.
func artifact(t *testing.T, dir, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, runspec.ArtifactsDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// checkReport looks for what only the run can know in the files that tell of it.
func checkReport(t *testing.T, dir string, done runspec.Finish) {
	t.Helper()
	accuracy := fmt.Sprintf("%.1f %%", 100*float64(*done.Result.TestAccuracy))
	taught := strings.Count(artifact(t, dir, runspec.SplitFile), `"train"`)
	for file, wanted := range map[string][]string{
		runspec.ReportFile: {strings.ReplaceAll(accuracy, " ", "\u00a0"), "model-int8.tflite", "savedmodel.zip", "cardboard", "data:image/jpeg;base64,", "data:image/png;base64,",
			fmt.Sprintf("%d to learn from", taught), "EfficientNet-Lite0", fmt.Sprintf("Kept: epoch %d", done.Result.BestEpoch), "chosen at the start"},
		runspec.CardFile:  {accuracy, "| cardboard | ", fmt.Sprintf("%d to learn from", taught), "library_name: keras", "- tflite", "PyPI efficientnet"},
		runspec.UsageFile: {`load_model("model.h5"`, `Interpreter("model-int8.tflite")`, "224 × 224"},
	} {
		text := artifact(t, dir, file)
		for _, want := range wanted {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %q", file, want)
			}
		}
		i := slices.IndexFunc(done.Artifacts, func(a runspec.Artifact) bool { return a.Name == file })
		if i < 0 || done.Artifacts[i].Agreement != nil {
			t.Errorf("%s in the result: %d", file, i)
		}
	}
}

// reports are the lines of the files that tell of a run, without its id, its times and speeds.
func reports(t *testing.T, spec runspec.Spec, dir string) []string {
	t.Helper()
	text := artifact(t, dir, runspec.ReportFile) + artifact(t, dir, runspec.CardFile) + artifact(t, dir, runspec.UsageFile)
	for _, times := range []string{
		`\d+ \w+ \d{4}, \d\d:\d\d UTC`, `Made on [\d-]+`, `, in \d+ seconds`, // when, and how long it took
		`<td class="n">[\d.–]+</td><td class="text[^"]*">`, `[\d.–]+ \|\n`, // milliseconds a photo
		`(?:<code>|` + "`" + `|name: ")` + spec.Task + `(?:</code>|` + "`" + `|")`,
	} {
		text = regexp.MustCompile(times).ReplaceAllString(text, "…")
	}
	return strings.Split(text, "\n")
}

func firstDifference(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d: %.300q, %.300q", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(a), len(b))
}

// curves are the lines of a report's charts.
func curves(t *testing.T, dir string) []string {
	t.Helper()
	return regexp.MustCompile(`class="(?:train|val)" d="[^"]*"`).FindAllString(artifact(t, dir, runspec.ReportFile), -1)
}
