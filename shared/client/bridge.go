package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"

	"github.com/cultivar-ml/cultivar/shared/manifest"
)

func digest(m *manifest.Manifest) string {
	lines := make([]string, 0, len(m.Images))
	for _, im := range m.Images {
		lines = append(lines, im.Class+"\x00"+im.Path+"\x00"+im.SHA256)
	}
	slices.Sort(lines)
	h := sha256.New()
	io.WriteString(h, "cultivar-manifest 1\n")
	for _, l := range lines {
		io.WriteString(h, l+"\n")
	}
	return hex.EncodeToString(h.Sum(nil))
}

func encode(m *manifest.Manifest) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, im := range m.Images {
		if err := enc.Encode(im); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

func plan(root string, images []manifest.Image) []content { return nil }
