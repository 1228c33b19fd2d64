// Package pack is the file that many images travel and are stored in: magic, count, (SHA-256, length) of each, then their
// bytes, at most 256 MiB however small the images are. It neither compresses nor knows what the bytes mean.
package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Limits of a pack.
const (
	MaxBytes  = 256 << 20 // of the whole file: what a server verifies in one go and a client loses at most
	MaxBlob   = 32 << 20  // of one image, as manifest.MaxFileBytes
	MaxImages = 100_000   // keeps the index below 4 MB, which a reader holds in memory
)

const (
	magic     = "CULTPAK1"
	headSize  = len(magic) + 8   // magic and count
	entrySize = sha256.Size + 8  // hash and length
	readAhead = 1024 * entrySize // the index is read in steps, so that a lying count costs no memory
)

// ErrInvalid is what a file that is no pack, or a damaged one, fails with.
var ErrInvalid = errors.New("not a valid pack")

// Entry is one image in a pack.
type Entry struct {
	SHA256 string // lower-case hex
	Offset int64  // of its first byte from the start of the pack
	Length int64  // bytes
}

// Index is what a pack holds, in the order of the bytes.
type Index struct {
	Name    string // hex SHA-256 of the index, by which the pack is named
	Entries []Entry
	Size    int64 // bytes of the whole pack
}

// Span is the run of images First ≤ i < End that goes into one pack.
type Span struct{ First, End int }

// Plan divides images of the given sizes, in their order, into as few packs as that order allows. Each size must be
// between 1 and MaxBlob.
func Plan(sizes []int64) []Span {
	var spans []Span
	first, total := 0, int64(headSize)
	for i, size := range sizes {
		need := size + entrySize
		if i > first && (total+need > MaxBytes || i-first >= MaxImages) {
			spans = append(spans, Span{first, i})
			first, total = i, int64(headSize)
		}
		total += need
	}
	if first < len(sizes) {
		spans = append(spans, Span{first, len(sizes)})
	}
	return spans
}

// ReadIndex reads the index of a pack of size bytes and checks that it accounts for each of them. It doesn't read the
// images; Verify does.
func ReadIndex(r io.ReaderAt, size int64) (Index, error) {
	index, err := readIndex(io.NewSectionReader(r, 0, size), size)
	if err != nil {
		return Index{}, err
	}
	if index.Size != size {
		return Index{}, fmt.Errorf("%w: its index describes %d bytes, the file has %d", ErrInvalid, index.Size, size)
	}
	return index, nil
}

// Verify reads a whole pack and checks the hash of each image and that nothing follows the last.
func Verify(r io.Reader) (Index, error) {
	index, err := readIndex(r, MaxBytes)
	if err != nil {
		return Index{}, err
	}
	h := sha256.New()
	for i, e := range index.Entries {
		h.Reset()
		if _, err := io.CopyN(h, r, e.Length); err != nil {
			return Index{}, torn(err, fmt.Sprintf("image %d of %d", i+1, len(index.Entries)))
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != e.SHA256 {
			return Index{}, fmt.Errorf("%w: image %d of %d hashes to %s instead of %s", ErrInvalid, i+1, len(index.Entries), got, e.SHA256)
		}
	}
	switch _, err := io.ReadFull(r, make([]byte, 1)); {
	case err == nil:
		return Index{}, fmt.Errorf("%w: bytes follow its last image", ErrInvalid)
	case !errors.Is(err, io.EOF):
		return Index{}, fmt.Errorf("read the end of the pack: %w", err)
	}
	return index, nil
}

// readIndex reads the index of a pack that may have at most limit bytes.
func readIndex(r io.Reader, limit int64) (Index, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Index{}, torn(err, "its head")
	}
	if string(head[:len(magic)]) != magic {
		return Index{}, fmt.Errorf("%w: it doesn't begin with %s", ErrInvalid, magic)
	}
	count := binary.BigEndian.Uint64(head[len(magic):])
	if count == 0 || count > MaxImages {
		return Index{}, fmt.Errorf("%w: it claims %d images; 1 to %d are possible", ErrInvalid, count, MaxImages)
	}
	h := sha256.New()
	h.Write(head[:])
	index := Index{}
	seen := map[string]bool{}
	at := int64(headSize) + int64(count)*entrySize
	buf := make([]byte, min(int64(count)*entrySize, readAhead))
	for left := int64(count) * entrySize; left > 0; left -= int64(len(buf)) {
		buf = buf[:min(left, int64(len(buf)))]
		if _, err := io.ReadFull(r, buf); err != nil {
			return Index{}, torn(err, "its index")
		}
		h.Write(buf)
		for e := buf; len(e) > 0; e = e[entrySize:] {
			entry := Entry{SHA256: hex.EncodeToString(e[:sha256.Size]), Offset: at}
			length := binary.BigEndian.Uint64(e[sha256.Size:entrySize])
			if length == 0 || length > MaxBlob {
				return Index{}, fmt.Errorf("%w: image %s claims %d bytes; 1 to %d are possible", ErrInvalid, entry.SHA256, length, int64(MaxBlob))
			}
			if seen[entry.SHA256] {
				return Index{}, fmt.Errorf("%w: image %s is in it twice", ErrInvalid, entry.SHA256)
			}
			seen[entry.SHA256] = true
			entry.Length = int64(length)
			if at += entry.Length; at > min(limit, MaxBytes) {
				return Index{}, fmt.Errorf("%w: its index describes more than its %d bytes", ErrInvalid, min(limit, MaxBytes))
			}
			index.Entries = append(index.Entries, entry)
		}
	}
	index.Size = at
	index.Name = hex.EncodeToString(h.Sum(nil))
	return index, nil
}

func torn(err error, where string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends within %s", ErrInvalid, where)
	}
	return fmt.Errorf("read %s of the pack: %w", where, err)
}
