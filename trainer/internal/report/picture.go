package report

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"slices"

	"github.com/cultivar-ml/cultivar/trainer/internal/cam"
)

// Thumb is the side in pixels of the squares that photos are shown as: enough for half a phone's width, and 48 of them stay
// below half a megabyte.
const Thumb = 160

const (
	thumbQuality = 72 // of JPEG
	veil         = 56 // side in pixels of what lies over a photo; the browser smooths it
	darkest      = 0.82
)

// Picture is a photo as the page shows it.
type Picture struct {
	photo         []byte // JPEG, Thumb×Thumb
	looked        []byte // PNG that darkens what did not speak for the answer; nil: not known
	width, height int    // how the square is to be drawn
}

// NewPicture makes the picture of a photo that was prepared as [Thumb,Thumb,3] of 0…255. It is drawn with sides in the relation
// of width and height. looked is the map of what was said; its Size is 0 when there is none.
func NewPicture(pixels []float32, width, height int, looked cam.Map) (Picture, error) {
	if len(pixels) != Thumb*Thumb*3 || width < 1 || height < 1 {
		return Picture{}, fmt.Errorf("%d values are no picture of %d×%d pixels", len(pixels), Thumb, Thumb)
	}
	square := image.NewRGBA(image.Rect(0, 0, Thumb, Thumb))
	for i := range Thumb * Thumb {
		for c := range 3 {
			square.Pix[4*i+c] = uint8(min(255, max(0, pixels[3*i+c]+0.5)))
		}
		square.Pix[4*i+3] = 255
	}
	var photo bytes.Buffer
	if err := jpeg.Encode(&photo, square, &jpeg.Options{Quality: thumbQuality}); err != nil {
		return Picture{}, fmt.Errorf("make a picture: %w", err)
	}
	p := Picture{photo: photo.Bytes(), width: Thumb, height: max(1, Thumb*height/width)}
	if height > width {
		p.width, p.height = max(1, Thumb*width/height), Thumb
	}
	low, high := extremes(looked.Values)
	if low == high { // it does not tell one place from another
		return p, nil
	}
	var dark bytes.Buffer
	// Black alone, of which only the opacity varies: a palette of it is a quarter of the size.
	if err := png.Encode(&dark, shade(looked, low, high)); err != nil {
		return Picture{}, fmt.Errorf("make a picture: %w", err)
	}
	p.looked = dark.Bytes()
	return p, nil
}

// shade darkens a photo where the map, whose extremes are low and high, is low. The photo's own colours stay where it is
// high, which shows what is there better than colours laid over it, and needs no colour vision.
func shade(m cam.Map, low, high float32) image.Image {
	palette := make(color.Palette, 64)
	for i := range palette {
		palette[i] = color.NRGBA{A: uint8(math.Round(255 * darkest * float64(i) / float64(len(palette)-1)))}
	}
	out := image.NewPaletted(image.Rect(0, 0, veil, veil), palette)
	for i, v := range m.Resize(veil).Values {
		bright := smooth(float64((v-low)/(high-low)), 0.3, 0.75)
		out.Pix[i] = uint8(math.Round((1 - bright) * float64(len(palette)-1)))
	}
	return out
}

// extremes are the lowest and the highest value; both are 0 of none.
func extremes(values []float32) (low, high float32) {
	if len(values) == 0 {
		return 0, 0
	}
	return slices.Min(values), slices.Max(values)
}

// smooth goes from 0 at from to 1 at to, without corners.
func smooth(v, from, to float64) float64 {
	v = min(1, max(0, (v-from)/(to-from)))
	return v * v * (3 - 2*v)
}

// Width is the picture's width on the page, in units of its own.
func (p Picture) Width() int { return p.width }

// Height is the picture's height in the same units.
func (p Picture) Height() int { return p.height }

// Photo is the picture as an address that has it inside.
func (p Picture) Photo() template.URL { return inside("image/jpeg", p.photo) }

// Looked is what darkens the picture, as such an address; empty: it is not known.
func (p Picture) Looked() template.URL { return inside("image/png", p.looked) }

// inside is bytes of our own making as an address; html/template lets no other pass.
func inside(kind string, content []byte) template.URL {
	if content == nil {
		return ""
	}
	return template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(content))
}
