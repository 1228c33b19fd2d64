package manifest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// set makes up images of the given class sizes.
func set(sizes map[string]int) []manifest.Image {
	var images []manifest.Image
	for _, class := range []string{"a", "b", "c"} {
		for i := range sizes[class] {
			sum := sha256.Sum256(fmt.Append(nil, class, i))
			images = append(images, manifest.Image{Class: class, Path: fmt.Sprintf("%s/%05d.jpg", class, i), SHA256: hex.EncodeToString(sum[:]),
				Size: 100, Width: 64, Height: 64, Format: manifest.JPEG})
		}
	}
	return images
}

func encoded(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	if err := manifest.Encode(&b, &manifest.Manifest{Name: "set", Classes: []string{"a", "b"}, Images: set(map[string]int{"a": 2, "b": 1})}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDecode(t *testing.T) {
	good := encoded(t)
	if _, err := manifest.Decode(strings.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(good, "\n"), "\n")
	for name, bad := range map[string]string{
		"empty":           "",
		"cut short":       good[:len(good)-1],
		"a line less":     strings.Join(lines[:3], ""),
		"a line more":     good + lines[3],
		"order":           lines[0] + lines[2] + lines[1] + lines[3] + "\n",
		"twice":           lines[0] + lines[1] + lines[1] + lines[3] + "\n",
		"version":         strings.Replace(good, `"version":1`, `"version":2`, 1),
		"classes":         strings.Replace(good, `["a","b"]`, `["b","a"]`, 1),
		"lying count":     strings.Replace(good, `"images":3`, `"images":500000`, 1),
		"huge count":      strings.Replace(good, `"images":3`, `"images":999999999`, 1),
		"unknown field":   strings.Replace(good, `"size"`, `"url":"x","size"`, 1),
		"absolute":        strings.Replace(good, `"a/00000`, `"/a/00000`, 1),
		"upwards":         strings.Replace(good, `"a/00000`, `"a/../00000`, 1),
		"empty component": strings.Replace(good, `"a/00000`, `"a//00000`, 1),
		"too deep":        strings.Replace(good, `"a/00000`, `"a/1/2/3/4/5/6/7/00000`, 1),
		"NUL":             strings.Replace(good, `"a/00000`, `"a/\u000000000`, 1),
		"not NFC":         strings.Replace(good, `"a/00000`, "\"a/e\u0301", 1),
		"not UTF-8":       strings.Replace(good, `"a/00000`, "\"a/\xff", 1),
		"long line":       strings.Replace(good, `"a/00000`, `"a/`+strings.Repeat("x", 20_000), 1),
		"pixels":          strings.Replace(good, `"width":64`, `"width":16385`, 1),
		"format":          strings.Replace(good, `"jpeg"`, `"tiff"`, 1),
		"two objects":     strings.Replace(good, "}\n", "}{}\n", 1),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := manifest.Decode(strings.NewReader(bad)); !errors.Is(err, manifest.ErrFormat) {
				t.Errorf("got %v, want ErrFormat", err)
			}
		})
	}
}

func TestDigest(t *testing.T) {
	images := set(map[string]int{"a": 2, "b": 1})
	h := sha256.New()
	fmt.Fprint(h, "cultivar-manifest 1\n")
	for _, im := range images {
		fmt.Fprintf(h, "%s\x00%s\x00%s\n", im.Class, im.Path, im.SHA256)
	}
	want := hex.EncodeToString(h.Sum(nil))
	slices.Reverse(images)
	images[0].Width, images[0].DHash, images[0].Split = 7, "00ff00ff00ff00ff", manifest.Test
	if got := manifest.Digest(images); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	images[0].SHA256 = images[1].SHA256
	if manifest.Digest(images) == want {
		t.Error("another content has the same digest")
	}
}

func tally(images []manifest.Image, sides []manifest.Side, class string) map[manifest.Side]int {
	n := map[manifest.Side]int{}
	for i, im := range images {
		if im.Class == class {
			n[sides[i]]++
		}
	}
	return n
}

var usual = manifest.SplitOptions{Seed: 1, Validation: 0.15, Test: 0.15}

func TestSplitShares(t *testing.T) {
	for _, sizes := range []map[string]int{{"a": 40, "b": 20, "c": 9}, {"a": 1000, "b": 300, "c": 50}} {
		images := set(sizes)
		for seed := range int64(20) {
			opts := usual
			opts.Seed = seed
			sides, notes := manifest.Split(images, opts)
			if len(notes) > 0 {
				t.Errorf("unexpected: %v", notes)
			}
			for class, n := range sizes {
				got := tally(images, sides, class)
				exact := float64(n) * .15
				slack := math.Sqrt(exact) + 1
				if math.Abs(float64(got[manifest.Test])-exact) > slack || math.Abs(float64(got[manifest.Validation])-exact) > slack || got[manifest.Train]+got[manifest.Validation]+got[manifest.Test] != n {
					t.Errorf("seed %d, class of %d: %v", seed, n, got)
				}
			}
		}
	}
}

func TestSplitIsStable(t *testing.T) {
	all := set(map[string]int{"a": 1000, "b": 300, "c": 60})
	before, _ := manifest.Split(all[:len(all)-1], usual)
	shuffled := slices.Clone(all)
	slices.Reverse(shuffled)
	after, _ := manifest.Split(shuffled, usual)
	slices.Reverse(after)
	moved := 0
	for i := range before {
		if before[i] != after[i] {
			moved++
		}
	}
	if moved > 2 {
		t.Errorf("%d of %d images moved when one was added", moved, len(before))
	}
	more := set(map[string]int{"a": 1100, "b": 330, "c": 66})
	grown, _ := manifest.Split(more, usual)
	side := map[string]manifest.Side{}
	for i, im := range more {
		side[im.SHA256] = grown[i]
	}
	moved = 0
	for i, im := range all[:len(all)-1] {
		if before[i] != side[im.SHA256] {
			moved++
		}
	}
	if moved > len(all)/50 {
		t.Errorf("%d of %d images moved when a tenth was added", moved, len(all))
	}
	other := usual
	other.Seed = 2
	if sides, _ := manifest.Split(all[:len(all)-1], other); slices.Equal(sides, before) {
		t.Error("another seed gives the same split")
	}
}

func TestSplitKeepsNearDuplicatesTogether(t *testing.T) {
	images := set(map[string]int{"a": 200, "b": 200})
	for i := range images { // groups of four in a chain of distances 1
		images[i].DHash = fmt.Sprintf("%016x", uint64(i/4+1)*0x9e3779b97f4a7c15^(1<<(i%4)-1))
	}
	sides, _ := manifest.Split(images, usual)
	for i := range images {
		if sides[i] != sides[i/4*4] {
			t.Fatalf("images %d and %d are near-duplicates on sides %s and %s", i/4*4, i, sides[i/4*4], sides[i])
		}
	}
	if n := tally(images, sides, "a"); n[manifest.Test] < 20 || n[manifest.Validation] < 20 {
		t.Errorf("sides %v", n)
	}
	for i := range images { // one class that is all alike can still be divided
		images[i].DHash = "0123456789abcdef"
		if i%2 == 0 {
			images[i].DHash = "0123456789abcdee"
		}
	}
	sides, _ = manifest.Split(images, usual)
	if n := tally(images, sides, "a"); n[manifest.Train] == 0 || n[manifest.Validation] == 0 {
		t.Errorf("sides %v of a class of near-duplicates", n)
	}
}

func TestSplitSmall(t *testing.T) {
	for name, tc := range map[string]struct {
		sizes map[string]int
		notes int
	}{
		"small set":   {map[string]int{"a": 20, "b": 20}, 1},
		"small class": {map[string]int{"a": 100, "b": 6}, 1},
		"tiny":        {map[string]int{"a": 3, "b": 2, "c": 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			images := set(tc.sizes)
			sides, notes := manifest.Split(images, usual)
			if len(notes) != tc.notes {
				t.Errorf("notes %q", notes)
			}
			for class, n := range tc.sizes {
				got := tally(images, sides, class)
				if got[manifest.Train] < 1 || n >= 3 && got[manifest.Validation] < 1 || (n < 8 || len(images) < 50) && got[manifest.Test] > 0 {
					t.Errorf("class of %d: %v", n, got)
				}
			}
		})
	}
}

func TestSplitGiven(t *testing.T) {
	images := set(map[string]int{"a": 60, "b": 60, "c": 10})
	for i := range images {
		images[i].Split = []manifest.Side{manifest.Train, manifest.Train, manifest.Test}[i%3]
		if images[i].Class == "c" {
			images[i].Split = manifest.Test
		}
	}
	sides, notes := manifest.Split(images, usual)
	for i, im := range images {
		if im.Class != "c" && (im.Split == manifest.Test) != (sides[i] == manifest.Test) {
			t.Fatalf("image %d was given %s and got %s", i, im.Split, sides[i])
		}
	}
	if n := tally(images, sides, "a"); n[manifest.Validation] < 3 || n[manifest.Validation] > 10 {
		t.Errorf("validation from the training side: %v", n)
	}
	if n := tally(images, sides, "c"); n[manifest.Train] == 0 || len(notes) != 2 {
		t.Errorf("a class without training images: %v, %q", n, notes)
	}
}

func TestSplitFile(t *testing.T) {
	images := set(map[string]int{"a": 60})
	sides, _ := manifest.Split(images, usual)
	var b bytes.Buffer
	if err := manifest.EncodeSplit(&b, images, sides); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	lines, err := manifest.DecodeSplit(&b)
	if err != nil || len(lines) != len(images) || lines[7] != (manifest.SplitLine{SHA256: images[7].SHA256, Path: images[7].Path, Split: sides[7]}) {
		t.Errorf("%d lines came back: %v", len(lines), err)
	}
	if _, err := manifest.DecodeSplit(strings.NewReader(strings.Replace(text, `"train"`, `"both"`, 1))); !errors.Is(err, manifest.ErrFormat) {
		t.Errorf("got %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(encoded(f)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := manifest.Decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := manifest.Encode(&b, m); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}

func TestHeaderMemory(t *testing.T) {
	for name, data := range map[string][]byte{"huge": pngHead(30_000, 30_000), "at the limit": pngHead(16_000, 4_000), "JPEG": jpegBytes(t, 1)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		manifest.ReadHeader(bytes.NewReader(data), int64(len(data)))
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Errorf("%s: %d bytes were allocated for a header", name, n)
		}
	}
}

func FuzzHeader(f *testing.F) {
	whole := jpegBytes(f, 1)
	for _, seed := range [][]byte{whole, whole[:200], pngBytes(f, 1, 40, 100), pngHead(9, 9), []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00abcdef!\xf9\x04\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"),
		[]byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00"), []byte("BM"), []byte("\x00\x00\x00\x18ftypheic")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := manifest.ReadHeader(bytes.NewReader(data), int64(len(data)))
		var refused *manifest.HeaderError
		if err != nil && !errors.As(err, &refused) {
			t.Errorf("neither a header nor a reason: %v", err)
		}
		if err == nil && (h.Width < 1 || h.Height < 1 || h.Width*h.Height > manifest.MaxPixels) {
			t.Errorf("%+v is outside the limits", h)
		}
	})
}
