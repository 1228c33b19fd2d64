package cli_test

import (
	"bytes"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// pair is a folder of two classes with a photo in each.
func pair(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, class := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(dir, class), 0o700); err != nil {
			t.Fatal(err)
		}
		img := image.NewGray(image.Rect(0, 0, 64, 64))
		img.Pix[0] = class[0]
		var file bytes.Buffer
		if err := png.Encode(&file, img); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, class, "1.png"), file.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPlan(t *testing.T) {
	cost := runspec.Cost{Seconds: 75.4, Phases: []runspec.PhaseSeconds{{Phase: runspec.PhasePrepare, Seconds: 0.4}, {Phase: runspec.PhaseFeatures, Seconds: 70},
		{Phase: runspec.PhaseExport, Seconds: 5}}, Rows: 20, CachedRows: 4, CacheBytes: 3_000_000, FileBytes: 14_000_000}
	unknown, known := cost, cost
	unknown.Unknown = []string{"the file \x1b[2Jonnx"}
	known.CachedRows = 20
	plan := func(measuring bool, given runspec.Cost, refused string) runspec.Plan {
		quick := cost
		quick.Seconds = 9
		return runspec.Plan{Measuring: measuring, Options: []runspec.PlanOption{{Name: runspec.PlanGiven, Cost: given, Refused: refused}, {Name: "quick", Cost: quick}}}
	}
	for name, tc := range map[string]struct {
		plans []runspec.Plan
		args  []string
		code  int
		says  []string
		not   string
	}{
		"a preset": {[]runspec.Plan{plan(false, cost, "")}, nil, 0,
			[]string{"quick   9 s  17 MB", "16 of 20", "With quick: reading the photos 1 min 10 s, making and checking the files 5 s.", "14 MB of files", "3.0 MB for later"}, "these settings"},
		"own settings": {[]runspec.Plan{plan(false, cost, "")}, []string{"--views", "4"}, 0, []string{"these settings  1 min 15 s", "With these settings"}, "unknown"},
		"measured first": {[]runspec.Plan{plan(true, unknown, ""), plan(false, cost, "")}, []string{"--views", "4"}, 0,
			[]string{"Measuring how fast", "these settings  1 min 15 s"}, "unknown"},
		"never measured":      {[]runspec.Plan{plan(false, unknown, "")}, []string{"--views", "4"}, 0, []string{"these settings  unknown", "never measured on that machine: the file ␛[2Jonnx"}, "1 min 15 s"},
		"all is known":        {[]runspec.Plan{plan(false, known, "")}, nil, 0, []string{"No photo has to be read"}, "unknown"},
		"cannot be":           {[]runspec.Plan{plan(false, runspec.Cost{}, "the image size 100 does not suit")}, []string{"--image-size", "100"}, 1, []string{"these settings     –", "cannot be trained with: the image size 100"}, "Disk:"},
		"no answer":           {nil, nil, 1, []string{"without a plan"}, "quick"},
		"wrong flag":          {nil, []string{"--views", "99"}, 2, []string{"--views is 99"}, "quick"},
		"for a machine":       {[]runspec.Plan{plan(false, cost, "")}, []string{"--profile", "gpu"}, 0, []string{"quick"}, "unknown"},
		"going on from a run": {[]runspec.Plan{plan(false, cost, "")}, []string{"--start-from", "#14"}, 0, []string{"these settings  1 min 15 s"}, "unknown"},
		"from no run":         {nil, []string{"--start-from", "15"}, 3, []string{"no run #15"}, "quick"},
		"JSON":                {[]runspec.Plan{plan(true, unknown, ""), plan(false, cost, "")}, []string{"--json"}, 0, []string{`{"message_type":"plan","options":[{"name":"given"`, `"seconds":75.4`, `"measuring":false`}, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &remote{plans: tc.plans}
			s.start(t)
			o := cultivar(t.Context(), t, append([]string{"plan", pair(t)}, tc.args...)...)
			o.expect(t, tc.code, tc.says...)
			if strings.Contains(o.out, tc.not) {
				t.Errorf("says %q:\n%s", tc.not, o.out)
			}
			if tc.code < 2 && (s.planned.Photos == nil || s.planned.Photos.Images != 2 || s.planned.Photos.KnownImages != 0 || s.planned.Photos.Classes != 2) {
				t.Errorf("asked for %+v", s.planned.Photos)
			}
			if name == "going on from a run" && s.planned.Recipe.StartFrom != "r" {
				t.Errorf("asked for %+v", s.planned.Recipe)
			}
			if name == "for a machine" && (s.planned.Profile == nil || *s.planned.Profile != "gpu") {
				t.Errorf("asked for %+v", s.planned)
			}
		})
	}
}

// TestResultsTellWhatItTook: beside what was planned; a run of an older trainer tells neither.
func TestResultsTellWhatItTook(t *testing.T) {
	spent := runspec.Cost{Seconds: 30, Phases: []runspec.PhaseSeconds{{Phase: runspec.PhaseFeatures, Seconds: 25}, {Phase: runspec.PhaseHead, Seconds: 0.2}}, CacheBytes: 1_000_000, FileBytes: 14_000_000}
	planned := runspec.Cost{Seconds: 28, Phases: []runspec.PhaseSeconds{{Phase: runspec.PhaseFeatures, Seconds: 24}}, CacheBytes: 1_000_000, FileBytes: 13_000_000}
	unknown := planned
	unknown.Unknown = []string{"the head"}
	for name, tc := range map[string]struct {
		result    runspec.Result
		says, not string
	}{
		"planned":       {runspec.Result{Spent: &spent, Planned: &planned}, "The training took 30 s (planned: 28 s) and 15 MB of disk (planned: 14 MB).\n  reading the photos 25 s (24 s)\n", "training the head"},
		"not foreseen":  {runspec.Result{Spent: &spent, Planned: &unknown}, "The training took 30 s and 15 MB of disk.\n  reading the photos 25 s\n", "planned"},
		"older trainer": {runspec.Result{}, "test accuracy", "The training took"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &remote{report: `{"version":1,"split":"test","images":40,"accuracy":0.9,"labels":["a","b"]}`,
				events: []any{tc.result, runspec.State{State: "succeeded"}}}
			s.run = api.Run{Id: "r", Number: 14, Name: "flowers", State: api.StateSucceeded, Recipe: runspec.Default(runspec.Quick), LastEvent: 2}
			s.start(t)
			o := cultivar(t.Context(), t, "results", "14")
			o.expect(t, 0, tc.says)
			if strings.Contains(o.out, tc.not) {
				t.Errorf("says %q:\n%s", tc.not, o.out)
			}
		})
	}
}
