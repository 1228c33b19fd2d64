package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sort"
)

// ErrChanged is what reading a Pack fails with when a source's bytes are not those it was announced with.
var ErrChanged = errors.New("the file was changed since it was scanned; scan the folder again")

// Source is an image that goes into a pack. Open is called once for each pass over it.
type Source struct {
	Path   string // said in errors, already fit to be shown
	SHA256 string // hex
	Size   int64  // bytes
	Open   func() (io.ReadCloser, error)
}

// Pack is a pack that is made while it is read, so that sending one needs neither memory nor disk for it.
type Pack struct {
	sources []Source
	starts  []int64 // offset of each source
	index   []byte
	size    int64
}

// New plans a pack of the sources in their order. Their hashes must differ, and together they must keep to the limits;
// Plan sees to that.
func New(sources []Source) (*Pack, error) {
	if len(sources) == 0 || len(sources) > MaxImages {
		return nil, fmt.Errorf("a pack holds 1 to %d images, not %d", MaxImages, len(sources))
	}
	p := &Pack{sources: sources, index: make([]byte, 0, headSize+len(sources)*entrySize)}
	p.index = append(p.index, magic...)
	p.index = binary.BigEndian.AppendUint64(p.index, uint64(len(sources)))
	p.size = int64(cap(p.index))
	seen := make(map[string]bool, len(sources))
	for _, s := range sources {
		sum, err := hex.DecodeString(s.SHA256)
		if err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("%s has no SHA-256", s.Path)
		}
		if s.Size < 1 || s.Size > MaxBlob {
			return nil, fmt.Errorf("%s has %d bytes; a pack takes images of 1 to %d", s.Path, s.Size, int64(MaxBlob))
		}
		if seen[string(sum)] {
			return nil, fmt.Errorf("%s is in the same pack twice", s.Path)
		}
		seen[string(sum)] = true
		p.index = append(p.index, sum...)
		p.index = binary.BigEndian.AppendUint64(p.index, uint64(s.Size))
		p.starts = append(p.starts, p.size)
		p.size += s.Size
	}
	if p.size > MaxBytes {
		return nil, fmt.Errorf("%d bytes are too many for one pack, which takes %d", p.size, int64(MaxBytes))
	}
	return p, nil
}

// Name is the hex SHA-256 of the index.
func (p *Pack) Name() string {
	sum := sha256.Sum256(p.index)
	return hex.EncodeToString(sum[:])
}

// Size is how many bytes the pack has.
func (p *Pack) Size() int64 { return p.size }

// Open streams the pack from the byte at offset to its end. Each source is read whole, also the one that offset lies in, and
// compared with its hash before its last byte is given out: a changed file is ErrChanged and never a wrong pack.
func (p *Pack) Open(offset int64) (io.ReadCloser, error) {
	if offset < 0 || offset > p.size {
		return nil, fmt.Errorf("offset %d is outside a pack of %d bytes", offset, p.size)
	}
	r := &reader{pack: p, index: bytes.NewReader(p.index), sum: sha256.New()}
	if offset < int64(len(p.index)) {
		r.index.Reset(p.index[offset:])
		return r, nil
	}
	r.index.Reset(nil)
	if offset == p.size {
		r.next = len(p.sources)
		return r, nil
	}
	r.next = sort.Search(len(p.starts), func(i int) bool { return p.starts[i] > offset }) - 1
	skip := offset - p.starts[r.next]
	if _, err := io.CopyN(io.Discard, r, skip); err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

type reader struct {
	pack  *Pack
	index *bytes.Reader
	next  int           // source to read, or being read
	file  io.ReadCloser // of that source, once open
	left  int64         // of that source
	sum   hash.Hash
}

func (r *reader) Read(b []byte) (int, error) {
	if r.index.Len() > 0 {
		return r.index.Read(b)
	}
	if len(b) == 0 {
		return 0, nil
	}
	if r.next == len(r.pack.sources) {
		return 0, io.EOF
	}
	s := r.pack.sources[r.next]
	if r.file == nil {
		f, err := s.Open()
		if err != nil {
			return 0, fmt.Errorf("open %s to send it: %w", s.Path, err)
		}
		r.file, r.left = f, s.Size
		r.sum.Reset()
	}
	n, err := r.file.Read(b[:min(int64(len(b)), r.left)])
	r.sum.Write(b[:n])
	if r.left -= int64(n); r.left == 0 {
		if hex.EncodeToString(r.sum.Sum(nil)) != s.SHA256 {
			return 0, fmt.Errorf("%s: %w", s.Path, ErrChanged)
		}
		err = r.Close()
		r.next++
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		return 0, fmt.Errorf("%s became shorter: %w", s.Path, ErrChanged)
	}
	return n, fmt.Errorf("read %s to send it: %w", s.Path, err)
}

// Close closes the source being read, if any.
func (r *reader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
