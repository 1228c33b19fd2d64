package manifest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// picture draws coarse noise, different for each seed and far from others by its difference hash.
func picture(seed uint64, size int, alpha uint8) *image.NRGBA {
	rnd := rand.New(rand.NewPCG(seed, 1))
	m := image.NewNRGBA(image.Rect(0, 0, size, size))
	var cells [81]uint8
	for i := range cells {
		cells[i] = uint8(rnd.IntN(256))
	}
	for y := range size {
		for x := range size {
			v := cells[y*8/size*9+x*9/size]
			m.Set(x, y, color.NRGBA{v, v, v / 2, alpha})
		}
	}
	return m
}

func jpegBytes(t testing.TB, seed uint64) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, picture(seed, 72, 255), &jpeg.Options{Quality: 90}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pngBytes(t testing.TB, seed uint64, size int, alpha uint8) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, picture(seed, size, alpha)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tree writes files below a new folder, old enough for the hash cache.
func tree(t testing.TB, files map[string][]byte) string {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		write(t, filepath.Join(root, filepath.FromSlash(name)), data)
	}
	return root
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

// photos adds n photos to a class folder; their seeds start at seed.
func photos(t testing.TB, files map[string][]byte, folder string, n, seed int) {
	for i := range n {
		files[fmt.Sprintf("%s/%03d.jpg", folder, i)] = jpegBytes(t, uint64(seed+i))
	}
}

func scan(t *testing.T, root string, opts manifest.ScanOptions) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Scan(t.Context(), root, opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Problems {
		if !strings.HasSuffix(p.Text, ".") && !strings.HasSuffix(p.Text, "…") || strings.ContainsFunc(p.Text, unicode.IsControl) {
			t.Errorf("%s is told as %q, which is no clean sentence", p.Reason, p.Text)
		}
	}
	return m
}

func TestScanBadInput(t *testing.T) {
	files := map[string][]byte{}
	photos(t, files, "cats", 6, 100)
	photos(t, files, "dogs", 6, 200)
	photos(t, files, "\x1b[31mred", 5, 300)
	whole := jpegBytes(t, 1)
	exif := "Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
	rotated := slices.Concat(whole[:2], []byte{0xff, 0xe1, 0, byte(len(exif) + 2)}, []byte(exif), jpegBytes(t, 2)[2:])
	for name, data := range map[string][]byte{
		"cats/cut.jpg":        whole[:len(whole)/2],
		"cats/noend.jpg":      jpegBytes(t, 3)[:len(jpegBytes(t, 3))-2],
		"cats/text.jpg":       []byte("not an image\n"),
		"cats/zero.jpg":       {},
		"cats/alpha.png":      pngBytes(t, 4, 72, 128),
		"cats/cut.png":        pngBytes(t, 5, 72, 255)[:300],
		"cats/tiny.png":       pngBytes(t, 6, 20, 255),
		"cats/rotated.jpg":    rotated,
		"cats/huge.png":       pngHead(30_000, 30_000),
		"cats/phone.heic":     []byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"),
		"cats/.DS_Store":      []byte("x"),
		"cats/Thumbs.db":      []byte("x"),
		"__MACOSX/cats/a.jpg": whole,
		".git/config":         []byte("x"),
		"cats/sub/deep.jpg":   jpegBytes(t, 7),
		"cats/copy.jpg":       jpegBytes(t, 100),
		"dogs/leak.jpg":       jpegBytes(t, 101),
		"README.txt":          []byte("x"),
		"lone.jpg":            jpegBytes(t, 8),
		"empty/notes.txt":     []byte("x"),
		"dogs/a\u0301.jpg":    jpegBytes(t, 9),
		"dogs/\u00e1.jpg":     jpegBytes(t, 10),
		"dogs/b\xff.jpg":      jpegBytes(t, 11),
	} {
		files[name] = data
	}
	root := tree(t, files)
	if err := os.Symlink(filepath.Join(root, "lone.jpg"), filepath.Join(root, "cats", "link.jpg")); err != nil {
		t.Fatal(err)
	}
	m := scan(t, root, manifest.ScanOptions{})
	for _, tc := range []struct {
		path   string
		reason manifest.Reason
		used   bool
	}{
		{"cats/cut.jpg", manifest.Damaged, false},
		{"cats/noend.jpg", "", true},
		{"cats/text.jpg", manifest.NotAnImage, false},
		{"cats/zero.jpg", manifest.Empty, false},
		{"cats/alpha.png", "", true},
		{"cats/cut.png", manifest.Damaged, false},
		{"cats/tiny.png", manifest.TooSmall, true},
		{"cats/rotated.jpg", manifest.Rotated, true},
		{"cats/huge.png", manifest.TooManyPixels, false},
		{"cats/phone.heic", manifest.Unsupported, false},
		{"cats/sub/deep.jpg", "", true},
		{"cats/copy.jpg", manifest.DuplicateIn, false},
		{"cats/000.jpg", "", true},
		{"dogs/leak.jpg", manifest.DuplicateLeak, false},
		{"README.txt", manifest.Stray, false},
		{"lone.jpg", manifest.Stray, false},
		{"empty/notes.txt", manifest.NotAnImage, false},
		{"cats/link.jpg", manifest.Link, false},
	} {
		used := slices.ContainsFunc(m.Images, func(im manifest.Image) bool { return im.Path == tc.path })
		if used != tc.used {
			t.Errorf("%q used: %v, want %v", tc.path, used, tc.used)
		}
		if tc.reason != "" {
			if _, told := problems(m, tc.reason)[tc.path]; !told {
				t.Errorf("%q is not told as %s", tc.path, tc.reason)
			}
		}
	}
	if want := []string{"\x1b[31mred", "cats", "dogs"}; !slices.Equal(m.Classes, want) {
		t.Errorf("classes %q, want %q", m.Classes, want)
	}
	if m.Skipped[manifest.Hidden] != 4 {
		t.Errorf("%d hidden, want 4", m.Skipped[manifest.Hidden])
	}
	for reason, class := range map[manifest.Reason]string{manifest.EmptyClass: "empty", manifest.BadName: "\x1b[31mred"} {
		if !slices.ContainsFunc(m.Problems, func(p manifest.Problem) bool { return p.Reason == reason && p.Class == class }) {
			t.Errorf("%s of %q is not told", reason, class)
		}
	}
	dogs := 0
	for _, im := range m.Images {
		if im.Class == "dogs" {
			dogs++
		}
		if _, err := os.Stat(filepath.Join(root, im.Local())); err != nil || !manifest.ValidPath(im.Path) {
			t.Errorf("%q is %q on the disk: %v", im.Path, im.Local(), err)
		}
	}
	if dogs != 9 {
		t.Errorf("%d dogs, want 6 and three of odd names", dogs)
	}
	if text := m.Trainable(); text != "" {
		t.Error(text)
	}
	var b bytes.Buffer
	if err := manifest.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	back, err := manifest.Decode(&b)
	if err != nil || manifest.Digest(back.Images) != manifest.Digest(m.Images) {
		t.Errorf("the manifest does not come back: %v", err)
	}
}

// pngHead is a PNG that is nothing but a correct header.
func pngHead(w, h uint32) []byte {
	b := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR")
	b = append(b, byte(w>>24), byte(w>>16), byte(w>>8), byte(w), byte(h>>24), byte(h>>16), byte(h>>8), byte(h), 8, 2, 0, 0, 0)
	return append(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[12:])), "\x00\x00\x00\x00IDAT\x00\x00\x00\x00\x00\x00\x00\x00IEND\xaeB`\x82"...)
}

func TestScanLayout(t *testing.T) {
	for name, tc := range map[string]struct {
		folders []string
		extra   string
		classes string
		reason  manifest.Reason
		first   string // path of the first image, and the side it was given
		side    manifest.Side
	}{
		"plain":           {[]string{"a", "b"}, "", "a b", "", "a/000.jpg", ""},
		"wrapped":         {[]string{"photos/a", "photos/b"}, "", "a b", "", "a/000.jpg", ""},
		"wrapped, readme": {[]string{"photos/a", "photos/b"}, "LICENSE", "a b", manifest.Stray, "a/000.jpg", ""},
		"one class":       {[]string{"a"}, "", "a", manifest.OneClass, "a/000.jpg", ""},
		"no class":        {nil, "x.jpg", "", manifest.NoClasses, "", ""},
		"sides":           {[]string{"Train/a", "Train/b", "valid/a", "valid/b", "TEST/a", "TEST/b"}, "", "a b", manifest.SplitFolders, "TEST/a/000.jpg", manifest.Test},
		"wrapped sides":   {[]string{"p/train/a", "p/train/b", "p/val/a", "p/val/b"}, "", "a b", manifest.SplitFolders, "train/a/000.jpg", manifest.Train},
		"a class test":    {[]string{"test", "train"}, "", "test train", "", "test/000.jpg", ""},
		"only train":      {[]string{"train/a", "train/b"}, "", "a b", "", "a/000.jpg", ""},
		"case":            {[]string{"cat", "Cat"}, "", "Cat cat", manifest.BadName, "Cat/000.jpg", ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{}
			for i, f := range tc.folders {
				photos(t, files, f, 5, 100*i)
			}
			if tc.extra != "" {
				files[tc.extra] = jpegBytes(t, 1)
			}
			m := scan(t, tree(t, files), manifest.ScanOptions{Near: manifest.NearNever})
			if got := strings.Join(m.Classes, " "); got != tc.classes {
				t.Errorf("classes %q, want %q", got, tc.classes)
			}
			if tc.reason == "" && len(m.Problems) > 0 {
				t.Errorf("unexpected: %v", m.Problems)
			}
			if tc.reason != "" && !slices.ContainsFunc(m.Problems, func(p manifest.Problem) bool { return p.Reason == tc.reason }) {
				t.Errorf("%s is not told in %v", tc.reason, m.Problems)
			}
			if tc.first != "" && (m.Images[0].Path != tc.first || m.Images[0].Split != tc.side) {
				t.Errorf("first image %s on side %q, want %s on %q", m.Images[0].Path, m.Images[0].Split, tc.first, tc.side)
			}
			if trainable := m.Trainable() == ""; trainable != (len(m.Classes) > 1) {
				t.Errorf("trainable: %v", trainable)
			}
		})
	}
}

func TestScanCache(t *testing.T) {
	files := map[string][]byte{}
	photos(t, files, "a", 6, 0)
	photos(t, files, "b", 6, 50)
	root := tree(t, files)
	var last manifest.Progress
	opts := manifest.ScanOptions{Cache: filepath.Join(t.TempDir(), "hashes"), Progress: func(p manifest.Progress) { last = p }}
	first := scan(t, root, opts)
	if last.Cached != 0 || last.Hashed != 12 || last.Files != 12 || last.Images != 12 || len(last.Classes) != 2 || last.Stage != manifest.Hashing {
		t.Fatalf("first scan: %+v", last)
	}
	second := scan(t, root, opts)
	if last.Cached != 12 || !slices.Equal(first.Images, second.Images) {
		t.Fatalf("second scan knew %d of 12", last.Cached)
	}
	write(t, filepath.Join(root, "a", "000.jpg"), jpegBytes(t, 99))
	third := scan(t, root, opts)
	if last.Cached != 11 || third.Images[0].SHA256 == first.Images[0].SHA256 {
		t.Fatalf("third scan knew %d of 12, though one was changed", last.Cached)
	}
	data, err := os.ReadFile(opts.Cache)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	write(t, opts.Cache, data)
	if scan(t, root, opts); last.Cached != 0 {
		t.Fatalf("a broken cache was believed in %d images", last.Cached)
	}
}

func TestScanHeadersFirst(t *testing.T) {
	files := map[string][]byte{}
	photos(t, files, "a", 5, 0)
	photos(t, files, "b", 5, 50)
	var early *manifest.Manifest
	m := scan(t, tree(t, files), manifest.ScanOptions{Headers: func(m *manifest.Manifest) { early = m }})
	if early == nil || len(early.Images) != 10 || early.Images[0].SHA256 != "" || m.Images[0].SHA256 == "" {
		t.Errorf("headers first: %+v", early)
	}
}

func TestScanStops(t *testing.T) {
	files := map[string][]byte{}
	photos(t, files, "a", 5, 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := manifest.Scan(ctx, tree(t, files), manifest.ScanOptions{Headers: func(*manifest.Manifest) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := manifest.Scan(t.Context(), filepath.Join(t.TempDir(), "none"), manifest.ScanOptions{}); err == nil || !strings.Contains(err.Error(), "there is no folder") {
		t.Errorf("got %v", err)
	}
}

func TestNearDuplicates(t *testing.T) {
	files := map[string][]byte{}
	photos(t, files, "a", 5, 0)
	photos(t, files, "b", 5, 50)
	files["a/again.png"] = pngBytes(t, 0, 144, 255) // the same picture, larger and without loss
	files["a/blank1.png"] = plainPNG(t, 200)
	files["a/blank2.png"] = plainPNG(t, 90)
	m := scan(t, tree(t, files), manifest.ScanOptions{})
	near := problems(m, manifest.NearDuplicate)
	if p, ok := near["a/again.png"]; len(near) != 1 || !ok || !slices.Equal(p.Related, []string{"a/000.jpg"}) {
		t.Errorf("near-duplicates: %v", near)
	}
}

func plainPNG(t *testing.T, v uint8) []byte {
	m := image.NewGray(image.Rect(0, 0, 64, 64))
	for i := range m.Pix {
		m.Pix[i] = v
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func BenchmarkScan(b *testing.B) {
	root := realData(b, "trashnet")
	n := 0
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		manifest.Scan(ctx, root, manifest.ScanOptions{Headers: func(m *manifest.Manifest) { n += len(m.Images); cancel() }})
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "headers/s")
}
