package attempt

import (
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/export"
)

func TestDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		format            export.Format
		difference        float64
		trained, exported float64
		want              string // "": nothing is said
	}{
		"the same":                   {export.H5, 1e-6, 0.9, 0.9, ""},
		"beyond rounding":            {export.H5, 2e-4, 0.9, 0.9, "differently"},
		"float16 rounds more":        {export.TFLiteFloat16, 2e-3, 0.9, 0.9, ""},
		"integers round much more":   {export.TFLiteInt8, 0.2, 0.9, 0.9, ""},
		"a point lost":               {export.TFLiteInt8, 0.2, 0.95, 0.94, ""},
		"two points lost":            {export.TFLiteInt8, 0.2, 0.95, 0.93, "take the format tflite_float16"},
		"two points lost in float16": {export.TFLiteFloat16, 0.2, 0.95, 0.93, "take the format tflite,"},
		"two points lost in float32": {export.ONNX, 0.2, 0.95, 0.93, "prefer another format"},
		"two points won":             {export.TFLiteInt8, 0.2, 0.93, 0.95, ""},
	} {
		t.Run(name, func(t *testing.T) {
			report := export.Report{Images: 100, Agreement: export.Agreement{MaxDifference: c.difference}}
			got := doubt(export.Artifact{Name: "model.file", Format: c.format}, report, c.trained, c.exported)
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q in it", got, c.want)
			}
		})
	}
}
