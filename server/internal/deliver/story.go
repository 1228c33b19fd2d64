package deliver

import (
	"bytes"
	"embed"
	"fmt"
	htmltemplate "html/template"
	"math"
	"strings"
	texttemplate "text/template"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

//go:embed templates/mail.txt templates/mail.html
var templates embed.FS

const (
	longestName  = 80 // cells
	longestNames = 200
	longestWhy   = 1000
	dateFormat   = "2 January 2006, 15:04 UTC"
)

// story is what a mail tells. Its texts fit into one line each, whoever wrote them.
type story struct {
	State     api.State
	Number    int
	Name      string // empty: the run has none
	Dataset   string
	Classes   int
	Names     string // of the classes
	Accuracy  string // a sentence; empty: not measured
	Took      string // empty: it never started
	Why       string // it ended so
	Link      string
	Expires   string // a sentence
	NoLink    string // a sentence on why there is none
	File, Use string // what the link leads to, and how to use it
	PublicURL string
	share     float64 // of images named rightly; NaN: not measured
}

func (m *mailer) story(t store.Task, artifacts []runspec.Artifact, d store.Delivery, link *store.Delivery) story {
	s := story{
		State: t.State, Number: t.Number, Name: line(t.Name, longestName), Dataset: line(t.DatasetName, longestName),
		Classes: len(t.Classes), Names: safe.Texts(t.Classes, ", ").Cut(longestNames).String(),
		Why: line(t.Reason, longestWhy), PublicURL: line(m.publicURL, longestWhy),
	}
	s.share, s.Accuracy = accuracy(t)
	if t.Started != nil && t.Ended != nil {
		s.Took = span(t.Ended.Sub(*t.Started))
	}
	if t.State != api.StateSucceeded {
		return s
	}
	for _, a := range artifacts {
		if model, ok := modelOf(artifacts); a.Name == d.Artifact || (d.Artifact == "" && ok && a.Name == model.Name) {
			s.File, s.Use = line(a.Name, longestName), use(a)
		}
	}
	switch {
	case link != nil && link.URL != "":
		s.Link = line(link.URL, longestWhy)
		s.Expires = "The link does not end by itself."
		if link.Expires != nil {
			s.Expires = "The link ends on " + link.Expires.UTC().Format(dateFormat) + "."
		}
	case link != nil:
		s.NoLink = "No share link could be made. " + link.Reason
	case !m.shares:
		s.NoLink = "This server makes no share links."
	}
	return s
}

func line(s string, cells int) string { return safe.Text(s).Cut(cells).String() }

// accuracy says how good a model is on images that it has not learned from.
func accuracy(t store.Task) (float64, string) {
	share, how := t.TestAccuracy, "it has never seen,"
	if share == nil {
		share, how = t.ValAccuracy, "that it did not learn from, though they decided when to stop,"
	}
	if share == nil || t.State != api.StateSucceeded {
		return math.NaN(), ""
	}
	of := math.Round(*share * 100)
	return *share, fmt.Sprintf("Of 100 photos %s it names about %.0f rightly (%.1f %%).", how, of, *share*100)
}

// span says a time as people do.
func span(d time.Duration) string {
	count := func(n int, unit string) string {
		if n == 1 {
			return "1 " + unit
		}
		return fmt.Sprintf("%d %ss", n, unit)
	}
	d = max(d, 0)
	minutes := int(d.Round(time.Minute) / time.Minute)
	switch {
	case d < 90*time.Second:
		return count(int(d.Round(time.Second)/time.Second), "second")
	case minutes < 60:
		return count(minutes, "minute")
	case minutes%60 == 0:
		return count(minutes/60, "hour")
	}
	return count(minutes/60, "hour") + " " + count(minutes%60, "minute")
}

// use is how to use a file, in one line.
func use(a runspec.Artifact) string {
	switch a.Format {
	case formatH5:
		return fmt.Sprintf("It is a Keras model; in Python: model = tf.keras.models.load_model(%q)", safe.Text(a.Name))
	case formatKeras:
		return fmt.Sprintf("It is a Keras 3 model; in Python: model = keras.models.load_model(%q)", safe.Text(a.Name))
	case formatSavedModel:
		return "It is a TensorFlow SavedModel; unpack it, and in Python: model = tf.saved_model.load(\"savedmodel\")"
	case formatTFLite, formatTFLiteFloat16, formatTFLiteInt8:
		return "It is a TensorFlow Lite model; on a phone or a small board open it with MediaPipe's ImageClassifier."
	case formatONNX:
		return fmt.Sprintf("It is an ONNX model; in Python: session = onnxruntime.InferenceSession(%q)", safe.Text(a.Name))
	case formatTFJS:
		return "It is a TensorFlow.js model; unpack it, and in JavaScript: model = await tf.loadLayersModel(\"tfjs/model.json\")"
	case formatPage:
		return "Save it, open it in a browser and drop a photo on it; it works without a network."
	case formatCoreML:
		return "It is a Core ML model; drag it into an Xcode project."
	}
	return ""
}

func (s story) subject() string {
	run := fmt.Sprintf("Run #%d", s.Number)
	if s.Name != "" {
		// A name that looks like an encoded word (RFC 2047) would be decoded by whoever reads it.
		run += " " + strings.ReplaceAll(s.Name, "=?", "= ?")
	}
	switch {
	case s.State == api.StateFailed:
		return run + " failed"
	case s.State == api.StateCancelled:
		return run + " was cancelled"
	case math.IsNaN(s.share):
		return run + " is done"
	}
	return fmt.Sprintf("%s is done: %.0f of 100 photos named rightly", run, math.Round(s.share*100))
}

// render writes the story as plain text and as HTML. Everything in it is made fit for HTML by the template.
func (s story) render() (text, html string, err error) {
	var b bytes.Buffer
	plain, err := texttemplate.ParseFS(templates, "templates/mail.txt")
	if err != nil {
		return "", "", err
	}
	if err := plain.Execute(&b, s); err != nil {
		return "", "", err
	}
	text = strings.TrimSpace(b.String()) + "\n"
	b.Reset()
	rich, err := htmltemplate.ParseFS(templates, "templates/mail.html")
	if err != nil {
		return "", "", err
	}
	if err := rich.Execute(&b, s); err != nil {
		return "", "", err
	}
	return text, b.String(), nil
}
