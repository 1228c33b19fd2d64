package cli

import (
	"fmt"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// compared prints the model beside those that it was measured with.
func (c *command) compared(models []runspec.Compared) {
	if len(models) == 0 {
		return
	}
	t := newTable("", "base model", ">accuracy", ">weights", ">size", ">work per photo", ">ms a photo")
	for _, m := range models {
		t.row(shown(m.Called(), ""), shown(m.Base, ""), percent(float64(m.Accuracy)), fmt.Sprintf("%.1f M", float64(m.Params)/1e6), size(m.Bytes),
			fmt.Sprintf("%.2f G", float64(m.MACs)/1e9), fmt.Sprintf("%.1f", float64(m.MsPerImage)))
	}
	c.say("\nMeasured side by side (size as 32-bit numbers, decoding not counted):\n%s", t)
	for _, m := range models {
		if m.Note != "" {
			c.say("%s: %s.", shown(m.Called(), ""), shown(m.Note, ""))
		}
	}
}
