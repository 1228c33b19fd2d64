package report

import (
	_ "embed" // the template
	"fmt"
	"io"
	"strings"
	"text/template"

	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
)

//go:embed usage.md
var usageText string

// usage is what the template sees: the first file of each kind that the run made, empty where it made none.
type usage struct {
	Size      int
	Crop      bool
	Threshold string // "": the model has none
	Percent   string // the same in percent

	Keras, KerasToo, SavedModel, TFLite, ONNX, TFJS, Page, CoreML string
	TFLiteToo                                                     []string // the other files of the kind
	Import                                                        string   // Python's, of Keras
}

// Usage writes usage.md: for each format that the run made a sample that runs as it stands, with the preprocessing that the
// model was trained with and its threshold.
func Usage(w io.Writer, r Run) error {
	first := func(formats ...export.Format) string {
		if names := r.models(formats...); len(names) > 0 {
			return names[0]
		}
		return ""
	}
	u := usage{Size: r.Used.ImageSize, Crop: r.Used.Preprocessing == string(data.Crop), Import: "import keras",
		Keras: first(export.H5, export.Keras), SavedModel: first(export.SavedModel), ONNX: first(export.ONNX),
		TFJS: first(export.TFJS), Page: first(export.Page), CoreML: first(export.CoreML)}
	if both := r.models(export.H5, export.Keras); len(both) > 1 {
		u.KerasToo = both[1]
	}
	if first(export.H5) != "" {
		u.Import = "from tensorflow import keras"
	}
	if all := r.models(export.TFLite, export.TFLiteFloat16, export.TFLiteInt8); len(all) > 0 {
		u.TFLite, u.TFLiteToo = all[0], all[1:]
	}
	if t := r.Report.Threshold; t != nil {
		u.Threshold, u.Percent = fmt.Sprintf("%.3f", float64(t.Probability)), percent(t.Probability)
	}
	t, err := template.New("usage").Funcs(template.FuncMap{"code": code, "join": strings.Join}).Parse(usageText)
	if err != nil {
		return fmt.Errorf("write the samples of use: %w", err)
	}
	if err := t.Execute(w, u); err != nil {
		return fmt.Errorf("write the samples of use: %w", err)
	}
	return nil
}

// code is names as Markdown shows file names.
func code(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "`" + n + "`"
	}
	return out
}
