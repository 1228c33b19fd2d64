package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Header is what the first bytes of an image file tell.
type Header struct {
	Format      Format
	Width       int // pixels as stored
	Height      int
	Orientation int  // EXIF 1…8; 0: none
	Animated    bool // more than one frame; APNG and GIF only
	NoEnd       bool // a JPEG without its end marker: it is cut short, unless only the marker is missing
}

// HeaderError says why a file cannot be an image of a dataset. Text continues a sentence that begins with the file's name,
// and says what to do.
type HeaderError struct {
	Reason Reason
	Text   string
}

// Error returns the text.
func (e *HeaderError) Error() string { return e.Text }

func refuse(reason Reason, format string, args ...any) error {
	return &HeaderError{reason, fmt.Sprintf(format, args...)}
}

func damaged(why string) error {
	return refuse(Damaged, "is damaged: %s. Copy it again from where it came, or delete it.", why)
}

const sayCut = "it is cut short"

// ReadHeader tells a file's format by its content, reads its size in pixels and checks, without decoding, that it is whole
// and within the limits. It reads a few kilobytes of most files, the whole file only of those that don't end as they
// should, and holds 4 KiB. The error is a *HeaderError, or that of reading r.
func ReadHeader(r io.ReaderAt, size int64) (Header, error) {
	if size == 0 {
		return Header{}, refuse(Empty, "is empty (0 bytes). Copy it again from where it came, or delete it.")
	}
	if size > MaxFileBytes {
		return Header{}, refuse(TooLarge, "has %d MB; at most %d MB are possible. Save it smaller: models look at a few hundred pixels.", size>>20, MaxFileBytes>>20)
	}
	w := &window{r: r, size: size}
	h, err := w.header()
	switch {
	case w.err != nil:
		return Header{}, fmt.Errorf("read its header: %w", w.err)
	case err != nil:
		return Header{}, err
	case !withinLimits(h.Width, h.Height):
		return Header{}, outside(h.Width, h.Height)
	}
	return h, nil
}

func outside(w, h int) error {
	if w < 1 || h < 1 {
		return damaged(fmt.Sprintf("its header says %d×%d pixels", w, h))
	}
	return refuse(TooManyPixels, "has %d×%d pixels; at most %d a side and %d million in all are possible. Save it smaller: models look at a few hundred pixels.", w, h, MaxSide, MaxPixels/1_000_000)
}

func (w *window) header() (Header, error) {
	start := w.upTo(0, 512)
	has := func(magic string) bool { return bytes.HasPrefix(start, []byte(magic)) }
	switch {
	case has("\xff\xd8\xff"):
		return w.jpeg()
	case has("\x89PNG\r\n\x1a\n"):
		return w.png()
	case has("GIF87a"), has("GIF89a"):
		return w.gif()
	case has("RIFF") && len(start) >= 16 && string(start[8:12]) == "WEBP":
		return w.webp()
	case has("BM") && len(start) >= 26 && isBMP(start):
		return w.bmp()
	}
	if kind, how := otherFormat(start); kind != "" {
		return Header{}, refuse(Unsupported, "is %s, which cannot be trained on. %s", kind, how)
	}
	return Header{}, refuse(NotAnImage, "is not an image, whatever its name says. Delete it or move it out of the folder.")
}

// window reads a file in pieces of 4 KiB, so that small steps through it are cheap and a hostile length costs nothing.
type window struct {
	r    io.ReaderAt
	size int64
	at   int64 // of data in the file
	data []byte
	buf  [4096]byte
	err  error // of reading; the file ending is none
}

// upTo returns the n ≤ 4,096 bytes at off, or as many as the file has. They are valid until the next call.
func (w *window) upTo(off int64, n int) []byte {
	if off < 0 || off >= w.size || w.err != nil {
		return nil
	}
	n = int(min(int64(n), w.size-off))
	if off < w.at || off+int64(n) > w.at+int64(len(w.data)) {
		got, err := w.r.ReadAt(w.buf[:min(int64(len(w.buf)), w.size-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			w.err = err
			return nil
		}
		w.at, w.data = off, w.buf[:got]
	}
	return w.data[off-w.at:][:min(n, len(w.data)-int(off-w.at))]
}

// exactly returns the n ≤ 4,096 bytes at off, or nil when the file ends before.
func (w *window) exactly(off int64, n int) []byte {
	if b := w.upTo(off, n); len(b) == n {
		return b
	}
	return nil
}

// find returns the offset of the first pattern at or after off, or -1.
func (w *window) find(off int64, pattern string) int64 {
	for {
		b := w.upTo(off, len(w.buf))
		if i := bytes.Index(b, []byte(pattern)); i >= 0 {
			return off + int64(i)
		}
		if len(b) < len(w.buf) {
			return -1
		}
		off += int64(len(b) - len(pattern) + 1)
	}
}

// orientation reads tag 0x0112 of IFD 0 from the EXIF block at off, which starts with its TIFF header
// (Exif 2.32, 4.6.4); 0 when there is none.
func (w *window) orientation(off, length int64) int {
	head := w.exactly(off, 8)
	if head == nil {
		return 0
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch string(head[:4]) {
	case "II*\x00":
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 0
	}
	ifd := int64(order.Uint32(head[4:]))
	count := w.exactly(off+ifd, 2)
	if count == nil || ifd > length {
		return 0
	}
	for i := range min(int64(order.Uint16(count)), 512) {
		e := w.exactly(off+ifd+2+12*i, 12)
		if e == nil {
			return 0
		}
		if order.Uint16(e) == 0x0112 {
			if v := int(order.Uint16(e[8:])); v >= 1 && v <= 8 {
				return v
			}
			return 0
		}
	}
	return 0
}

const (
	asJPEG    = "Convert it to JPEG or PNG with any photo program."
	asPhone   = "Share it from the phone as \"most compatible\", or convert it to JPEG: on a Mac with Preview's Export, elsewhere with `heif-convert`."
	asPicture = "It is not a photo; export it as PNG, or delete it."
)

// otherFormat names the formats that people have among their photos and that cannot be trained on.
func otherFormat(start []byte) (kind, how string) {
	for _, f := range []struct{ magic, kind, how string }{
		{"II*\x00", "a TIFF image or a camera's raw file", asJPEG},
		{"MM\x00*", "a TIFF image or a camera's raw file", asJPEG},
		{"II+\x00", "a TIFF image", asJPEG},
		{"MM\x00+", "a TIFF image", asJPEG},
		{"II\xbc", "a JPEG XR image", asJPEG},
		{"FUJIFILMCCD-RAW", "a camera's raw file", asJPEG},
		{"\xff\x0a", "a JPEG XL image", asJPEG},
		{"\x00\x00\x00\x0cJXL ", "a JPEG XL image", asJPEG},
		{"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image", asJPEG},
		{"\xff\x4f\xff\x51", "a JPEG 2000 image", asJPEG},
		{"8BPS", "a Photoshop file", asJPEG},
		{"gimp xcf", "a GIMP file", asJPEG},
		{"qoif", "a QOI image", asJPEG},
		{"v/1\x01", "an OpenEXR image", asJPEG},
		{"DDS ", "a DirectDraw surface", asJPEG},
		{"P4\n", "a PBM image", asJPEG},
		{"P5\n", "a PGM image", asJPEG},
		{"P6\n", "a PPM image", asJPEG},
		{"\x00\x00\x01\x00", "an icon", asPicture},
		{"%PDF", "a PDF document", asPicture},
		{"%!PS", "a PostScript document", asPicture},
	} {
		if bytes.HasPrefix(start, []byte(f.magic)) {
			return f.kind, f.how
		}
	}
	if len(start) >= 12 && string(start[4:8]) == "ftyp" {
		return isoMedia(start)
	}
	text := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(start, []byte("\xef\xbb\xbf")), " \t\r\n"))
	if bytes.HasPrefix(text, []byte("<svg")) || bytes.HasPrefix(text, []byte("<?xml")) && bytes.Contains(text, []byte("<svg")) {
		return "an SVG drawing", asPicture
	}
	return "", ""
}

// isoMedia tells HEIC, AVIF, raw and video by the brands of their ftyp box (ISO/IEC 14496-12, 4.3).
func isoMedia(start []byte) (kind, how string) {
	brands := start[8:min(len(start), int(max(12, min(binary.BigEndian.Uint32(start), 512))))]
	has := func(names ...string) bool {
		for _, n := range names {
			if bytes.Contains(brands, []byte(n)) {
				return true
			}
		}
		return false
	}
	switch {
	case has("avif", "avis"):
		return "an AVIF image", asJPEG
	case has("heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1"):
		return "a HEIC photo", asPhone
	case has("crx "):
		return "a camera's raw file", asJPEG
	}
	return "a video", "Save some of its frames as JPEG, or delete it."
}
