package data

import (
	"bytes"
	"encoding/binary"
)

// jpegHeader is what must be known of a JPEG before it is decoded.
type jpegHeader struct {
	width, height int // as stored
	orientation   int // EXIF 1…8; 1 when absent
}

// readJPEGHeader walks the markers up to the first frame header (ITU T.81, B.1). ok is false when there is none.
func readJPEGHeader(file []byte) (h jpegHeader, ok bool) {
	h.orientation = 1
	at := 2
	for at+4 <= len(file) {
		if file[at] != 0xff {
			return h, false
		}
		marker := file[at+1]
		if marker == 0xff { // fill byte
			at++
			continue
		}
		if marker == 0x01 || marker >= 0xd0 && marker <= 0xd8 { // no length follows
			at += 2
			continue
		}
		length := int(binary.BigEndian.Uint16(file[at+2:]))
		end := at + 2 + length
		if length < 2 || end > len(file) {
			return h, false
		}
		body := file[at+4 : end]
		switch {
		case isFrameHeader(marker):
			if len(body) < 5 {
				return h, false
			}
			h.height = int(binary.BigEndian.Uint16(body[1:]))
			h.width = int(binary.BigEndian.Uint16(body[3:]))
			return h, h.width > 0 && h.height > 0
		case marker == 0xe1 && h.orientation == 1:
			h.orientation = exifOrientation(body)
		case marker == 0xda || marker == 0xd9: // image data or end before a frame header
			return h, false
		}
		at = end
	}
	return h, false
}

// isFrameHeader tells SOF0…SOF15 from the tables that lie among their numbers.
func isFrameHeader(marker byte) bool {
	return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc
}

// exifOrientation reads tag 0x0112 of the first directory of an APP1 segment (EXIF 2.3, 4.6.4); 1 when there is none.
func exifOrientation(app1 []byte) int {
	tiff, found := bytes.CutPrefix(app1, []byte("Exif\x00\x00"))
	if !found || len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.BigEndian
	if string(tiff[:2]) == "II" {
		order = binary.LittleEndian
	}
	directory := int64(order.Uint32(tiff[4:]))
	if directory+2 > int64(len(tiff)) {
		return 1
	}
	entries := tiff[directory:]
	count := int(order.Uint16(entries))
	entries = entries[2:]
	for range count {
		if len(entries) < 12 {
			return 1
		}
		if order.Uint16(entries) == 0x0112 {
			if o := int(order.Uint16(entries[8:])); o >= 1 && o <= 8 {
				return o
			}
			return 1
		}
		entries = entries[12:]
	}
	return 1
}

// upright applies an EXIF orientation: 2 to 4 mirror and turn by 180°, 5 to 8 also swap rows and columns.
func upright(p Pixels, orientation int) Pixels {
	if orientation <= 1 || orientation > 8 {
		return p
	}
	out := Pixels{Width: p.Width, Height: p.Height, RGB: make([]uint8, len(p.RGB))}
	swapped := orientation >= 5
	if swapped {
		out.Width, out.Height = p.Height, p.Width
	}
	// Where the pixel of the upright image lies in the stored one.
	mirrorX := orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8
	mirrorY := orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7
	i := 0
	for y := range out.Height {
		for x := range out.Width {
			sx, sy := x, y
			if swapped {
				sx, sy = y, x
			}
			if mirrorX {
				sx = p.Width - 1 - sx
			}
			if mirrorY {
				sy = p.Height - 1 - sy
			}
			copy(out.RGB[i:i+3], p.RGB[3*(sy*p.Width+sx):])
			i += 3
		}
	}
	return out
}
