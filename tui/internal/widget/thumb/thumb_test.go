package thumb_test

import (
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"github.com/cultivar-ml/cultivar/tui/internal/widget/thumb"
)

// stored returns how a camera stores the upright picture (red left, blue right, 40 × 20) under an EXIF orientation.
func upright() *image.RGBA {
	im := image.NewRGBA(image.Rect(0, 0, 40, 20))
	for y := range 20 {
		for x := range 40 {
			c := color.RGBA{255, 0, 0, 255}
			if x >= 20 {
				c = color.RGBA{0, 0, 255, 255}
			}
			if y < 10 {
				c.G = 200
			}
			im.SetRGBA(x, y, c)
		}
	}
	return im
}

func stored(o int) image.Image {
	src := upright()
	w, h := 40, 20
	if o >= 5 {
		w, h = 20, 40
	}
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			// The definitions of EXIF 2.3: where row 0 and column 0 of the stored picture are in the upright one.
			at := map[int][2]int{1: {x, y}, 2: {39 - x, y}, 3: {39 - x, 19 - y}, 4: {x, 19 - y},
				5: {y, x}, 6: {39 - y, x}, 7: {39 - y, 19 - x}, 8: {y, 19 - x}}[o]
			out.SetRGBA(x, y, src.RGBAAt(at[0], at[1]))
		}
	}
	return out
}

func TestOrientation(t *testing.T) {
	want := strings.Join(thumb.Fit(stored(1), 1, 16, 8).Lines(), "\n")
	for o := 2; o <= 8; o++ {
		t.Run(fmt.Sprint(o), func(t *testing.T) {
			im := thumb.Fit(stored(o), o, 16, 8)
			if got := strings.Join(im.Lines(), "\n"); got != want {
				t.Errorf("orientation %d is not turned upright:\n%s\nwant\n%s", o, got, want)
			}
		})
	}
}

func TestSize(t *testing.T) {
	for _, b := range []image.Rectangle{image.Rect(0, 0, 1, 1), image.Rect(0, 0, 1000, 3), image.Rect(0, 0, 3, 1000), image.Rect(5, 5, 5, 9)} {
		lines := thumb.Fit(image.NewRGBA(b), 0, 10, 4).Lines()
		for _, l := range lines {
			if len(lines) != 4 || ansi.StringWidth(l) != 10 {
				t.Errorf("%v: %d lines of %d cells", b, len(lines), ansi.StringWidth(l))
			}
		}
	}
}

func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jpg")
	if err := os.WriteFile(path, []byte("no image"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := thumb.Load(path, 0, 8, 4); err == nil {
		t.Error("a file that is no image gave a picture")
	}
}
