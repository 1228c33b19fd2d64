package pack_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/pack"
)

func source(data string) pack.Source {
	sum := sha256.Sum256([]byte(data))
	return pack.Source{Path: "a.jpg", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(data)), nil
	}}
}

func build(t testing.TB, blobs ...string) (*pack.Pack, []byte) {
	t.Helper()
	var sources []pack.Source
	for _, b := range blobs {
		sources = append(sources, source(b))
	}
	p, err := pack.New(sources)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return p, data
}

func TestRoundTrip(t *testing.T) {
	blobs := []string{"first", strings.Repeat("second", 10_000), "3"}
	p, data := build(t, blobs...)
	verified, err := pack.Verify(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	index, err := pack.ReadIndex(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(index) != fmt.Sprint(verified) || index.Name != p.Name() || index.Size != p.Size() {
		t.Errorf("ReadIndex says %v, Verify %v, the writer %s", index, verified, p.Name())
	}
	for i, e := range index.Entries {
		if got := string(data[e.Offset : e.Offset+e.Length]); got != blobs[i] || e.SHA256 != source(blobs[i]).SHA256 {
			t.Errorf("entry %d holds %.20q", i, got)
		}
	}
}

func TestOpenAnywhere(t *testing.T) {
	p, data := build(t, "first", "the second", "3")
	for offset := range int64(len(data)) + 1 {
		r, err := p.Open(offset)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(rest, data[offset:]) {
			t.Errorf("from %d: %q, %v", offset, rest, err)
		}
	}
	if _, err := p.Open(int64(len(data)) + 1); err == nil {
		t.Error("an offset beyond the end was taken")
	}
}

func TestChangedFile(t *testing.T) {
	for name, now := range map[string]string{"other bytes": "other", "shorter": "firs", "empty": ""} {
		t.Run(name, func(t *testing.T) {
			s := source("first")
			s.Open = source(now).Open
			p, err := pack.New([]pack.Source{s})
			if err != nil {
				t.Fatal(err)
			}
			r, err := p.Open(0)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if !errors.Is(err, pack.ErrChanged) || int64(len(data)) >= p.Size() {
				t.Errorf("%d bytes of %d were given out: %v", len(data), p.Size(), err)
			}
		})
	}
}

func TestInvalid(t *testing.T) {
	_, good := build(t, "first", "second")
	change := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] = b
		return c
	}
	twice := bytes.Clone(good)
	copy(twice[16+40:], good[16:16+40])
	for name, data := range map[string][]byte{
		"empty":       {},
		"magic":       change(0, 'X'),
		"no images":   change(15, 0),
		"more images": change(15, 3),
		"hostile":     change(8, 0xff),
		"no length":   change(16+39, 0),
		"long":        change(16+32, 0x7f),
		"twice":       twice,
		"cut short":   good[:len(good)-1],
		"more":        append(bytes.Clone(good), 0),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := pack.Verify(bytes.NewReader(data)); !errors.Is(err, pack.ErrInvalid) {
				t.Errorf("Verify: %v", err)
			}
			if _, err := pack.ReadIndex(bytes.NewReader(data), int64(len(data))); !errors.Is(err, pack.ErrInvalid) {
				t.Errorf("ReadIndex: %v", err)
			}
		})
	}
	for i := range good {
		if _, err := pack.Verify(bytes.NewReader(change(i, good[i]^1))); !errors.Is(err, pack.ErrInvalid) {
			t.Errorf("a flipped bit in byte %d was not noticed: %v", i, err)
		}
	}
}

func TestPlan(t *testing.T) {
	mb := int64(1 << 20)
	sizes := make([]int64, 20)
	for i := range sizes {
		sizes[i] = 30 * mb
	}
	spans := pack.Plan(sizes)
	if fmt.Sprint(spans) != "[{0 8} {8 16} {16 20}]" {
		t.Errorf("20 images of 30 MiB: %v", spans)
	}
	small := make([]int64, pack.MaxImages+1)
	for i := range small {
		small[i] = 1
	}
	if spans := pack.Plan(small); len(spans) != 2 || spans[0].End != pack.MaxImages {
		t.Errorf("%d images of a byte: %v", len(small), spans)
	}
	if spans := pack.Plan(nil); len(spans) != 0 {
		t.Errorf("nothing: %v", spans)
	}
}

func FuzzIndex(f *testing.F) {
	_, good := build(f, "first", "second")
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, err := pack.Verify(bytes.NewReader(data))
		index, indexErr := pack.ReadIndex(bytes.NewReader(data), int64(len(data)))
		if err == nil && (indexErr != nil || index.Size != int64(len(data)) || index.Name != whole.Name) {
			t.Fatalf("verified, but its index is %v: %v", index, indexErr)
		}
	})
}
