package manifest

import (
	"encoding/binary"
	"hash/crc32"
)

const pngEnd = "\x00\x00\x00\x00IEND\xaeB`\x82"

// png checks the first chunk and walks the others (W3C PNG, third edition, 5.3): to the first IDAT, and on to IEND only
// when IEND is not the end of the file.
func (w *window) png() (Header, error) {
	h := Header{Format: PNG}
	if err := w.pngHead(&h); err != nil {
		return h, err
	}
	data := false
	for off := int64(33); ; {
		c := w.exactly(off, 8)
		if c == nil {
			return h, damaged(sayCut)
		}
		length := int64(binary.BigEndian.Uint32(c))
		switch string(c[4:]) {
		case "acTL":
			h.Animated = !data && w.pngFrames(off)
		case "eXIf":
			h.Orientation = w.orientation(off+8, length)
		case "IDAT":
			if !data && string(w.exactly(w.size-int64(len(pngEnd)), len(pngEnd))) == pngEnd {
				return h, nil
			}
			data = true
		case "IEND":
			if !data {
				return h, damaged("it has no picture in it")
			}
			if w.exactly(off+8, 4) == nil {
				return h, damaged(sayCut)
			}
			return h, nil
		}
		off += 12 + length
	}
}

// pngHead reads the IHDR chunk.
func (w *window) pngHead(h *Header) error {
	head := w.exactly(8, 25) // length, IHDR, 13 bytes, CRC
	if head == nil {
		return damaged(sayCut)
	}
	if string(head[:8]) != "\x00\x00\x00\x0dIHDR" || crc32.ChecksumIEEE(head[4:21]) != binary.BigEndian.Uint32(head[21:]) {
		return damaged("its header makes no sense")
	}
	width, height := binary.BigEndian.Uint32(head[8:]), binary.BigEndian.Uint32(head[12:])
	if width > 1<<31-1 || height > 1<<31-1 || !pngDepth(head[16], head[17]) || head[18] != 0 || head[19] != 0 || head[20] > 1 {
		return damaged("its header makes no sense")
	}
	h.Width, h.Height = int(width), int(height)
	return nil
}

// pngFrames reports whether the acTL chunk at off announces more than one frame.
func (w *window) pngFrames(off int64) bool {
	b := w.exactly(off+8, 4)
	return b != nil && binary.BigEndian.Uint32(b) > 1
}

// pngDepth tells the combinations of bit depth and colour type that exist (table 11.1).
func pngDepth(depth, colour byte) bool {
	switch colour {
	case 0:
		return depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16
	case 3:
		return depth == 1 || depth == 2 || depth == 4 || depth == 8
	case 2, 4, 6:
		return depth == 8 || depth == 16
	}
	return false
}
