// Package thumb turns an image file into a few terminal cells: half blocks with two pixels each, which survive cell
// diffing, tmux and 256 colours. It decodes the user's own files and nothing from a network.
package thumb

import (
	"fmt"
	"image"
	"image/color"
	_ "image/gif"  // decoder
	_ "image/jpeg" // decoder
	_ "image/png"  // decoder
	"io"
	"os"
	"strings"

	_ "golang.org/x/image/bmp" // decoder
	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp" // decoder
)

// MaxPixels is the largest image that is decoded for a thumbnail: 64 megapixels take 256 MB for a moment.
const MaxPixels = 64_000_000

// Image is a picture of Width × 2·Height pixels as cells.
type Image struct {
	Width, Height int // cells
	pixels        []color.RGBA
	shown         []bool // false: outside the picture
}

// Load decodes the file and fits it into w × h cells, keeping its proportions; orientation is EXIF's 1…8, 0 for none.
func Load(path string, orientation, w, h int) (Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return Image{}, fmt.Errorf("open image: %w", err)
	}
	defer f.Close()
	cfg, _, err := image.DecodeConfig(f)
	if err != nil {
		return Image{}, fmt.Errorf("read image header: %w", err)
	}
	if cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width > MaxPixels/cfg.Height {
		return Image{}, fmt.Errorf("image of %d × %d pixels is too large to show", cfg.Width, cfg.Height)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Image{}, fmt.Errorf("read image: %w", err)
	}
	src, _, err := image.Decode(f)
	if err != nil {
		return Image{}, fmt.Errorf("decode image: %w", err)
	}
	return Fit(src, orientation, w, h), nil
}

// Fit scales an image into w × h cells; a cell is about as high as two are wide, so a pixel is square.
func Fit(src image.Image, orientation, w, h int) Image {
	out := Image{Width: w, Height: h, pixels: make([]color.RGBA, w*h*2), shown: make([]bool, w*h*2)}
	b := src.Bounds()
	iw, ih := b.Dx(), b.Dy()
	if iw == 0 || ih == 0 || w <= 0 || h <= 0 {
		return out
	}
	if orientation >= 5 {
		iw, ih = ih, iw
	}
	pw, ph := w, 2*h
	if iw*ph > ih*pw {
		ph = max(1, ih*pw/iw)
	} else {
		pw = max(1, iw*ph/ih)
	}
	sw, sh := pw, ph
	if orientation >= 5 {
		sw, sh = ph, pw
	}
	small := image.NewRGBA(image.Rect(0, 0, sw, sh))
	draw.ApproxBiLinear.Scale(small, small.Bounds(), src, b, draw.Src, nil)
	left, top := (w-pw)/2, (2*h-ph)/2
	for y := range ph {
		for x := range pw {
			sx, sy := source(orientation, x, y, pw, ph)
			i := (top+y)*w + left + x
			out.pixels[i], out.shown[i] = small.RGBAAt(sx, sy), true
		}
	}
	return out
}

// source maps a pixel of the upright picture (pw × ph) to the stored one; EXIF 2.3, tag 274.
func source(orientation, x, y, pw, ph int) (int, int) {
	switch orientation {
	case 2:
		return pw - 1 - x, y
	case 3:
		return pw - 1 - x, ph - 1 - y
	case 4:
		return x, ph - 1 - y
	case 5:
		return y, x
	case 6:
		return y, pw - 1 - x
	case 7:
		return ph - 1 - y, pw - 1 - x
	case 8:
		return ph - 1 - y, x
	}
	return x, y
}

// Lines returns Height lines of Width cells. The escape sequences are written here at once, since a style object per
// cell would take longer than all the rest.
func (im Image) Lines() []string {
	out := make([]string, im.Height)
	for row := range im.Height {
		var b strings.Builder
		for col := range im.Width {
			up, down := row*2*im.Width+col, (row*2+1)*im.Width+col
			b.WriteString(cell(im.pixels[up], im.shown[up], im.pixels[down], im.shown[down]))
		}
		b.WriteString("\x1b[0m")
		out[row] = b.String()
	}
	return out
}

func cell(up color.RGBA, upShown bool, down color.RGBA, downShown bool) string {
	switch {
	case upShown && downShown:
		return fmt.Sprintf("\x1b[38;2;%d;%d;%d;48;2;%d;%d;%dm▀", up.R, up.G, up.B, down.R, down.G, down.B)
	case upShown:
		return fmt.Sprintf("\x1b[0;38;2;%d;%d;%dm▀", up.R, up.G, up.B)
	case downShown:
		return fmt.Sprintf("\x1b[0;38;2;%d;%d;%dm▄", down.R, down.G, down.B)
	}
	return "\x1b[0m "
}
