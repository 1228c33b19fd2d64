package runspec

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// FieldType is the kind of value a recipe field holds.
type FieldType string

// The types of recipe fields.
const (
	Text    FieldType = "string"
	Integer FieldType = "integer"
	Number  FieldType = "number"
	List    FieldType = "array"
)

// Field describes one hyperparameter. Screens, command-line flags, help and the API schema are made from it.
type Field struct {
	Name     string // JSON name; the flag is the same with dashes
	Title    string // as people read it
	Type     FieldType
	Unit     string   // "", "pixels", "epochs", …
	Values   []string // allowed values of Text and List; nil: any
	Min, Max float64  // inclusive range of Integer and Number
	Auto     bool     // the zero value means "chosen at the start and recorded"
	Zero     string   // what 0 means, where it is not a number like others
	Help     string   // one sentence for people
	Advanced bool     // hidden until asked for

	defaults [3]string // quick, balanced, best
	later    bool      // came after the first release
	before   string    // of a field that came later: what a recipe means which was written before it
	ref      func(*Recipe) any
}

// Fields returns the recipe table in the order people should see it. The slice is the caller's own.
func Fields() []Field {
	return slices.Concat(learningFields(), tuningFields(), compressionFields(), closingFields())
}

// learningFields say what the head learns from, and how.
func learningFields() []Field {
	return []Field{
		{Name: "preset", Title: "Preset", Type: Text, Values: []string{"quick", "balanced", "best"},
			Help:     "How much work to put in: quick gives an answer in seconds to minutes, best takes longest.",
			defaults: [3]string{"quick", "balanced", "best"}, ref: func(r *Recipe) any { return &r.Preset }},
		{Name: "base", Title: "Base model", Type: Text, Auto: true,
			Help:     "The network, pretrained on a million photos, that yours starts from. Empty: the best one installed.",
			defaults: [3]string{"", "", ""}, ref: func(r *Recipe) any { return &r.Base }},
		{Name: "image_size", Title: "Image size", Type: Integer, Unit: "pixels", Min: 96, Max: 512, Auto: true, Advanced: true,
			Help:     "Photos are resized to this square before the network sees them. Larger sees more detail and is slower. 0: the base model's own size.",
			defaults: [3]string{"0", "0", "0"}, ref: func(r *Recipe) any { return &r.ImageSize }},
		{Name: "preprocessing", Title: "Fit into the square", Type: Text, Values: []string{"stretch", "crop"}, Advanced: true,
			Help:     "Stretch squeezes the whole photo into the square, as phones and browsers do; crop cuts the middle out.",
			defaults: [3]string{"stretch", "stretch", "stretch"}, ref: func(r *Recipe) any { return &r.Preprocessing }},
		{Name: "views", Title: "Views of each photo", Type: Integer, Unit: "views", Min: 1, Max: 16,
			Help:     "How many slightly changed copies (flipped, cropped, tinted) of each photo to learn from. More helps small sets and takes longer, once.",
			defaults: [3]string{"1", "4", "8"}, ref: func(r *Recipe) any { return &r.Views }},
		{Name: "features", Title: "Features", Type: Text, Values: []string{"deep", "last"}, Advanced: true,
			Help:     "What the new last layer sees: deep takes several depths of the base model, last only its last layer, for a smaller file.",
			defaults: [3]string{"deep", "deep", "deep"}, later: true, before: "last", ref: func(r *Recipe) any { return &r.Features }},
		{Name: "head", Title: "Head", Type: Text, Values: []string{"logistic", "dense"}, Advanced: true,
			Help:     "The new last layer. Logistic is one layer with regularisation; dense adds dropout before it.",
			defaults: [3]string{"logistic", "logistic", "logistic"}, ref: func(r *Recipe) any { return &r.Head }},
		{Name: "l2", Title: "L2 regularisation", Type: Number, Min: 1e-7, Max: 10, Auto: true, Advanced: true,
			Help:     "Keeps the head's weights small, against learning by heart. 0: the value that does best in cross-validation.",
			defaults: [3]string{"0", "0", "0"}, ref: func(r *Recipe) any { return &r.L2 }},
		{Name: "epochs", Title: "Epochs", Type: Integer, Unit: "epochs", Min: 1, Max: 1000,
			Help:     "How often the training goes through all photos at most. It stops earlier when it no longer gets better.",
			defaults: [3]string{"40", "60", "80"}, ref: func(r *Recipe) any { return &r.Epochs }},
		{Name: "batch_size", Title: "Batch size", Type: Integer, Unit: "images", Min: 1, Max: 4096, Auto: true, Advanced: true,
			Help:     "How many photos are learned from in one step. It shrinks by itself when there are fewer. 0: chosen from the number of photos.",
			defaults: [3]string{"0", "0", "0"}, ref: func(r *Recipe) any { return &r.BatchSize }},
		{Name: "learning_rate", Title: "Learning rate", Type: Number, Min: 1e-6, Max: 10, Auto: true,
			Help:     "How big each correction is. Too high: the curve jumps; too low: it crawls. 0: chosen at the start.",
			defaults: [3]string{"0", "0", "0"}, ref: func(r *Recipe) any { return &r.LearningRate }},
		{Name: "dropout", Title: "Dropout", Type: Number, Min: 0, Max: 0.9, Advanced: true,
			Help:     "The share of features hidden at random in each step of a dense head, so that it does not lean on a few.",
			defaults: [3]string{"0.2", "0.2", "0.2"}, ref: func(r *Recipe) any { return &r.Dropout }},
		{Name: "class_weights", Title: "Class weights", Type: Text, Values: []string{"auto", "balanced", "none"},
			Help:     "Balanced makes rare classes count more. Auto does so when the largest class has over 1.5 times the photos of the smallest.",
			defaults: [3]string{"auto", "auto", "auto"}, ref: func(r *Recipe) any { return &r.ClassWeights }},
		{Name: "patience", Title: "Patience", Type: Integer, Unit: "epochs", Min: 1, Max: 1000, Advanced: true,
			Help:     "Training stops when the validation loss has not fallen for this many epochs; the best epoch is kept.",
			defaults: [3]string{"12", "12", "15"}, ref: func(r *Recipe) any { return &r.Patience }},
	}
}

// tuningFields say how the base model's last blocks are adapted.
func tuningFields() []Field {
	return []Field{
		{Name: "finetune_epochs", Title: "Fine-tuning", Type: Integer, Unit: "epochs", Min: 0, Max: 1000,
			Help:     "How often the training then goes through all photos to adapt the base model's last blocks to them. 0: the base model stays as it is.",
			defaults: [3]string{"0", "6", "12"}, later: true, before: "0", ref: func(r *Recipe) any { return &r.FinetuneEpochs }},
		{Name: "finetune_rate", Title: "Fine-tuning rate", Type: Number, Min: 1e-7, Max: 0.1, Auto: true, Advanced: true,
			Help:     "How big each correction is while fine-tuning. It is lowered by itself when it turns out too high. 0: chosen at the start.",
			defaults: [3]string{"0", "0", "0"}, later: true, before: "0", ref: func(r *Recipe) any { return &r.FinetuneRate }},
		{Name: "cut", Title: "Fine-tune from", Type: Text, Auto: true, Advanced: true,
			Help:     "The layer behind which fine-tuning adapts the base model; a lower one adapts more and takes longer. none: all of it, on freshly changed photos each time. Empty: chosen at the start.",
			defaults: [3]string{"", "", ""}, later: true, ref: func(r *Recipe) any { return &r.Cut }},
		{Name: "label_smoothing", Title: "Label smoothing", Type: Number, Min: 0, Max: 0.5, Advanced: true,
			Help:     "The share of certainty that fine-tuning takes from each label, so that it does not learn wrong ones by heart.",
			defaults: [3]string{"0.1", "0.1", "0.1"}, later: true, before: "0.1", ref: func(r *Recipe) any { return &r.Smoothing }},
		{Name: "mixup", Title: "Mixup", Type: Number, Min: 0, Max: 2, Advanced: true,
			Help:     "How strongly fine-tuning blends pairs of photos, against learning by heart. 0: not at all.",
			defaults: [3]string{"0", "0", "0"}, later: true, before: "0", ref: func(r *Recipe) any { return &r.Mixup }},
		{Name: "ensemble", Title: "Ensemble", Type: Text, Values: []string{"no", Ensembled}, Advanced: true,
			Help:     "Whether the base model's blocks are kept beside the fine-tuned ones, so that both have a say: more often right, up to twice as large and as slow.",
			defaults: [3]string{"no", Ensembled, Ensembled}, later: true, before: "no", ref: func(r *Recipe) any { return &r.Ensemble }},
	}
}

// closingFields say what is held back, and what comes out.
func closingFields() []Field {
	return []Field{
		{Name: "validation_split", Title: "Validation share", Type: Number, Min: 0.05, Max: 0.5, Advanced: true,
			Help:     "The share of photos held back to decide when to stop and what to keep.",
			defaults: [3]string{"0.15", "0.15", "0.15"}, ref: func(r *Recipe) any { return &r.Validation }},
		{Name: "test_split", Title: "Test share", Type: Number, Min: 0, Max: 0.5, Advanced: true,
			Help:     "The share of photos never looked at until the end, for an honest accuracy. 0: none.",
			defaults: [3]string{"0.15", "0.15", "0.15"}, ref: func(r *Recipe) any { return &r.Test }},
		{Name: "time_budget_seconds", Title: "Time budget", Type: Integer, Unit: "seconds", Min: 0, Max: 7 * 24 * 3600, Zero: "none",
			Help:     "How long the training may take. Where it would take longer, it makes fewer views and fine-tunes for fewer epochs. 0: as long as it takes.",
			defaults: [3]string{"0", "0", "0"}, later: true, before: "0", ref: func(r *Recipe) any { return &r.TimeBudget }},
		{Name: "start_from", Title: "Continue from", Type: Text, Advanced: true,
			Help:     "A finished run that this one goes on from, with new photos or new classes: by its number. Its photos keep their side of the split. Empty: none.",
			defaults: [3]string{"", "", ""}, later: true, ref: func(r *Recipe) any { return &r.StartFrom }},
		{Name: "seed", Title: "Seed", Type: Integer, Min: 0, Max: math.MaxInt32, Advanced: true,
			Help:     "Fixes every random choice, the split included: the same seed on the same photos gives the same model.",
			defaults: [3]string{"1", "1", "1"}, ref: func(r *Recipe) any { return &r.Seed }},
		{Name: "exports", Title: "Files to make", Type: List, Values: []string{"h5", "keras", "savedmodel", "tflite", "tflite_float16", "tflite_int8", "onnx", "tfjs", "html", "coreml"},
			Help:     "The formats of the finished model: h5 for Keras (keras for Keras 3 alone), savedmodel for TensorFlow, tflite for phones (float16 half, int8 a quarter as large), onnx for ONNX Runtime, tfjs for web sites, html for a page to try it in, coreml for Apple's devices.",
			defaults: [3]string{"h5", "h5,savedmodel,tflite", "h5,savedmodel,tflite"}, ref: func(r *Recipe) any { return &r.Exports }},
	}
}

// FieldByName finds a field of the table by its JSON name.
func FieldByName(name string) (Field, bool) {
	all := Fields()
	i := slices.IndexFunc(all, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return Field{}, false
	}
	return all[i], true
}

// Default is the field's value in a preset, in the form Set takes.
func (f Field) Default(p Preset) string {
	switch p {
	case Balanced:
		return f.defaults[1]
	case Best:
		return f.defaults[2]
	default:
		return f.defaults[0]
	}
}

// Get returns the field's value in r as text; a list is joined by commas.
func (f Field) Get(r Recipe) string {
	switch v := f.ref(&r).(type) {
	case *Preset:
		return string(*v)
	case *string:
		return *v
	case *int:
		return strconv.Itoa(*v)
	case *int64:
		return strconv.FormatInt(*v, 10)
	case *float64:
		return strconv.FormatFloat(*v, 'g', -1, 64)
	case *[]string:
		return strings.Join(*v, ",")
	}
	return ""
}

// Set parses text into the field. It checks the form only; Validate checks ranges.
func (f Field) Set(r *Recipe, text string) error {
	text = strings.TrimSpace(text)
	switch v := f.ref(r).(type) {
	case *Preset:
		*v = Preset(text)
	case *string:
		*v = text
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return f.formError(text, "a whole number")
		}
		*v = n
	case *int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return f.formError(text, "a whole number")
		}
		*v = n
	case *float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			return f.formError(text, "a number")
		}
		*v = n
	case *[]string:
		*v = splitList(text)
	}
	return nil
}

func (f Field) formError(text, want string) error {
	return &FieldError{Field: f.Name, Text: fmt.Sprintf("%s is %q, but must be %s", f.Name, text, want)}
}

func splitList(text string) []string {
	out := []string{}
	for _, s := range strings.Split(text, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (f Field) check(r Recipe) error {
	text := f.Get(r)
	if text == "" && f.before != "" {
		return nil
	}
	switch f.Type {
	case Integer, Number:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return f.formError(text, "a number")
		}
		if f.Auto && n == 0 {
			return nil
		}
		if !(n >= f.Min && n <= f.Max) { // also refuses NaN
			return &FieldError{Field: f.Name, Text: fmt.Sprintf("%s is %s, but must lie between %g and %g%s", f.Name, text, f.Min, f.Max, f.autoHint())}
		}
	case Text, List:
		for _, v := range strings.Split(text, ",") {
			if f.Values != nil && !slices.Contains(f.Values, v) {
				return &FieldError{Field: f.Name, Text: fmt.Sprintf("%s is %q, but must be one of: %s", f.Name, v, strings.Join(f.Values, ", "))}
			}
		}
	}
	return nil
}

func (f Field) autoHint() string {
	if f.Auto {
		return " (0: chosen for you)"
	}
	return ""
}
