package attempt

import (
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/report"
)

// A photo whose bytes have gone since it was learned from costs the report its picture and nothing else.
func TestPrepare(t *testing.T) {
	file := filepath.Join(t.TempDir(), "photo.png")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	photo := image.NewNRGBA(image.Rect(0, 0, 300, 200))
	for i := range 300 * 200 {
		photo.Set(i%300, i/300, color.NRGBA{R: 200, A: 255})
	}
	if err := png.Encode(f, photo); err != nil {
		t.Fatal(err)
	}
	f.Close()
	var huge sync.Mutex
	decoder, err := data.NewDecoder(&huge)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	for name, c := range map[string]struct {
		file          string
		class         int
		fit           data.Fit
		width, height int // 0: no picture
		mapped        bool
	}{
		"a mistake":       {file, 2, data.Stretch, 300, 200, true},
		"a doubtful one":  {file, -1, data.Stretch, 300, 200, false},
		"its middle":      {file, 2, data.Crop, 1, 1, true},
		"gone":            {file + ".gone", 2, data.Stretch, 0, 0, false},
		"no photo at all": {"pictures_test.go", 2, data.Stretch, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pictured{item: data.Item{File: c.file}, class: c.class}
			p.prepare(decoder, "", 224, c.fit)
			values := 0
			if c.width > 0 {
				values = report.Thumb * report.Thumb * 3
			}
			if p.width != c.width || p.height != c.height || len(p.thumb) != values || (p.image != nil) != c.mapped {
				t.Errorf("%d×%d with %d values, mapped %v", p.width, p.height, len(p.thumb), p.image != nil)
			}
		})
	}
}
