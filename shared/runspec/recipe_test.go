package runspec_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

var presets = []runspec.Preset{runspec.Quick, runspec.Balanced, runspec.Best}

func TestTableCoversRecipe(t *testing.T) {
	var tags []string
	rt := reflect.TypeFor[runspec.Recipe]()
	for i := range rt.NumField() {
		tags = append(tags, rt.Field(i).Tag.Get("json"))
	}
	var names []string
	for _, f := range runspec.Fields() {
		names = append(names, f.Name)
	}
	if !slices.Equal(tags, names) {
		t.Errorf("Recipe has the fields\n%v, the table\n%v", tags, names)
	}
}

func TestTableSpeaksToPeople(t *testing.T) {
	for _, f := range runspec.Fields() {
		if f.Title == "" || !strings.HasSuffix(f.Help, ".") {
			t.Errorf("%s: title %q, help %q: both are shown, help as whole sentences", f.Name, f.Title, f.Help)
		}
		if got, ok := runspec.FieldByName(f.Name); !ok || got.Title != f.Title {
			t.Errorf("FieldByName(%q) finds %q, %v", f.Name, got.Title, ok)
		}
	}
	if _, ok := runspec.FieldByName("no_such_field"); ok {
		t.Error("FieldByName finds a field that is not there")
	}
}

func TestDefaultsAreValid(t *testing.T) {
	for _, p := range presets {
		r := runspec.Default(p)
		if err := r.Validate(); err != nil {
			t.Errorf("preset %s: %v", p, err)
		}
		if r.Preset != p {
			t.Errorf("preset %s calls itself %s", p, r.Preset)
		}
		if changed := r.Changed(); len(changed) > 0 {
			t.Errorf("preset %s differs from itself in %v", p, changed)
		}
	}
}

func TestSetGetRoundTrip(t *testing.T) {
	for _, f := range runspec.Fields() {
		for _, p := range presets {
			var r runspec.Recipe
			if err := f.Set(&r, f.Default(p)); err != nil {
				t.Errorf("%s: set %q: %v", f.Name, f.Default(p), err)
			}
			if got := f.Get(r); got != f.Default(p) {
				t.Errorf("%s: set %q, got %q", f.Name, f.Default(p), got)
			}
		}
	}
}

func TestSetRefuses(t *testing.T) {
	for _, tc := range []struct{ field, text string }{
		{"epochs", "many"}, {"epochs", "1.5"}, {"epochs", ""}, {"seed", "9223372036854775808"},
		{"learning_rate", "NaN"}, {"learning_rate", "+Inf"}, {"learning_rate", "0,1"},
	} {
		t.Run(tc.field+"="+tc.text, func(t *testing.T) {
			f, ok := runspec.FieldByName(tc.field)
			if !ok {
				t.Fatal("no such field")
			}
			r := runspec.Default(runspec.Quick)
			err := f.Set(&r, tc.text)
			var fe *runspec.FieldError
			if !errors.As(err, &fe) || fe.Field != tc.field || !strings.Contains(fe.Text, tc.text) {
				t.Errorf("error %v: want one that names the field and the value", err)
			}
			if !reflect.DeepEqual(r, runspec.Default(runspec.Quick)) {
				t.Error("a refused value changed the recipe")
			}
		})
	}
}

func TestValidateBounds(t *testing.T) {
	for _, f := range runspec.Fields() {
		if f.Type != runspec.Integer && f.Type != runspec.Number {
			continue
		}
		step := 1.0
		if f.Type == runspec.Number {
			step = 1e-9
		}
		for _, tc := range []struct {
			value float64
			ok    bool
		}{{f.Min, true}, {f.Max, true}, {f.Min - step, false}, {f.Max + step, false}, {0, f.Auto || f.Min <= 0}} {
			if f.Auto && tc.value == 0 {
				tc.ok = true
			}
			r := runspec.Default(runspec.Quick)
			text, err := json.Marshal(tc.value)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Set(&r, string(text)); err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			err = r.Validate()
			var fe *runspec.FieldError
			if errors.As(err, &fe) && fe.Field != f.Name {
				err = nil // another rule: the two shares together
			}
			if (err == nil) != tc.ok {
				t.Errorf("%s = %s: error %v, want accepted: %v", f.Name, text, err, tc.ok)
			}
		}
	}
}

func TestPruningNeedsFineTuning(t *testing.T) {
	r := runspec.Default(runspec.Quick)
	r.Prune = 0.5
	if err := r.Validate(); err == nil || !strings.Contains(err.Error(), "finetune_epochs is 0, but what prune 0.5 leaves") {
		t.Errorf("without fine-tuning: %v", err)
	}
	r.FinetuneEpochs = 1
	if err := r.Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateNamesWhatIsAllowed(t *testing.T) {
	for _, tc := range []struct{ field, value, says string }{
		{"preset", "fast", "quick, balanced, best"},
		{"head", "", "logistic, dense"},
		{"exports", "h5,tflit", "h5, keras, savedmodel, tflite, tflite_float16"},
		{"exports", "", "h5, keras, savedmodel"},
		{"epochs", "0", "between 1 and 1000"},
		{"image_size", "50", "0: chosen for you"},
	} {
		f, _ := runspec.FieldByName(tc.field)
		r := runspec.Default(runspec.Quick)
		if err := f.Set(&r, tc.value); err != nil {
			t.Fatal(err)
		}
		err := r.Validate()
		if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), tc.field) {
			t.Errorf("%s = %q: error %v, want one that says %q", tc.field, tc.value, err, tc.says)
		}
	}
}

func TestSharesTogether(t *testing.T) {
	r := runspec.Default(runspec.Quick)
	r.Validation, r.Test = 0.4, 0.5
	if err := r.Validate(); err == nil || !strings.Contains(err.Error(), "lower one") {
		t.Errorf("0.4 and 0.5 leave a tenth to train on; error %v", err)
	}
	r.Test = 0.4
	if err := r.Validate(); err != nil {
		t.Errorf("0.4 and 0.4: %v", err)
	}
}

func TestPartialJSON(t *testing.T) {
	want := func(p runspec.Preset, change func(*runspec.Recipe)) runspec.Recipe {
		r := runspec.Default(p)
		change(&r)
		return r
	}
	none := func(*runspec.Recipe) {}
	for name, tc := range map[string]struct {
		text string
		want runspec.Recipe
	}{
		"empty":          {`{}`, want(runspec.Quick, none)},
		"preset only":    {`{"preset":"best"}`, want(runspec.Best, none)},
		"preset is last": {`{"views":2,"preset":"best"}`, want(runspec.Best, func(r *runspec.Recipe) { r.Views = 2 })},
		"zero is a value": {`{"preset":"balanced","test_split":0,"seed":0}`,
			want(runspec.Balanced, func(r *runspec.Recipe) { r.Test, r.Seed = 0, 0 })},
		"shorter list": {`{"preset":"best","exports":["h5"]}`, want(runspec.Best, func(r *runspec.Recipe) { r.Exports = []string{"h5"} })},
	} {
		t.Run(name, func(t *testing.T) {
			r := runspec.Recipe{Base: "left over", Epochs: 999}
			if err := json.Unmarshal([]byte(tc.text), &r); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(r, tc.want) {
				t.Errorf("got  %+v\nwant %+v", r, tc.want)
			}
		})
	}
	for _, text := range []string{`{"epoch":3}`, `{"preset":"fast"}`, `{"epochs":"3"}`, `[]`, `{"epochs":1.5}`} {
		var r runspec.Recipe
		if err := json.Unmarshal([]byte(text), &r); err == nil {
			t.Errorf("%s is accepted as %+v", text, r)
		}
	}
}

// What the release before the field features wrote of each run, and what an empty value means.
func TestRecipesFromBefore(t *testing.T) {
	const old = `{"preset":"quick","base":"mobilenet_v2","image_size":224,"preprocessing":"stretch","views":1,"head":"logistic",` +
		`"l2":0.02,"epochs":40,"batch_size":64,"learning_rate":0.01,"dropout":0.2,"class_weights":"none","patience":12,` +
		`"validation_split":0.15,"test_split":0.15,"seed":1,"exports":["h5"]}`
	for name, tc := range map[string]struct{ text, features string }{
		"whole, from before": {old, "last"},
		"empty":              {`{"features":""}`, "last"},
		"whole, of now":      {strings.Replace(old, `"head"`, `"features":"deep","head"`, 1), "deep"},
		"by hand":            {`{"preset":"quick","base":"mobilenet_v2"}`, "deep"},
	} {
		t.Run(name, func(t *testing.T) {
			var r runspec.Recipe
			if err := json.Unmarshal([]byte(tc.text), &r); err != nil {
				t.Fatal(err)
			}
			if err := r.Validate(); err != nil || r.Features != tc.features {
				t.Errorf("features %q, error %v", r.Features, err)
			}
			again, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var twice runspec.Recipe
			if err := json.Unmarshal(again, &twice); err != nil || !reflect.DeepEqual(twice, r) {
				t.Errorf("written and read again it is %+v (%v), was %+v", twice, err, r)
			}
		})
	}
	r := runspec.Default(runspec.Quick)
	r.Features = ""
	if err := r.Validate(); err != nil {
		t.Errorf("the empty value is refused: %v", err)
	}
}

func TestChanged(t *testing.T) {
	r := runspec.Default(runspec.Balanced)
	r.Epochs, r.Base, r.Exports = 7, "mobilenet_v2", []string{"savedmodel"}
	if got, want := r.Changed(), []string{"base", "epochs", "exports"}; !slices.Equal(got, want) {
		t.Errorf("Changed is %v, want %v", got, want)
	}
}

func TestFieldsAreTheCallersOwn(t *testing.T) {
	runspec.Fields()[0].Values[0] = "spoiled"
	if got := runspec.Fields()[0].Values[0]; got != "quick" {
		t.Errorf("a caller changed the table: %q", got)
	}
}
