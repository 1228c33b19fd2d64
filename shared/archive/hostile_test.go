package archive_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/archive"
)

// raw writes archives that no library would.
type raw struct {
	bytes.Buffer
	directory bytes.Buffer
	entries   int
}

func (r *raw) put(to *bytes.Buffer, values ...any) {
	for _, v := range values {
		if s, ok := v.(string); ok {
			to.WriteString(s)
			continue
		}
		if err := binary.Write(to, binary.LittleEndian, v); err != nil {
			panic(err) // a mistake in the test
		}
	}
}

// local writes a local header and the packed bytes, and returns where it begins.
func (r *raw) local(name, packed string, crc uint32, unpacked int) uint32 {
	at := r.Len()
	r.put(&r.Buffer, "PK\x03\x04", uint16(20), uint16(0), uint16(8), uint32(0), crc, uint32(len(packed)), uint32(unpacked), uint16(len(name)), uint16(0), name, packed)
	return uint32(at)
}

func (r *raw) central(name string, at, crc uint32, packed, unpacked int) {
	r.entries++
	r.put(&r.directory, "PK\x01\x02", uint16(20), uint16(20), uint16(0), uint16(8), uint32(0), crc, uint32(packed), uint32(unpacked),
		uint16(len(name)), uint16(0), uint16(0), uint16(0), uint16(0), uint32(0), at, name)
}

// end writes the directory and what ends it, which claims so many entries.
func (r *raw) end(claimed int) []byte {
	at := r.Len()
	size := r.directory.Len()
	r.Write(r.directory.Bytes())
	r.put(&r.Buffer, "PK\x05\x06", uint16(0), uint16(0), uint16(claimed), uint16(claimed), uint32(size), uint32(at), uint16(0))
	return r.Bytes()
}

// end64 is end by the records for large archives.
func (r *raw) end64(claimed uint64) []byte {
	at := r.Len()
	size := r.directory.Len()
	r.Write(r.directory.Bytes())
	where := r.Len()
	r.put(&r.Buffer, "PK\x06\x06", uint64(44), uint16(45), uint16(45), uint32(0), uint32(0), claimed, claimed, uint64(size), uint64(at))
	r.put(&r.Buffer, "PK\x06\x07", uint32(0), uint64(where), uint32(1))
	r.put(&r.Buffer, "PK\x05\x06", uint16(0), uint16(0), uint16(0xffff), uint16(0xffff), uint32(0xffffffff), uint32(0xffffffff), uint16(0))
	return r.Bytes()
}

// packedZeros is n zeros as deflate packs them, with their checksum.
func packedZeros(t testing.TB, n int) (string, uint32) {
	t.Helper()
	b := made(t, entry{name: "z", content: strings.Repeat("\x00", n)})
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	at, err := z.File[0].DataOffset()
	if err != nil {
		t.Fatal(err)
	}
	return string(b[at : at+int64(z.File[0].CompressedSize64)]), crc32.ChecksumIEEE(make([]byte, n))
}

// overlapping is many entries that share one kernel of packed zeros (Fifield 2019, "A better zip bomb").
func overlapping(t testing.TB) []byte {
	var r raw
	packed, crc := packedZeros(t, 1<<20)
	at := r.local("a/0", packed, crc, 1<<20)
	for range 65_000 {
		r.central("a/0", at, crc, len(packed), 1<<20)
	}
	return r.end(65_000)
}

// quoted is entries of which each has the headers of those behind it in its bytes.
func quoted(t testing.TB) []byte {
	var r raw
	packed, crc := packedZeros(t, 1<<20)
	first := r.local("a/0", packed, crc, 1<<20)
	second := r.local("a/1", packed, crc, 1<<20)
	r.central("a/0", first, crc, len(packed)+40, 1<<20)
	r.central("a/1", second, crc, len(packed), 1<<20)
	return r.end(2)
}

// many is a list of so many files, of which there is none.
func many(n int, end func(*raw) []byte) []byte {
	var r raw
	for range n {
		r.central("", 0, 0, 0, 0)
	}
	return end(&r)
}

func TestRefused(t *testing.T) {
	flat := func() []byte { // 10 GiB of it
		var r raw
		packed, crc := packedZeros(t, 1<<20)
		for range 300 {
			at := r.local("a/0", packed, crc, 1<<20)
			r.central("a/0", at, crc, len(packed), 1<<20)
		}
		return r.end(300)
	}
	whole := made(t, entry{name: "a/1.png", content: photo(1)}, entry{name: "b/1.png", content: photo(2)})
	for name, c := range map[string]struct {
		content []byte
		says    string
	}{
		"nothing":               {nil, "no zip file"},
		"something else":        {[]byte(strings.Repeat("no archive at all ", 100)), "no zip file"},
		"empty":                 {(&raw{}).end(0), "is empty"},
		"cut short":             {whole[:len(whole)-30], "no zip file"},
		"overlapping":           {overlapping(t), "overlap"},
		"quoted":                {quoted(t), "overlap"},
		"flat bomb":             {flat(), "times its size"},
		"count too high":        {many(3, func(r *raw) []byte { return r.end(5) }), "contradicts"},
		"count too low":         {many(5, func(r *raw) []byte { return r.end(3) }), "claims 3"},
		"count modulo 65,536":   {many(65_536+3, func(r *raw) []byte { return r.end(3) }), "claims 3"},
		"ten million claimed":   {many(3, func(r *raw) []byte { return r.end64(10_000_000) }), "at most"},
		"too many listed":       {many(archive.MaxEntries+1, func(r *raw) []byte { return r.end64(archive.MaxEntries + 1) }), "at most"},
		"count of zip64 lies":   {many(3, func(r *raw) []byte { return r.end64(1 << 63) }), "at most"},
		"no file where claimed": {many(3, func(r *raw) []byte { return r.end(3) }), "not where"},
		"password":              {made(t, entry{name: "a/1.png", content: photo(1), change: func(h *zip.FileHeader) { h.Flags = 1 }}), "password"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := open(c.content)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			var refused *archive.Error
			if !errors.As(err, &refused) || !strings.Contains(refused.Text, c.says) {
				t.Fatalf("answers %v, want one that says %q", err, c.says)
			}
			if took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 128<<20 {
				t.Errorf("it took %d MiB of memory", used>>20)
			}
		})
	}
}

// At the limit an archive is looked through, one beyond it is not.
func TestMostEntries(t *testing.T) {
	if _, err := open(many(70_000, func(r *raw) []byte { return r.end64(70_000) })); err == nil || strings.Contains(err.Error(), "at most") {
		t.Errorf("fewer than the most entries: %v", err)
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(made(f, entry{name: "a/1.png", content: photo(1)}, entry{name: "b/1.png", content: photo(2)}))
	f.Add(quoted(f))
	f.Add(many(3, func(r *raw) []byte { return r.end64(3) }))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := open(b)
		if err != nil {
			return
		}
		seen := 0
		var look func(folder string)
		look = func(folder string) {
			entries, err := a.List(folder)
			if err != nil {
				t.Fatalf("a folder that was listed cannot be: %v", err)
			}
			for _, e := range entries {
				name := strings.TrimPrefix(folder+"/"+e.Name, "./")
				if strings.Contains("/"+name+"/", "/../") || strings.HasPrefix(name, "/") {
					t.Fatalf("the path %q leads out", name)
				}
				if seen++; e.Kind.IsDir() {
					look(name)
				} else if file, err := a.Open(name); err == nil {
					_, _ = file.ReadAt(make([]byte, 16), 0) // what it holds may be wrong
				}
			}
		}
		look(".")
	})
}
