package manifest

import "encoding/binary"

const jpegMaxJunk = 64 << 10 // bytes between segments, in all

// jpeg walks the segments (ITU-T T.81, annex B) up to the first scan.
func (w *window) jpeg() (Header, error) {
	h := Header{Format: JPEG}
	junk := 0
	for off := int64(2); ; {
		b := w.exactly(off, 2)
		if b == nil {
			return h, damaged(sayCut)
		}
		marker := b[1]
		skip, isJunk := jpegSkip(b[0], marker)
		if isJunk {
			if junk++; junk > jpegMaxJunk {
				return h, damaged("its header makes no sense")
			}
		}
		if skip > 0 {
			off += skip
			continue
		}
		if marker == 0xd9 {
			return h, damaged("it has no picture in it")
		}
		b = w.exactly(off+2, 2)
		if b == nil {
			return h, damaged(sayCut)
		}
		length := int64(binary.BigEndian.Uint16(b))
		switch {
		case length < 2:
			return h, damaged("its header makes no sense")
		case marker == 0xda:
			return h, w.jpegScan(&h, off+2+length)
		case marker == 0xe1 && h.Orientation == 0:
			if id := w.exactly(off+4, 6); string(id) == "Exif\x00\x00" {
				h.Orientation = w.orientation(off+10, length-8)
			}
		case jpegFrameMarker(marker):
			if err := w.jpegFrame(&h, off, marker); err != nil {
				return h, err
			}
		}
		off += 2 + length
	}
}

// jpegSkip says how many bytes to pass over because no segment with a length begins with these two. Decoders skip what is
// no marker at all, and so does this reader, within reason: such a byte is junk.
func jpegSkip(first, marker byte) (bytes int64, junk bool) {
	switch {
	case first != 0xff || marker == 0x00:
		return 1, true
	case marker == 0xff: // fill byte
		return 1, false
	case marker == 0x01 || marker >= 0xd0 && marker <= 0xd8: // no length follows
		return 2, false
	}
	return 0, false
}

// jpegFrameMarker tells the start-of-frame markers from the tables and extensions between them (table B.1).
func jpegFrameMarker(marker byte) bool {
	return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc
}

// jpegFrame reads the frame header at off.
func (w *window) jpegFrame(h *Header, off int64, marker byte) error {
	f := w.exactly(off+4, 6)
	if f == nil {
		return damaged(sayCut)
	}
	if marker > 0xc2 || f[0] != 8 {
		return refuse(Unsupported, "is a JPEG of a rare kind (lossless, arithmetic or 12-bit), which cannot be trained on. %s", asJPEG)
	}
	h.Height, h.Width = int(binary.BigEndian.Uint16(f[1:])), int(binary.BigEndian.Uint16(f[3:]))
	if n := f[5]; n != 1 && n != 3 && n != 4 {
		return damaged("its header makes no sense")
	}
	if h.Width == 0 || h.Height == 0 {
		return outside(h.Width, h.Height)
	}
	return nil
}

// jpegScan checks that a frame came before the first scan and that the end marker comes after it. The marker is mostly the
// last two bytes; some cameras append to it. Within a scan FF D9 can be nothing else.
func (w *window) jpegScan(h *Header, off int64) error {
	if h.Width == 0 {
		return damaged("its header makes no sense")
	}
	if end := w.exactly(w.size-2, 2); w.size-2 >= off && end != nil && end[0] == 0xff && end[1] == 0xd9 {
		return nil
	}
	h.NoEnd = w.find(off, "\xff\xd9") < 0
	return nil
}
