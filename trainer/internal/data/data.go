// Package data turns image files into the tensors that networks take. The same function from bytes to tensor serves
// training, evaluation, prediction and the check of exports. It runs no network and keeps no cache.
package data

import (
	"bytes"
	"encoding/hex"
	"fmt"

	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// Version numbers the way from bytes to tensor. Whoever changes a pixel raises it, since cached features depend on it.
const Version = 1

// DecoderCrashed is the reason of an image during whose decoding the process ended twice.
const DecoderCrashed manifest.Reason = "decoder_crashed"

// Fit says how a photo becomes a square.
type Fit string

// The two ways. Stretch squeezes the whole photo into the square; Crop cuts the middle square out.
const (
	Stretch Fit = "stretch"
	Crop    Fit = "crop"
)

// Hash is the SHA-256 of an image file's bytes.
type Hash [32]byte

// ParseHash reads 64 hex digits.
func ParseHash(text string) (Hash, error) {
	var h Hash
	if n, err := hex.Decode(h[:], []byte(text)); err != nil || n != len(h) || len(text) != 2*len(h) {
		return Hash{}, fmt.Errorf("%q is not a SHA-256 in hex", text)
	}
	return h, nil
}

// String returns 64 lower-case hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Fault is why one image cannot be used; the rest of the dataset is not touched by it.
type Fault struct {
	Reason manifest.Reason
	Text   string // a sentence for people
}

func (f *Fault) Error() string { return f.Text }

// Pixels is a decoded image, 8 bits a channel, RGB, row by row without gaps.
type Pixels struct {
	Width, Height int
	RGB           []uint8
}

// sniff tells the format by the first bytes; "" when it is none that can be trained on.
func sniff(file []byte) manifest.Format {
	switch {
	case bytes.HasPrefix(file, []byte("\xff\xd8\xff")):
		return manifest.JPEG
	case bytes.HasPrefix(file, []byte("\x89PNG\r\n\x1a\n")):
		return manifest.PNG
	case bytes.HasPrefix(file, []byte("GIF87a")), bytes.HasPrefix(file, []byte("GIF89a")):
		return manifest.GIF
	case len(file) >= 12 && bytes.HasPrefix(file, []byte("RIFF")) && string(file[8:12]) == "WEBP":
		return manifest.WebP
	case bytes.HasPrefix(file, []byte("BM")):
		return manifest.BMP
	}
	return ""
}
