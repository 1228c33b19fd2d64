package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"golang.org/x/text/unicode/norm"
)

const digestHead = "cultivar-manifest 1\n"

// Digest identifies a dataset: the hex SHA-256 of the line `cultivar-manifest 1` and, sorted, a line class NUL path NUL
// hash for each image, in NFC. Sizes, pixels and difference hashes don't change it, nor does the order of images.
func Digest(images []Image) string {
	lines := make([]string, len(images))
	for i, im := range images {
		lines[i] = norm.NFC.String(im.Class) + "\x00" + norm.NFC.String(im.Path) + "\x00" + im.SHA256 + "\n"
	}
	slices.Sort(lines)
	h := sha256.New()
	h.Write([]byte(digestHead))
	for _, l := range lines {
		h.Write([]byte(l))
	}
	return hex.EncodeToString(h.Sum(nil))
}
