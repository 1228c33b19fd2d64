package manifest

import (
	"encoding/binary"
	"slices"
)

const (
	bmpRGB       = 0
	bmpBitfields = 3
)

// isBMP tells a bitmap from a text that begins with BM, by the size of its second header.
func isBMP(start []byte) bool {
	return slices.Contains([]uint32{12, 40, 52, 56, 64, 108, 124}, binary.LittleEndian.Uint32(start[14:]))
}

// bmp reads the two headers (BITMAPFILEHEADER and BITMAPCOREHEADER or BITMAPINFOHEADER) and checks that the rows are there.
func (w *window) bmp() (Header, error) {
	h := Header{Format: BMP}
	b := w.upTo(0, 70)
	pixels := int64(binary.LittleEndian.Uint32(b[10:]))
	if binary.LittleEndian.Uint32(b[14:]) == 12 {
		return h, refuse(Unsupported, "is a bitmap of OS/2, which cannot be trained on. %s", asJPEG)
	}
	if len(b) < 54 {
		return h, damaged(sayCut)
	}
	h.Width, h.Height = int(int32(binary.LittleEndian.Uint32(b[18:]))), int(int32(binary.LittleEndian.Uint32(b[22:])))
	if h.Height < 0 { // stored from the top
		h.Height = -h.Height
	}
	if !withinLimits(h.Width, h.Height) {
		return h, outside(h.Width, h.Height)
	}
	depth, compression := binary.LittleEndian.Uint16(b[28:]), binary.LittleEndian.Uint32(b[30:])
	masked := compression == bmpBitfields && depth == 32 && bmpMasks(b)
	if compression != bmpRGB && !masked || !slices.Contains([]uint16{1, 2, 4, 8, 24, 32}, depth) {
		return h, refuse(Unsupported, "is a bitmap of a rare kind (compressed, 16-bit or with colours in another order), which cannot be trained on. %s", asJPEG)
	}
	row := (int64(h.Width)*int64(depth) + 31) / 32 * 4
	if pixels+row*int64(h.Height) > w.size {
		return h, damaged(sayCut)
	}
	return h, nil
}

// bmpMasks reports whether the colour masks say the order that bitmaps without masks have.
func bmpMasks(b []byte) bool {
	return len(b) >= 70 && binary.LittleEndian.Uint32(b[54:]) == 0xff0000 && binary.LittleEndian.Uint32(b[58:]) == 0xff00 &&
		binary.LittleEndian.Uint32(b[62:]) == 0xff && binary.LittleEndian.Uint32(b[66:]) == 0xff000000
}
