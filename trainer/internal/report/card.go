package report

import (
	_ "embed" // the template
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/template"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
)

//go:embed card.md
var cardText string

// cardClasses is how many classes a card lists; a card is read, and labels.txt has them all.
const cardClasses = 100

// Card writes model-card.md: the sections of Mitchell et al. 2019 ("Model Cards for Model Reporting", arXiv:1810.03993) with
// the metadata that the Hugging Face Hub reads in front. It says what is known of this run and nothing that would be true of
// any model; the sections that only the owner of the photos can fill say so.
func Card(w io.Writer, r Run) error {
	t, err := template.New("card").Funcs(template.FuncMap{"md": markdown, "name": cardName, "yaml": quoted, "percent": percent[runspec.Float],
		"count": count, "size": size, "ms": ms}).Parse(cardText)
	if err != nil {
		return fmt.Errorf("write the model card: %w", err)
	}
	if err := t.Execute(w, newCard(r)); err != nil {
		return fmt.Errorf("write the model card: %w", err)
	}
	return nil
}

// card is what the template sees besides the run.
type card struct {
	Run
	License   string   // as the Hub spells it
	Library   string   // "": the Hub knows none that loads these files
	Tags      []string // kinds of files that the Hub knows
	Date      string
	Unseen    string
	Right     int
	Low, High runspec.Float
	All       Class // the counts of all classes
	Listed    []cardClass
	Unlisted  int
	Kinds     string // file formats of the photos
	Scores    []runspec.ClassScore
	Weak      []runspec.ClassScore // the classes found worst
	Small     []Class
	LessSure  bool // no test photos
}

type cardClass struct {
	Class
	Score runspec.ClassScore
}

func newCard(r Run) card {
	c := card{Run: r, License: strings.ToLower(r.Base.License), Date: r.Ended.UTC().Format("2006-01-02"), Unseen: r.unseen(),
		Right: r.right(), All: r.Dataset.sum(), LessSure: r.Report.Split != "test", Kinds: kinds(r.Dataset.Formats)}
	low, high := Wilson(c.Right, r.Report.Images)
	c.Low, c.High = runspec.Float(low), runspec.Float(high)
	if len(r.models(export.H5, export.Keras)) > 0 {
		c.Library = "keras"
	}
	for _, tag := range []struct {
		name    string
		formats []export.Format
	}{
		{"tflite", []export.Format{export.TFLite, export.TFLiteFloat16, export.TFLiteInt8}},
		{"onnx", []export.Format{export.ONNX}}, {"tfjs", []export.Format{export.TFJS}}, {"coreml", []export.Format{export.CoreML}},
	} {
		if len(r.models(tag.formats...)) > 0 {
			c.Tags = append(c.Tags, tag.name)
		}
	}
	for i, class := range r.Dataset.Classes {
		if i < len(r.Report.Classes) {
			c.Listed = append(c.Listed, cardClass{class, r.Report.Classes[i]})
		}
		if n := class.Train; n < manifest.MinPerClass {
			c.Small = append(c.Small, class)
		}
	}
	c.Weak = weakest(r.Report.Classes)
	c.Unlisted = len(c.Listed) - min(cardClasses, len(c.Listed))
	c.Listed = c.Listed[:len(c.Listed)-c.Unlisted]
	return c
}

// weakest are up to three classes of which less than nine in ten photos are found, the worst first.
func weakest(all []runspec.ClassScore) []runspec.ClassScore {
	const enough, most = 0.9, 3
	var weak []runspec.ClassScore
	for _, c := range all {
		if c.Images > 0 && c.Recall < enough {
			weak = append(weak, c)
		}
	}
	slices.SortStableFunc(weak, func(a, b runspec.ClassScore) int {
		switch {
		case a.Recall < b.Recall:
			return -1
		case a.Recall > b.Recall:
			return 1
		}
		return 0
	})
	return weak[:min(most, len(weak))]
}

// kinds says how many photos are of which file format, the most frequent first.
func kinds(formats map[manifest.Format]int) string {
	names := slices.SortedFunc(maps.Keys(formats), func(a, b manifest.Format) int {
		if formats[a] != formats[b] {
			return formats[b] - formats[a]
		}
		return strings.Compare(string(a), string(b))
	})
	words := make([]string, len(names))
	for i, f := range names {
		spelled := strings.ToUpper(string(f))
		if f == manifest.WebP {
			spelled = "WebP"
		}
		words[i] = count(formats[f]) + " " + spelled
	}
	return strings.Join(words, ", ")
}

// markdown is text that stays text in Markdown, in tables too.
func markdown(s string) string {
	var b strings.Builder
	for _, r := range safe.Text(s).String() {
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '&':
			b.WriteString("&amp;")
		case strings.ContainsRune("\\`*_{}[]()#+-.!|~>:@$", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// cardName is a class name in Markdown, cut where it is very long.
func cardName(s string) string { return markdown(name(s)) }

// quoted is a string of YAML, which takes JSON's.
func quoted(s string) (string, error) {
	b, err := json.Marshal(safe.Text(s).String())
	return string(b), err
}
