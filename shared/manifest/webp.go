package manifest

import "encoding/binary"

const (
	webpAnimation = 0x02
	webpMaxChunks = 64 // before the picture; real files have a handful
)

// webp reads the chunks of the RIFF container (RFC 9649).
func (w *window) webp() (Header, error) {
	h := Header{Format: WebP}
	b := w.exactly(0, 12)
	if end := int64(binary.LittleEndian.Uint32(b[4:])) + 8; end > w.size+1 { // +1: writers disagree about the last pad byte
		return h, damaged(sayCut)
	}
	canvasW, canvasH, picture := 0, 0, false
	off := int64(12)
	for range webpMaxChunks {
		c := w.upTo(off, 18)
		if len(c) < 8 {
			break
		}
		length := int64(binary.LittleEndian.Uint32(c[4:]))
		id := string(c[:4])
		c = c[8:]
		switch {
		case id == "EXIF":
			h.Orientation = w.webpOrientation(off+8, length)
		case picture: // only the orientation may come after it
		case id == "VP8X" && len(c) == 10:
			if c[0]&webpAnimation != 0 {
				return h, refuse(Unsupported, "is an animated WebP, which cannot be trained on. Save one of its frames as JPEG or PNG, or delete it.")
			}
			canvasW, canvasH = 1+uint24(c[4:]), 1+uint24(c[7:])
		case id == "VP8 " && len(c) == 10, id == "VP8L" && len(c) >= 5:
			if h.Width, h.Height = webpPicture(id, c); h.Width == 0 {
				return h, damaged("its header makes no sense")
			}
			picture = true
		}
		if picture && canvasW == 0 {
			break
		}
		off += 8 + length + length&1
	}
	switch {
	case !picture:
		return h, damaged("it has no picture in it")
	case canvasW != 0 && (canvasW != h.Width || canvasH != h.Height):
		return h, damaged("its picture and its canvas differ in size")
	}
	return h, nil
}

// webpPicture reads the sides from the first bytes of a picture chunk, lossy (RFC 6386, 9.1) or lossless; 0, 0 when they
// are no such picture.
func webpPicture(id string, c []byte) (width, height int) {
	if id == "VP8 " {
		if c[0]&1 != 0 || c[3] != 0x9d || c[4] != 0x01 || c[5] != 0x2a {
			return 0, 0
		}
		return int(binary.LittleEndian.Uint16(c[6:])) & 0x3fff, int(binary.LittleEndian.Uint16(c[8:])) & 0x3fff
	}
	bits := binary.LittleEndian.Uint32(c[1:])
	if c[0] != 0x2f || bits>>29 != 0 {
		return 0, 0
	}
	return 1 + int(bits&0x3fff), 1 + int(bits>>14&0x3fff)
}

// webpOrientation allows for the JPEG prefix that some writers put before the TIFF header.
func (w *window) webpOrientation(off, length int64) int {
	if string(w.exactly(off, 6)) == "Exif\x00\x00" {
		return w.orientation(off+6, length-6)
	}
	return w.orientation(off, length)
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
