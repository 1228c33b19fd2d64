package manifest

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"

	"golang.org/x/image/bmp"
	"golang.org/x/image/webp"
)

const (
	decodePixels = 32_000_000 // in decoding at once, and of one image that is decoded: half a gigabyte at the worst
	gridWidth    = 9
	gridHeight   = 8
	gridSamples  = 32 // samples a side of a grid cell; more change nothing
	minGradients = 12 // of 64 that must be visible, else the hash says nothing: blank pages, plain backgrounds
	minGradient  = 2  // grey levels that are visible
)

// What is remembered in place of a difference hash.
const (
	undecodable = "!" // no decoder here reads it
	featureless = "-" // it is too plain
)

// differenceHash decodes an image and returns 16 hex digits, or nothing if it is too plain to tell from others. Of the
// upright picture on white, reduced to 9×8 grey means, a bit is set where a cell is darker than its right neighbour, row by
// row from the highest bit (N. Krawetz, "Kind of Like That", 2013).
func differenceHash(data []byte, format Format, orientation int) (string, error) {
	img, err := decodeImage(data, format)
	if err != nil {
		return "", err
	}
	b := img.Bounds()
	if b.Empty() || b.Dx()*b.Dy() > decodePixels {
		return "", fmt.Errorf("decode: %d×%d pixels", b.Dx(), b.Dy())
	}
	cells := grid(img, orientation)
	var hash uint64
	visible := 0
	for y := range gridHeight {
		for x := range gridWidth - 1 {
			d := cells[y][x+1] - cells[y][x]
			hash <<= 1
			if d > 0 {
				hash |= 1
			}
			if d >= minGradient || d <= -minGradient {
				visible++
			}
		}
	}
	if visible < minGradients || hash == 0 {
		return "", nil
	}
	return fmt.Sprintf("%016x", hash), nil
}

// decodeImage makes a decoder's panic an error: the file is hostile or the decoder wrong, and the scan has to go on.
func decodeImage(data []byte, format Format) (img image.Image, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decode: the %s decoder failed: %v", format, p)
		}
	}()
	r := bytes.NewReader(data)
	switch format {
	case JPEG:
		return jpeg.Decode(r)
	case PNG:
		return png.Decode(r)
	case GIF:
		return gif.Decode(r)
	case BMP:
		return bmp.Decode(r)
	case WebP:
		return webp.Decode(r)
	}
	return nil, fmt.Errorf("decode: unknown format %q", format)
}

// grid is the mean grey level, 0…255, of each cell of the upright picture.
func grid(img image.Image, orientation int) [gridHeight][gridWidth]float64 {
	var sum, n [gridHeight][gridWidth]float64
	grey := greyAt(img)
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	stepX, stepY := max(1, w/(gridWidth*gridSamples)), max(1, h/(gridWidth*gridSamples))
	for y := 0; y < h; y += stepY {
		for x := 0; x < w; x += stepX {
			u, v, uw, vh := upright(x, y, w, h, orientation)
			cx, cy := u*gridWidth/uw, v*gridHeight/vh
			sum[cy][cx] += grey(b.Min.X+x, b.Min.Y+y)
			n[cy][cx]++
		}
	}
	for y := range sum {
		for x := range sum[y] {
			if n[y][x] > 0 {
				sum[y][x] /= n[y][x]
			}
		}
	}
	return sum
}

// upright is where a stored pixel lies in the upright picture, and that picture's size (Exif 2.32, tag 0x0112).
func upright(x, y, w, h, orientation int) (u, v, uw, vh int) {
	switch orientation {
	case 2:
		return w - 1 - x, y, w, h
	case 3:
		return w - 1 - x, h - 1 - y, w, h
	case 4:
		return x, h - 1 - y, w, h
	case 5:
		return y, x, h, w
	case 6:
		return h - 1 - y, x, h, w
	case 7:
		return h - 1 - y, w - 1 - x, h, w
	case 8:
		return y, w - 1 - x, h, w
	}
	return x, y, w, h
}

// greyAt returns how to read a pixel's grey level, without conversions where the picture has it stored.
func greyAt(img image.Image) func(x, y int) float64 {
	switch m := img.(type) {
	case *image.YCbCr:
		return func(x, y int) float64 { return float64(m.Y[m.YOffset(x, y)]) }
	case *image.Gray:
		return func(x, y int) float64 { return float64(m.Pix[m.PixOffset(x, y)]) }
	case *image.Paletted:
		levels := make([]float64, len(m.Palette))
		for i, c := range m.Palette {
			levels[i] = greyOf(c)
		}
		return func(x, y int) float64 {
			if i := int(m.ColorIndexAt(x, y)); i < len(levels) {
				return levels[i]
			}
			return 0
		}
	}
	return func(x, y int) float64 { return greyOf(img.At(x, y)) }
}

// greyOf is the luma (ITU-R BT.601) of a colour on white.
func greyOf(c color.Color) float64 {
	r, g, b, a := c.RGBA()
	luma := .299*float64(r) + .587*float64(g) + .114*float64(b)
	return (luma + float64(0xffff-a)) / 257
}
