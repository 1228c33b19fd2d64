package runspec

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Preset names a starting point for a recipe; every value of it can be changed afterwards.
type Preset string

// The presets, from fastest to most accurate.
const (
	Quick    Preset = "quick"
	Balanced Preset = "balanced"
	Best     Preset = "best"
)

// Recipe is all hyperparameters of one training. Zero in a field described as "0: chosen at the start" is resolved by
// the trainer and recorded in the run. The table in fields.go gives range, unit, defaults and a sentence for each.
type Recipe struct {
	Preset         Preset  `json:"preset"`
	Base           string  `json:"base"`
	ImageSize      int     `json:"image_size"`
	Preprocessing  string  `json:"preprocessing"`
	Views          int     `json:"views"`
	Features       string  `json:"features"`
	Head           string  `json:"head"`
	L2             float64 `json:"l2"`
	Epochs         int     `json:"epochs"`
	BatchSize      int     `json:"batch_size"`
	LearningRate   float64 `json:"learning_rate"`
	Dropout        float64 `json:"dropout"`
	ClassWeights   string  `json:"class_weights"`
	Patience       int     `json:"patience"`
	FinetuneEpochs int     `json:"finetune_epochs"`
	FinetuneRate   float64 `json:"finetune_rate"`
	Cut            string  `json:"cut"`
	Smoothing      float64 `json:"label_smoothing"`
	Mixup          float64 `json:"mixup"`
	Ensemble       string  `json:"ensemble"`
	// The finished run that this one learns from as well, and how; empty: none.
	Teacher            string  `json:"distill_teacher"`
	TeacherTemperature float64 `json:"distill_temperature"`
	TeacherWeight      float64 `json:"distill_weight"`
	Prune              float64 `json:"prune"` // 0…0.9

	Validation float64  `json:"validation_split"`
	Test       float64  `json:"test_split"`
	TimeBudget int      `json:"time_budget_seconds"`
	StartFrom  string   `json:"start_from"`
	Seed       int64    `json:"seed"`
	Exports    []string `json:"exports"`
}

// Ensembled as Recipe.Ensemble keeps the base model beside what fine-tuning makes of it.
const Ensembled = "yes"

// NoCut as Recipe.Cut asks for fine-tuning of the whole base model.
const NoCut = "none"

// Default returns the recipe of a preset, unchanged.
func Default(p Preset) Recipe {
	r := Recipe{Preset: p}
	for _, f := range Fields() {
		if err := f.Set(&r, f.Default(p)); err != nil {
			// The table is checked by a test; a value that its own field refuses cannot ship.
			panic(fmt.Sprintf("recipe table: %s: %v", f.Name, err))
		}
	}
	return r
}

// UnmarshalJSON overlays the given fields on the defaults of the preset that the JSON names (quick when it names none),
// so that a partial recipe is always a whole one. A whole one of an earlier release means what it meant then. Unknown
// fields are errors.
func (r *Recipe) UnmarshalJSON(b []byte) error {
	var head struct {
		Preset Preset `json:"preset"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return err
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(b, &given); err != nil {
		return err
	}
	if head.Preset == "" {
		head.Preset = Quick
	}
	if !head.Preset.valid() {
		return fmt.Errorf("preset %q is not known: use quick, balanced or best", head.Preset)
	}
	type plain Recipe // without this method
	p := plain(Default(head.Preset))
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return err
	}
	p.Preset = head.Preset
	*r = Recipe(p)
	return r.settle(given)
}

// settle makes r, decoded from JSON with the given fields, mean what it did when it was written: a field that came later
// has its value of before where it is empty, or where it is not given and all older ones are. Programs write recipes
// whole; one with some fields only is written by hand and means today's defaults.
func (r *Recipe) settle(given map[string]json.RawMessage) error {
	whole := true
	for _, f := range Fields() {
		if _, ok := given[f.Name]; !ok && !f.later {
			whole = false
		}
	}
	for _, f := range Fields() {
		_, ok := given[f.Name]
		if !f.later || f.Get(*r) != "" && (ok || !whole) {
			continue
		}
		if err := f.Set(r, f.before); err != nil {
			return err
		}
	}
	return nil
}

func (p Preset) valid() bool { return p == Quick || p == Balanced || p == Best }

// Validate checks every field against the table and returns the first error, naming the field, its value and its range.
func (r Recipe) Validate() error {
	for _, f := range Fields() {
		if err := f.check(r); err != nil {
			return err
		}
	}
	if r.Prune > 0 && r.FinetuneEpochs == 0 {
		return &FieldError{Field: "finetune_epochs", Text: fmt.Sprintf(
			"finetune_epochs is 0, but what prune %g leaves has to be fine-tuned: set it to 8, say", r.Prune)}
	}
	if r.Validation+r.Test > 0.8 {
		return &FieldError{Field: "validation_split", Text: fmt.Sprintf(
			"validation_split %g and test_split %g leave less than a fifth of the images to train on: lower one of them", r.Validation, r.Test)}
	}
	return nil
}

// Changed lists the names of the fields whose values differ from the recipe's preset.
func (r Recipe) Changed() []string {
	var out []string
	for _, f := range Fields() {
		if f.Get(r) != f.Default(r.Preset) {
			out = append(out, f.Name)
		}
	}
	return out
}

// FieldError is a value outside its field's range.
type FieldError struct{ Field, Text string }

func (e *FieldError) Error() string { return e.Text }
