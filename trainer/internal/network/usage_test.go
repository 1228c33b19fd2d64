package network_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

func TestUsageAsText(t *testing.T) {
	for text, want := range map[string]network.Usage{
		`{"preprocessing":"stretch"}`:                 {},
		`{"preprocessing":"stretch","threshold":1}`:   {Threshold: 1},
		`{"preprocessing":"crop","threshold":0.6213}`: {Crop: true, Threshold: 0.6213},
	} {
		if got, err := json.Marshal(want); err != nil || string(got) != text {
			t.Errorf("%+v is written %s (%v), want %s", want, got, err, text)
		}
		var got network.Usage
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s is read %+v (%v), want %+v", text, got, err, want)
		}
	}
	got := network.Usage{Crop: true}
	if err := json.Unmarshal([]byte(`{}`), &got); err != nil || got != (network.Usage{}) {
		t.Errorf("nothing is read %+v (%v)", got, err)
	}
}

func TestUsageRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{"preprocessing":"mirror"}`: `"mirror"`,
		`{"threshold":1.01}`:         "1.01",
		`{"threshold":-0.1}`:         "-0.1",
		`{"threshold":"much"}`:       "usage",
		`[]`:                         "usage",
	} {
		var got network.Usage
		if err := json.Unmarshal([]byte(text), &got); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", text, err, want)
		}
	}
}

func FuzzUsage(f *testing.F) {
	for _, text := range []string{`{"preprocessing":"crop","threshold":0.6}`, `{"threshold":1e-300}`, `null`, `{"preprocessing":1}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var u network.Usage
		if json.Unmarshal(text, &u) != nil {
			return
		}
		if u.Threshold < 0 || u.Threshold > 1 {
			t.Fatalf("%s: threshold %v", text, u.Threshold)
		}
		again, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		var same network.Usage
		if err := json.Unmarshal(again, &same); err != nil || same != u {
			t.Fatalf("%s: %+v became %+v (%v)", text, u, same, err)
		}
	})
}
