package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

var errChanged = errors.New("it was changed during the scan")

// hash sets SHA256, and DHash if wanted, of each usable image, from the cache where that knows it.
func (s *scanner) hash() error {
	images := s.used()
	s.near = s.wantNear(images)
	budget := newBudget(decodePixels)
	buffers := sync.Pool{New: func() any { return new(bytes.Buffer) }}
	return s.each(images, func(im *scanned) {
		known := s.cache.lookup(im, s.near)
		if !known {
			buf := buffers.Get().(*bytes.Buffer)
			s.hashFile(im, buf, budget)
			buffers.Put(buf)
		}
		switch {
		case !s.near || im.skipped != "" || im.decoded == featureless:
		case im.decoded == undecodable:
			im.problem(Warning, Damaged, "has a good header, but its picture could not be decoded here. The training tries it and leaves it out if it cannot either; look at it in a photo program.")
		default:
			im.DHash = im.decoded
		}
		s.update(func(p *Progress) {
			p.Hashed++
			p.HashedBytes += im.Size
			if known {
				p.Cached++
			}
		})
	})
}

func (s *scanner) wantNear(images []*scanned) bool {
	if s.opts.Near != NearAuto {
		return s.opts.Near == NearAlways
	}
	pixels := 0
	for _, im := range images {
		pixels += im.Width * im.Height
	}
	if len(images) <= nearMaxImages && pixels <= nearMaxPixels {
		return true
	}
	s.layout.problems = append(s.layout.problems, Problem{Severity: Info, Reason: NearDuplicate, Text: fmt.Sprintf("Near-duplicates were not looked for, because that takes long for %d images with %d million pixels. Exact duplicates were.", len(images), pixels/1_000_000)})
	return false
}

func (s *scanner) hashFile(im *scanned, buf *bytes.Buffer, budget *budget) {
	if err := s.readFile(im, buf); err != nil {
		im.unreadable(err)
		return
	}
	sum := sha256.Sum256(buf.Bytes())
	im.SHA256 = hex.EncodeToString(sum[:])
	if !s.near || im.Width*im.Height > decodePixels {
		return
	}
	budget.take(im.Width * im.Height)
	defer budget.give(im.Width * im.Height)
	hash, err := differenceHash(buf.Bytes(), im.Format, im.Orientation)
	switch {
	case err != nil:
		im.decoded = undecodable
	case hash == "":
		im.decoded = featureless
	default:
		im.decoded = hash
	}
}

// readFile reads a whole file that must still be the one whose header was checked.
func (s *scanner) readFile(im *scanned, buf *bytes.Buffer) error {
	f, info, err := s.open(im.source)
	if err != nil {
		return err
	}
	defer f.Close()
	if info.Size() != im.Size || info.ModTime().UnixNano() != im.mtime || !info.Mode().IsRegular() {
		return errChanged
	}
	buf.Reset()
	buf.Grow(int(im.Size) + bytes.MinRead)
	n, err := buf.ReadFrom(io.NewSectionReader(f, 0, im.Size+1))
	if err == nil && n != im.Size {
		err = errChanged
	}
	return err
}

// duplicates leaves out all but the first of equal files, and tells near-duplicates.
func (s *scanner) duplicates() {
	images := s.used()
	sortScanned(images)
	byHash := map[string][]*scanned{}
	for _, im := range images {
		byHash[im.SHA256] = append(byHash[im.SHA256], im)
	}
	for _, im := range images {
		same := byHash[im.SHA256]
		first := same[0]
		if im == first {
			continue
		}
		if im.Class == first.Class {
			p := im.leave(Warning, DuplicateIn, "is the same photo, byte for byte, as "+printable(first.Path)+", which is used. Delete one of them.")
			p.Related = []string{first.Path}
			continue
		}
		p := im.leave(Warning, DuplicateLeak, "is the same photo, byte for byte, as "+printable(first.Path)+" in class "+printable(first.Class)+", so one of the two classes is wrong for it. The one in "+printable(first.Class)+" is used; delete the wrong one.")
		for _, other := range same {
			if other != im {
				p.Related = append(p.Related, other.Path)
			}
		}
	}
	s.nearDuplicates()
}

func (s *scanner) nearDuplicates() {
	scans := s.used()
	sortScanned(scans)
	images := make([]Image, len(scans))
	for i, im := range scans {
		images[i] = im.Image
	}
	for i, first := range nearGroups(images) {
		if i == first {
			continue
		}
		im, other := scans[i], images[first]
		var p *Problem
		if im.Class == other.Class {
			p = im.problem(Info, NearDuplicate, "looks nearly like %s. Both are used, and kept on the same side of the split; if there are many such pairs, the set has less variety than its size promises.", printable(other.Path))
		} else {
			p = im.problem(Warning, NearDuplicate, "looks nearly like %s, which is in class %s. Both are used; if they show the same thing, move one.", printable(other.Path), printable(other.Class))
		}
		p.Related = []string{other.Path}
	}
}

// budget limits how many pixels are decoded at once, since a decoder may need 16 bytes for each.
type budget struct {
	mu   sync.Mutex
	more *sync.Cond
	left int
}

func newBudget(n int) *budget {
	b := &budget{left: n}
	b.more = sync.NewCond(&b.mu)
	return b
}

// take waits until n, at most the whole budget, are left.
func (b *budget) take(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.left < n {
		b.more.Wait()
	}
	b.left -= n
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
	b.more.Broadcast()
}

func isDHash(s string) bool {
	return s == "" || s == undecodable || s == featureless || isHex(s, 16) && strings.Trim(s, "0") != ""
}
