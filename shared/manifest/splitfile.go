package manifest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// SplitLine is one line of split.jsonl: what one image is used for.
type SplitLine struct {
	SHA256 string `json:"sha256"`
	Path   string `json:"path"`
	Split  Side   `json:"split"`
}

// EncodeSplit writes split.jsonl: the sides of the images, in the images' order.
func EncodeSplit(w io.Writer, images []Image, sides []Side) error {
	if len(sides) != len(images) {
		return fmt.Errorf("%d sides for %d images", len(sides), len(images))
	}
	b := bufio.NewWriterSize(w, 1<<16)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	for i, im := range images {
		if err := enc.Encode(SplitLine{im.SHA256, im.Path, sides[i]}); err != nil {
			return fmt.Errorf("write image %d to the split: %w", i+1, err)
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write the split: %w", err)
	}
	return nil
}

// DecodeSplit reads a split.jsonl, checking each line. Failures are ErrFormat with the line's number.
func DecodeSplit(r io.Reader) ([]SplitLine, error) {
	var out []SplitLine
	l := newLines(r)
	for {
		if _, err := l.r.Peek(1); errors.Is(err, io.EOF) {
			return out, nil
		}
		if len(out) == MaxFiles {
			return nil, l.wrong("more than %d images", MaxFiles)
		}
		var line SplitLine
		if err := l.next(&line, maxLine); err != nil {
			return nil, err
		}
		if !isHex(line.SHA256, 64) || !ValidPath(line.Path) || !slices.Contains([]Side{Train, Validation, Test}, line.Split) {
			return nil, l.wrong("its hash, path or side is not valid")
		}
		out = append(out, line)
	}
}
