package peers_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/trainer/bench/peers"
)

// TestSplit checks that scripts read the project's own split, with a class and a file that can be opened.
func TestSplit(t *testing.T) {
	m := &manifest.Manifest{Classes: []string{"a", "b"}}
	for i := range 80 {
		hash := sha256.Sum256([]byte{byte(i)})
		class := m.Classes[i/40]
		path := fmt.Sprintf("%s/%02d.jpg", class, i)
		m.Images = append(m.Images, manifest.Image{Class: class, Path: path, Source: "wrapped/" + path,
			SHA256: hex.EncodeToString(hash[:]), DHash: hex.EncodeToString(hash[:8])})
	}
	opts := manifest.SplitOptions{Seed: 7, Validation: 0.15, Test: 0.15}
	sides, _ := manifest.Split(m.Images, opts)
	var text bytes.Buffer
	if err := peers.WriteSplit(&text, peers.Split(m, opts)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) != len(m.Images) {
		t.Fatalf("%d lines for %d photos", len(lines), len(m.Images))
	}
	for i, line := range lines {
		var got map[string]string
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		im := m.Images[i]
		if got["sha256"] != im.SHA256 || got["path"] != im.Path || got["file"] != im.Source || got["class"] != im.Class || got["split"] != string(sides[i]) {
			t.Errorf("line %d is %s", i+1, line)
		}
	}
}
