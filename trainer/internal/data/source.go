package data

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Item is one image to read: an entry of a manifest, whose bytes lie in a pack, a file of the user's own, or bytes that the
// user sent.
type Item struct {
	Path  string // to show; never opened
	Class int    // position in the label order; −1: not known
	Hash  Hash
	// Where its bytes lie: Length of them from Offset in a pack or, if Pack is empty, in File; the whole of File, which
	// is then the user's own, if Length is 0.
	Pack           string // hex name
	File           string // path
	Offset, Length int64
	Bytes          []byte // in place of all these: the bytes themselves
}

// FromManifest returns the item of a manifest entry of that class.
func FromManifest(image manifest.Image, class int) (Item, error) {
	hash, err := ParseHash(image.SHA256)
	if err != nil {
		return Item{}, fmt.Errorf("manifest entry %q: %w", image.Path, err)
	}
	if _, err := ParseHash(image.Pack); err != nil {
		return Item{}, fmt.Errorf("manifest entry %q: the pack it lies in: %w", image.Path, err)
	}
	if image.Offset < 0 || image.Length < 1 || image.Length > manifest.MaxFileBytes {
		return Item{}, fmt.Errorf("manifest entry %q: offset %d and length %d cannot be", image.Path, image.Offset, image.Length)
	}
	return Item{Path: image.Path, Class: class, Hash: hash, Pack: image.Pack, Offset: image.Offset, Length: image.Length}, nil
}

// StoreError means that stored bytes are missing or not the ones that were stored; no image is to blame.
type StoreError struct{ Text string }

func (e *StoreError) Error() string { return e.Text }

// Read returns an item's bytes; packs is the folder of packs. Bytes from a pack are checked against the item's hash: a
// failure is a *StoreError. A user's file that cannot be read is a *Fault.
func (i Item) Read(packs string) ([]byte, error) {
	if i.Bytes != nil {
		return i.Bytes, fits(i.Bytes)
	}
	if i.Pack == "" && i.Length == 0 {
		return readUserFile(i.File)
	}
	path := i.File
	if i.Pack != "" {
		path = filepath.Join(packs, filepath.FromSlash(runspec.PackName(i.Pack)))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, &StoreError{fmt.Sprintf("the pack of %q cannot be opened (%v); upload the dataset again", i.Path, err)}
	}
	defer f.Close()
	file := make([]byte, i.Length)
	if _, err := f.ReadAt(file, i.Offset); err != nil {
		return nil, &StoreError{fmt.Sprintf("the pack of %q cannot be read (%v); upload the dataset again", i.Path, err)}
	}
	if sha256.Sum256(file) != [32]byte(i.Hash) {
		return nil, &StoreError{fmt.Sprintf("the stored bytes of %q are damaged; upload the dataset again", i.Path)}
	}
	return file, nil
}

func readUserFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &Fault{manifest.Unreadable, fmt.Sprintf("it cannot be opened (%v)", err)}
	}
	defer f.Close()
	file, err := io.ReadAll(io.LimitReader(f, manifest.MaxFileBytes+1))
	if err != nil {
		return nil, &Fault{manifest.Unreadable, fmt.Sprintf("it cannot be read (%v)", err)}
	}
	return file, fits(file)
}

// fits is a *Fault of what is larger than an image may be.
func fits(file []byte) error {
	if len(file) > manifest.MaxFileBytes {
		return &Fault{manifest.TooLarge, fmt.Sprintf("it is larger than %d MiB; make it smaller", manifest.MaxFileBytes>>20)}
	}
	return nil
}
