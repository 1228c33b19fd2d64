package runspec_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func wholeSpec() runspec.Spec {
	return runspec.Spec{
		Version: runspec.Version, Kind: runspec.Train, Task: "t1", Attempt: 2, Recipe: runspec.Default(runspec.Balanced),
		Dataset: runspec.Dataset{Digest: "d", Classes: []string{"a", "b"}, Exclude: []string{"00"},
			Relabel: []runspec.Edit{{SHA256: "01", Class: "b"}}, Manifest: "/v/manifest.jsonl"},
		Paths:    runspec.Paths{Bases: "/v/bases", Packs: "/v/packs", Features: "/v/f", Attempt: "/v/a", Previous: "/v/p", Stop: "/v/stop"},
		Callback: runspec.Callback{URL: "http://127.0.0.1:1/x", TokenFile: "/v/token"},
	}
}

func TestParseSpecRoundTrip(t *testing.T) {
	want := wholeSpec()
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := runspec.ParseSpec(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseSpecRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*runspec.Spec)
		says   string
	}{
		"newer format": {func(s *runspec.Spec) { s.Version = runspec.Version + 1 }, "same release"},
		"bad recipe":   {func(s *runspec.Spec) { s.Recipe.Epochs = 0 }, "epochs is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := wholeSpec()
			tc.change(&s)
			b, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := runspec.ParseSpec(b); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want one that says %q", err, tc.says)
			}
		})
	}
	for _, bad := range []string{"", "null", "[]", `{"version":1,"recipe":{"nonsense":1}}`} {
		if _, err := runspec.ParseSpec([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for code, final := range map[int]bool{
		runspec.ExitOK: false, runspec.ExitError: false, runspec.ExitBadSpec: true, runspec.ExitCancelled: true,
		19: true, 20: false, runspec.ExitInterrupted: false, -1: false, 137: false,
	} {
		if runspec.Final(code) != final {
			t.Errorf("Final(%d) is %v", code, !final)
		}
	}
}

func TestPackNameSpreads(t *testing.T) {
	if got := runspec.PackName("abcdef"); got != "ab/abcdef.pack" {
		t.Errorf("PackName is %q", got)
	}
}

func FuzzParseSpec(f *testing.F) {
	b, err := json.Marshal(wholeSpec())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"recipe":{}}`))
	f.Add([]byte(`{"version":1,"recipe":null}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := runspec.ParseSpec(in)
		if err != nil {
			return
		}
		if err := s.Recipe.Validate(); err != nil {
			t.Errorf("accepted, but %v", err)
		}
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := runspec.ParseSpec(out)
		if err != nil {
			t.Fatalf("cannot read what was written: %v\n%s", err, out)
		}
		if !reflect.DeepEqual(again, s) {
			t.Errorf("not stable\n once %+v\ntwice %+v", s, again)
		}
	})
}
