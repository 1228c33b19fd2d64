package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// FormatVersion is the number of the manifest.jsonl format.
const FormatVersion = 1

const (
	formatName    = "cultivar-manifest"
	maxLine       = 16 << 10 // bytes: the longest path and class with each byte escaped, and all else
	maxHeaderLine = 2 << 20  // MaxClasses names of maxComponent bytes, each escaped
	maxName       = 200      // bytes of a dataset's name, as the API has it
)

// ErrFormat is what Decode and DecodeSplit fail with when the bytes are no list in their format.
var ErrFormat = errors.New("not a valid list of images")

// header is the first line of manifest.jsonl.
type header struct {
	Format  string   `json:"format"`
	Version int      `json:"version"`
	Name    string   `json:"name"`
	Classes []string `json:"classes"`
	Images  int      `json:"images"` // lines that follow: a list cut short is noticed
}

// Encode writes m as manifest.jsonl: a header line, then one image a line. It checks what Decode checks, so that what it
// wrote can be read. Problems and skipped files are not part of it.
func Encode(w io.Writer, m *Manifest) error {
	if err := m.check(); err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(header{formatName, FormatVersion, m.Name, m.Classes, len(m.Images)}); err != nil {
		return fmt.Errorf("write the manifest's header: %w", err)
	}
	for i := range m.Images {
		if err := enc.Encode(&m.Images[i]); err != nil {
			return fmt.Errorf("write image %d to the manifest: %w", i+1, err)
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

// Decode reads a manifest.jsonl and trusts nothing in it: line lengths, counts, limits, names, order and uniqueness are
// checked, and nothing is allocated because a number says so. Failures are ErrFormat with the line's number.
func Decode(r io.Reader) (*Manifest, error) {
	lines := newLines(r)
	var h header
	if err := lines.next(&h, maxHeaderLine); err != nil {
		return nil, err
	}
	if h.Format != formatName || h.Version != FormatVersion {
		return nil, lines.wrong("it is of format %.40q version %d, this program reads %s version %d", h.Format, h.Version, formatName, FormatVersion)
	}
	if h.Images < 1 || h.Images > MaxFiles || len(h.Classes) > MaxClasses {
		return nil, lines.wrong("%d images in %d classes; at most %d in %d are possible", h.Images, len(h.Classes), MaxFiles, MaxClasses)
	}
	m := &Manifest{Name: h.Name, Classes: h.Classes, Skipped: map[Reason]int{}}
	for range h.Images {
		var im Image
		if err := lines.next(&im, maxLine); err != nil {
			return nil, err
		}
		m.Images = append(m.Images, im)
	}
	if err := lines.end(); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return m, nil
}

// check tells what keeps m from being written or used.
func (m *Manifest) check() error {
	if len(m.Name) > maxName || !utf8.ValidString(m.Name) {
		return fmt.Errorf("the dataset's name is longer than %d bytes or not UTF-8", maxName)
	}
	if len(m.Images) < 1 || len(m.Images) > MaxFiles || len(m.Classes) > MaxClasses {
		return fmt.Errorf("%d images in %d classes; 1 to %d images in at most %d classes are possible", len(m.Images), len(m.Classes), MaxFiles, MaxClasses)
	}
	var classes []string
	paths := make(map[string]bool, min(len(m.Images), MaxFiles))
	for i := range m.Images {
		im := &m.Images[i]
		if err := im.check(); err != nil {
			return fmt.Errorf("image %d: %w", i+1, err)
		}
		if i > 0 && compareImages(m.Images[i-1], *im) >= 0 || paths[im.Path] {
			return fmt.Errorf("image %d: it is there twice or not in the order of classes and paths", i+1)
		}
		paths[im.Path] = true
		if len(classes) == 0 || classes[len(classes)-1] != im.Class {
			classes = append(classes, im.Class)
		}
	}
	if !slices.Equal(classes, m.Classes) {
		return errors.New("its classes are not those of its images, sorted")
	}
	return nil
}

func compareImages(a, b Image) int {
	if c := strings.Compare(a.Class, b.Class); c != 0 {
		return c
	}
	return strings.Compare(a.Path, b.Path)
}

func (im *Image) check() error {
	switch {
	case !validComponent(im.Class):
		return errors.New("the class name is empty, too long, or not clean UTF-8")
	case !ValidPath(im.Path):
		return errors.New("the path is not relative, too long, too deep, or not clean UTF-8")
	case !isHex(im.SHA256, 64):
		return errors.New("sha256 is not 64 lower-case hex digits")
	case im.Size < 1 || im.Size > MaxFileBytes:
		return fmt.Errorf("%d bytes; 1 to %d are possible", im.Size, MaxFileBytes)
	case !withinLimits(im.Width, im.Height):
		return fmt.Errorf("%d×%d pixels; at most %d a side and %d in all are possible", im.Width, im.Height, MaxSide, MaxPixels)
	case !slices.Contains([]Format{JPEG, PNG, GIF, BMP, WebP}, im.Format):
		return fmt.Errorf("unknown format %.20q", im.Format)
	case im.Orientation < 0 || im.Orientation > 8:
		return fmt.Errorf("orientation %d; 0 to 8 are possible", im.Orientation)
	case im.DHash != "" && !isHex(im.DHash, 16):
		return errors.New("dhash is not 16 lower-case hex digits")
	case !slices.Contains([]Side{"", Train, Validation, Test}, im.Split):
		return fmt.Errorf("unknown side %.20q of the split", im.Split)
	case im.Pack != "" && !isHex(im.Pack, 64):
		return errors.New("pack is not 64 lower-case hex digits")
	case im.Pack != "" && (im.Offset < 1 || im.Length != im.Size), im.Pack == "" && (im.Offset != 0 || im.Length != 0):
		return errors.New("pack, offset and length don't agree with its size")
	}
	return nil
}

func withinLimits(w, h int) bool {
	return w >= 1 && h >= 1 && w <= MaxSide && h <= MaxSide && w*h <= MaxPixels
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// lines reads one JSON object a line.
type lines struct {
	r *bufio.Reader
	n int // lines read
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, maxLine)} }

// next decodes the next line, of at most limit bytes, into v.
func (l *lines) next(v any, limit int) error {
	l.n++
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return l.wrong("the line is longer than %d bytes", limit)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return l.decode(line, v)
		case errors.Is(err, io.EOF):
			return l.wrong("the list ends here, within or before a line")
		case !errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("read line %d of the list: %w", l.n, err)
		}
	}
}

func (l *lines) decode(line []byte, v any) error {
	// encoding/json would put U+FFFD in place of invalid bytes.
	if !utf8.Valid(line) {
		return l.wrong("the line is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return l.wrong("%v", err)
	}
	if len(bytes.TrimSpace(line[d.InputOffset():])) > 0 {
		return l.wrong("there is more than one object in the line")
	}
	return nil
}

// end checks that nothing follows.
func (l *lines) end() error {
	switch _, err := l.r.ReadByte(); {
	case err == nil:
		l.n++
		return l.wrong("more lines follow than the header says")
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read the end of the list: %w", err)
	}
	return nil
}

func (l *lines) wrong(format string, args ...any) error {
	return fmt.Errorf("%w: line %d: %s", ErrFormat, l.n, fmt.Sprintf(format, args...))
}
