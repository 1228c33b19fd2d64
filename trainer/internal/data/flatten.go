package data

import (
	"image"
	"image/color"
)

// flatten converts any decoded image to RGB, transparency composed on white: what lies under a transparent pixel is
// often black or noise that nobody ever saw.
func flatten(img image.Image) Pixels {
	b := img.Bounds()
	p := Pixels{Width: b.Dx(), Height: b.Dy()}
	p.RGB = make([]uint8, p.Width*p.Height*3)
	switch src := img.(type) {
	case *image.RGBA:
		for y := range p.Height {
			premultipliedRow(p.row(y), src.Pix[y*src.Stride:])
		}
	case *image.NRGBA:
		for y := range p.Height {
			straightRow(p.row(y), src.Pix[y*src.Stride:])
		}
	case *image.Gray:
		for y := range p.Height {
			row := p.row(y)
			for x, v := range src.Pix[y*src.Stride : y*src.Stride+p.Width] {
				row[3*x], row[3*x+1], row[3*x+2] = v, v, v
			}
		}
	case *image.Paletted:
		flattenPaletted(p, src)
	case *image.YCbCr:
		for y := range p.Height {
			row := p.row(y)
			for x := range p.Width {
				c := src.YCbCrAt(b.Min.X+x, b.Min.Y+y)
				row[3*x], row[3*x+1], row[3*x+2] = color.YCbCrToRGB(c.Y, c.Cb, c.Cr)
			}
		}
	default:
		for y := range p.Height {
			row := p.row(y)
			for x := range p.Width {
				row[3*x], row[3*x+1], row[3*x+2] = onWhite(img.At(b.Min.X+x, b.Min.Y+y))
			}
		}
	}
	return p
}

func (p Pixels) row(y int) []uint8 { return p.RGB[3*y*p.Width : 3*(y+1)*p.Width] }

func premultipliedRow(dst, src []uint8) {
	for i, j := 0, 0; i < len(dst); i, j = i+3, j+4 {
		rest := 255 - src[j+3]
		dst[i], dst[i+1], dst[i+2] = src[j]+rest, src[j+1]+rest, src[j+2]+rest
	}
}

func straightRow(dst, src []uint8) {
	for i, j := 0, 0; i < len(dst); i, j = i+3, j+4 {
		a := uint32(src[j+3])
		for c := range 3 {
			dst[i+c] = uint8((uint32(src[j+c])*a + 255*(255-a) + 127) / 255)
		}
	}
}

func flattenPaletted(p Pixels, src *image.Paletted) {
	// Of 256, as a damaged file may name colours that its palette does not have.
	var palette [256][3]uint8
	for i, c := range src.Palette {
		palette[i][0], palette[i][1], palette[i][2] = onWhite(c)
	}
	for y := range p.Height {
		row := p.row(y)
		for x, v := range src.Pix[y*src.Stride : y*src.Stride+p.Width] {
			copy(row[3*x:3*x+3], palette[v][:])
		}
	}
}

// onWhite composes a colour on white.
func onWhite(c color.Color) (r, g, b uint8) {
	pr, pg, pb, pa := c.RGBA()
	rest := 0xffff - pa
	return uint8((pr + rest) >> 8), uint8((pg + rest) >> 8), uint8((pb + rest) >> 8)
}
