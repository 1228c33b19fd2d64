package manifest

import "encoding/binary"

// gif walks the blocks (GIF89a specification, appendix A) through the first frame, and on to a second one or the end.
func (w *window) gif() (Header, error) {
	h := Header{Format: GIF}
	b := w.exactly(6, 7)
	if b == nil {
		return h, damaged(sayCut)
	}
	h.Width, h.Height = int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
	off := int64(13) + gifTable(b[4])
	for frames := 0; ; {
		b := w.exactly(off, 1)
		switch {
		case b == nil && frames == 0:
			return h, damaged(sayCut)
		case b == nil: // the first frame is whole, which is all that is used
			return h, nil
		}
		switch b[0] {
		case 0x21:
			if off = w.gifBlocks(off + 2); off < 0 && frames > 0 {
				return h, nil
			}
		case 0x2c:
			if frames++; frames > 1 {
				h.Animated = true
				return h, nil
			}
			f := w.exactly(off+1, 9)
			if f == nil {
				return h, damaged(sayCut)
			}
			fw, fh := int(binary.LittleEndian.Uint16(f[4:])), int(binary.LittleEndian.Uint16(f[6:]))
			if !withinLimits(fw, fh) {
				return h, outside(fw, fh)
			}
			off = w.gifBlocks(off + 10 + gifTable(f[8]) + 1)
		case 0x3b:
			if frames == 0 {
				return h, damaged("it has no picture in it")
			}
			return h, nil
		case 0x00: // padding, which some writers leave
			off++
		default:
			if frames == 0 {
				return h, damaged("its header makes no sense")
			}
			return h, nil
		}
		if off < 0 {
			return h, damaged(sayCut)
		}
	}
}

// gifBlocks returns the offset behind the sub-blocks that start at off, or -1 when the file ends within them.
func (w *window) gifBlocks(off int64) int64 {
	for {
		b := w.exactly(off, 1)
		if b == nil {
			return -1
		}
		if b[0] == 0 {
			return off + 1
		}
		off += 1 + int64(b[0])
	}
}

// gifTable is the size in bytes of the colour table that flags announce.
func gifTable(flags byte) int64 {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}
