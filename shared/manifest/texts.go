package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/safe"
)

const (
	maxTold    = 2_000 // problems of one reason that are listed one by one; datasets of a wrong kind have one for each file
	shownNames = 3
)

func printable(name string) string { return safe.Text(name).String() }

func printables(names []string) string { return safe.Texts(names, ", ").String() }

// plainError is the system's reason without the operation and path that Go puts before it.
func plainError(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return printable(err.Error())
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// extensions maps what a file name ends in to the formats it promises; empty: an image of another format.
func extensions() map[string]Format {
	return map[string]Format{
		".jpg": JPEG, ".jpeg": JPEG, ".jpe": JPEG, ".jfif": JPEG, ".jif": JPEG, ".mpo": JPEG,
		".png": PNG, ".apng": PNG, ".gif": GIF, ".bmp": BMP, ".dib": BMP, ".webp": WebP,
		".tif": "", ".tiff": "", ".heic": "", ".heif": "", ".avif": "", ".jxl": "", ".dng": "", ".cr2": "", ".nef": "", ".arw": "",
	}
}

func looksLikeImage(name string) bool {
	_, ok := extensions()[strings.ToLower(path.Ext(name))]
	return ok
}

// tidy sorts problems by severity, reason, class and path, and sums up those beyond maxTold of one reason.
func tidy(problems []Problem) []Problem {
	rank := func(s Severity) int { return slices.Index([]Severity{Error, Warning, Info}, s) }
	slices.SortStableFunc(problems, func(a, b Problem) int {
		if d := rank(a.Severity) - rank(b.Severity); d != 0 {
			return d
		}
		if a.Reason != b.Reason {
			return strings.Compare(string(a.Reason), string(b.Reason))
		}
		if a.Class != b.Class {
			return strings.Compare(a.Class, b.Class)
		}
		return strings.Compare(a.Path, b.Path)
	})
	var out []Problem
	for start := 0; start < len(problems); {
		end := start
		for end < len(problems) && problems[end].Severity == problems[start].Severity && problems[end].Reason == problems[start].Reason {
			end++
		}
		told := min(end, start+maxTold)
		out = append(out, problems[start:told]...)
		if rest := end - told; rest > 0 {
			p := problems[start]
			out = append(out, Problem{Severity: p.Severity, Reason: p.Reason, Text: fmt.Sprintf("%d more of this kind are not listed one by one.", rest)})
		}
		start = end
	}
	return out
}
