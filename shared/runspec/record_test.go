package runspec_test

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func float(v float64) *runspec.Float {
	f := runspec.Float(v)
	return &f
}

// bodies has one full body of each type.
func bodies() map[runspec.Type]any {
	recipe := runspec.Default(runspec.Best)
	cost := runspec.Cost{Seconds: 7, Phases: []runspec.PhaseSeconds{{Phase: runspec.PhaseHead, Seconds: 7}}, Rows: 4, CachedRows: 1,
		CacheBytes: 3, FileBytes: 1 << 40, Unknown: []string{"onnx"}}
	return map[runspec.Type]any{
		runspec.TypePhase:    runspec.Phase{Phase: runspec.PhaseHead, Total: 40},
		runspec.TypeProgress: runspec.Progress{Phase: runspec.PhaseFeatures, Done: 3, Total: 9, Rate: 1.5, ETASeconds: runspec.Float(math.Inf(1))},
		runspec.TypeStep:     runspec.Step{Phase: runspec.PhaseHead, Step: 7, Loss: 0.25, LearningRate: 1e-3},
		runspec.TypeEpoch: runspec.Epoch{Phase: runspec.PhaseHead, Epoch: 2, Attempt: 1, TrainLoss: 1, TrainAccuracy: 0.5, ValLoss: 2,
			ValAccuracy: 0.75, LearningRate: 0.1, Seconds: 3, ImagesPerSecond: 99},
		runspec.TypeSystem:  runspec.System{CPU: 1.9, RSSBytes: 1 << 40, GPU: 0.5, GPUMemoryBytes: 7},
		runspec.TypeProblem: runspec.Problem{Path: "daisy/\u202eevil.jpg", Class: "daisy", Reason: "damaged", Text: "cut short", Action: runspec.ActionSkipped},
		runspec.TypeLog:     runspec.Log{Level: "warning", Text: "a \"quoted\"\nline <&>"},
		runspec.TypeEvaluation: runspec.Evaluation{Split: "test", Images: 10, Accuracy: 0.9, Top3: 1, Loss: 0.1, ECE: 0.02, MacroF1: 0.9,
			Confused: []runspec.Confused{{Actual: "a", Predicted: "b", Count: 1}},
			Worst:    []runspec.Mistake{{Path: "a/1.jpg", SHA256: "00", Actual: "a", Predicted: "b", Confidence: 0.99}}},
		runspec.TypeArtifact:   runspec.Artifact{Name: "model.h5", Format: "h5", Bytes: 9, SHA256: "ff", Accuracy: float(0.9), Agreement: float(1), MsPerImage: float(2.5), Note: "ok"},
		runspec.TypeCheckpoint: runspec.Checkpoint{Step: 12, Epoch: 3},
		runspec.TypePrediction: runspec.Prediction{Index: 1, SHA256: "ab", Top: []runspec.Score{{Label: "tulip", Probability: 0.8}}},
		runspec.TypePlan:       runspec.Plan{Measuring: true, Options: []runspec.PlanOption{{Name: runspec.PlanGiven, Recipe: recipe, Cost: cost, Refused: "no"}}},
		runspec.TypeResult: runspec.Result{State: "succeeded", BestEpoch: 5, ValAccuracy: 0.9, TestAccuracy: float(0.88), Seconds: 12,
			PeakMemoryBytes: 5, Recipe: &recipe, Planned: &cost, Spent: &runspec.Cost{Seconds: 12}},
		runspec.TypeState: runspec.State{State: "running", Reason: "on its way", Attempt: 2},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)
	for typ, body := range bodies() {
		t.Run(string(typ), func(t *testing.T) {
			want := runspec.Record{Seq: 12, Time: at, Type: typ, Body: body}
			b, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			var got runspec.Record
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %#v\nwant %#v", got, want)
			}
		})
	}
}

func TestRecordNumbersWithoutJSON(t *testing.T) {
	for name, v := range map[string]float64{"NaN": math.NaN(), "+Inf": math.Inf(1), "-Inf": math.Inf(-1)} {
		b, err := json.Marshal(runspec.Record{Seq: 1, Type: runspec.TypeStep, Body: runspec.Step{Loss: runspec.Float(v)}})
		if err != nil {
			t.Fatal(err)
		}
		var flat struct{ Loss string }
		if err := json.Unmarshal(b, &flat); err != nil || flat.Loss != name {
			t.Errorf("%s is written as %s", name, b)
		}
		var back runspec.Record
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		got := float64(back.Body.(runspec.Step).Loss)
		if got != v && !(math.IsNaN(got) && math.IsNaN(v)) {
			t.Errorf("%s comes back as %v", name, got)
		}
	}
	var f runspec.Float
	for _, bad := range []string{`"inf"`, `"1"`, `true`, `{}`} {
		if err := json.Unmarshal([]byte(bad), &f); err == nil {
			t.Errorf("%s is accepted as a number: %v", bad, f)
		}
	}
}

func TestRecordOfUnknownTypeSurvives(t *testing.T) {
	in := `{"seq":3,"time":"2026-01-02T03:04:05Z","type":"teleport","to":{"x":[1,2]},"why":"NaN"}`
	var r runspec.Record
	if err := json.Unmarshal([]byte(in), &r); err != nil {
		t.Fatal(err)
	}
	if r.Type != "teleport" || r.Seq != 3 {
		t.Errorf("header is %+v", r)
	}
	r.Seq = 99 // the header wins over what the kept body says
	out, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(in), &want); err != nil {
		t.Fatal(err)
	}
	want["seq"] = 99.0
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestRecordRefusesOtherBodies(t *testing.T) {
	for name, body := range map[string]any{"nil": nil, "number": 3, "list": []int{1}, "broken": json.RawMessage(`{`)} {
		if b, err := json.Marshal(runspec.Record{Seq: 1, Type: "log", Body: body}); err == nil {
			t.Errorf("%s: written as %s", name, b)
		}
	}
	var r runspec.Record
	for _, bad := range []string{`{"type":"epoch","epoch":"one"}`, `{"seq":"1"}`, `[]`, `{"type":"log","time":"yesterday"}`} {
		if err := json.Unmarshal([]byte(bad), &r); err == nil {
			t.Errorf("%s is accepted: %+v", bad, r)
		}
	}
}

func TestEmptyBody(t *testing.T) {
	b, err := json.Marshal(runspec.Record{Seq: 1, Type: "later", Body: struct{}{}})
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b) {
		t.Errorf("not JSON: %s", b)
	}
}

func FuzzRecord(f *testing.F) {
	for typ, body := range bodies() {
		b, err := json.Marshal(runspec.Record{Seq: 1, Type: typ, Body: body})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"seq":3,"type":"teleport","to":null}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var r runspec.Record
		if json.Unmarshal(in, &r) != nil {
			return
		}
		once, err := json.Marshal(r)
		if err != nil {
			t.Skip() // a time before year 0 or after 9999 has no JSON
		}
		var again runspec.Record
		if err := json.Unmarshal(once, &again); err != nil {
			t.Fatalf("cannot read what was written\n in %s\nout %s\n%v", in, once, err)
		}
		twice, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		if string(once) != string(twice) {
			t.Errorf("not stable\n once %s\ntwice %s", once, twice)
		}
	})
}
