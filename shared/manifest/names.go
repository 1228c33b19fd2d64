package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	maxComponent = 255   // bytes of a file or folder name, as file systems have it
	maxPath      = 1_024 // bytes
	maxDepth     = 8     // components
)

// ValidPath reports whether p may stand in a manifest: relative, forward slashes, at most 8 components of at most 255
// bytes, 1,024 bytes in all, NFC, without empty, "." and ".." components and NUL. Control characters are allowed, since
// files have them; show a path through package safe.
func ValidPath(p string) bool {
	if len(p) > maxPath || strings.Count(p, "/") >= maxDepth {
		return false
	}
	for c := range strings.SplitSeq(p, "/") {
		if !validComponent(c) {
			return false
		}
	}
	return true
}

func validComponent(c string) bool {
	return c != "" && c != "." && c != ".." && len(c) <= maxComponent && !strings.ContainsAny(c, "/\x00") &&
		utf8.ValidString(c) && norm.NFC.IsNormalString(c)
}

// cleanName is the name that a manifest uses for a file or folder name of the disk: NFC; one that is no UTF-8 gets U+FFFD
// for the wrong bytes and, before its extension, ~ and 8 hex digits of the hash of its bytes, so that two such names stay
// apart.
func cleanName(raw string) string {
	if utf8.ValidString(raw) {
		return norm.NFC.String(raw)
	}
	return suffixed(norm.NFC.String(strings.ToValidUTF8(raw, "\ufffd")), raw)
}

// suffixed puts ~ and 8 hex digits of the hash of key before the extension of name.
func suffixed(name, key string) string {
	sum := sha256.Sum256([]byte(key))
	ext := path.Ext(name)
	if len(ext) > 8 {
		ext = ""
	}
	return strings.TrimSuffix(name, ext) + "~" + hex.EncodeToString(sum[:4]) + ext
}

// strange reports whether a name has characters that show nothing or act on a terminal.
func strange(name string) bool {
	return strings.ContainsFunc(name, func(r rune) bool { return r == utf8.RuneError || !unicode.IsGraphic(r) })
}
