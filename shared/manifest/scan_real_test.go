package manifest_test

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// realData is a folder of the shared test images; without it the test is skipped.
func realData(t testing.TB, name string) string {
	t.Helper()
	base := os.Getenv("CULTIVAR_TEST_DATA")
	if base == "" {
		base = filepath.Join("..", "..", "..", "shared", "data")
	}
	p := filepath.Join(base, name)
	if _, err := os.Stat(p); err != nil {
		t.Skipf("SKIPPED: no real images at %s; set CULTIVAR_TEST_DATA to the folder that has them", p)
	}
	return p
}

func table(t *testing.T, name string) [][]string {
	t.Helper()
	f, err := os.Open(realData(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows [][]string
	for s := bufio.NewScanner(f); s.Scan(); {
		rows = append(rows, strings.Split(s.Text(), "\t"))
	}
	return rows
}

func problems(m *manifest.Manifest, reason manifest.Reason) map[string]manifest.Problem {
	out := map[string]manifest.Problem{}
	for _, p := range m.Problems {
		if p.Reason == reason {
			out[p.Path] = p
		}
	}
	return out
}

func TestOddFormats(t *testing.T) {
	m, err := manifest.Scan(t.Context(), realData(t, "odd-formats"), manifest.ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]manifest.Image{}
	for _, im := range m.Images {
		images[im.Path] = im
	}
	orientation := map[string]int{"jpeg_exif2": 2, "jpeg_exif3": 3, "jpeg_exif6": 6, "jpeg_exif8": 8}
	rotated, unsupported := problems(m, manifest.Rotated), problems(m, manifest.Unsupported)
	renamed, damaged := problems(m, manifest.WrongExtension), problems(m, manifest.Damaged)
	rows := table(t, "odd-formats-manifest.tsv")
	for _, row := range rows {
		path, encoding := row[0], row[2]
		im, used := images[path]
		kind, _, _ := strings.Cut(encoding, "_")
		switch {
		case kind == "tiff":
			if _, told := unsupported[path]; used || !told {
				t.Errorf("%s: a TIFF must be left out and told", path)
			}
			continue
		case !used:
			t.Errorf("%s (%s) was left out", path, encoding)
			continue
		case im.Format != manifest.Format(kind):
			t.Errorf("%s: format %s, want %s", path, im.Format, kind)
		case im.Width*im.Height != 256*192 || im.Size == 0 || len(im.SHA256) != 64:
			t.Errorf("%s: %+v", path, im)
		case im.Orientation != orientation[encoding]:
			t.Errorf("%s: orientation %d, want %d", path, im.Orientation, orientation[encoding])
		}
		if _, told := rotated[path]; told != (orientation[encoding] > 1) {
			t.Errorf("%s (%s): told as rotated: %v", path, encoding, told)
		}
		if _, told := renamed[path]; told != strings.Contains(encoding, "_named_") {
			t.Errorf("%s (%s): told as wrongly named: %v", path, encoding, told)
		}
	}
	if len(damaged) > 0 {
		t.Errorf("%d are called damaged: %v", len(damaged), damaged)
	}
	if len(m.Images)+m.Skipped[manifest.Unsupported] != len(rows) || len(m.Classes) != 6 {
		t.Errorf("%d images in %v, %v left out, of %d", len(m.Images), m.Classes, m.Skipped, len(rows))
	}
}

// exceptions are the files of the decoder corpus that its library reads and that a dataset does not take, and those it
// refuses that have a good header here.
var exceptions = map[string]string{
	"hopper_rle8.bmp":                "unsupported: run lengths, which no decoder of the trainer reads",
	"hopper_rle8_grayscale.bmp":      "unsupported: likewise",
	"hopper_rle8_row_overflow.bmp":   "unsupported: likewise",
	"rgb32bf-abgr.bmp":               "unsupported: colours in an order that no decoder of the trainer reads",
	"rgb32bf-rgba.bmp":               "unsupported: likewise",
	"iss634.webp":                    "unsupported: animated",
	"png_decompression_dos.png":      "png: what is too large is a text, which nobody here unpacks",
	"unknown_compression_method.png": "png: what is packed in an unknown way is a colour profile, which nobody here unpacks",
}

func TestDecoderCorpus(t *testing.T) {
	folder := realData(t, "decoder-corpus")
	formats := map[string]manifest.Format{"JPEG": manifest.JPEG, "MPO": manifest.JPEG, "PNG": manifest.PNG, "GIF": manifest.GIF, "BMP": manifest.BMP, "WEBP": manifest.WebP}
	for _, row := range table(t, "decoder-corpus-manifest.tsv") {
		name, verdict := row[0], row[len(row)-1]
		f, err := os.Open(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		h, err := manifest.ReadHeader(f, info.Size())
		f.Close()
		var refused *manifest.HeaderError
		if err != nil && !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := formats[row[1]]
		if verdict != "ok" {
			want = ""
		}
		if h.NoEnd {
			h.Format = ""
		}
		got := string(h.Format)
		if err != nil {
			got = string(refused.Reason)
		}
		if why, ok := exceptions[name]; ok {
			if !strings.HasPrefix(why, got+":") {
				t.Errorf("%s: got %s (%v), expected %s", name, got, err, why)
			}
			continue
		}
		if (err == nil) != (want != "") && !h.NoEnd {
			t.Errorf("%s: %s, got %s (%v)", name, verdict, got, err)
		}
		if err == nil && want != "" && h.Format != want {
			t.Errorf("%s: format %s, want %s", name, h.Format, want)
		}
	}
}

func TestTrashnet(t *testing.T) {
	m, err := manifest.Scan(t.Context(), realData(t, "trashnet"), manifest.ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	leaks := problems(m, manifest.DuplicateLeak)
	if len(leaks) != 3 || len(m.Images) != 2527-3 || m.Skipped[manifest.DuplicateLeak] != 3 {
		t.Errorf("%d images, %d duplicates in two classes, want 2524 and 3", len(m.Images), len(leaks))
	}
	for path, p := range leaks {
		t.Log(p.Text)
		if len(p.Related) != 1 || p.Related[0] == path {
			t.Errorf("%s is related to %v", path, p.Related)
		}
	}
	t.Logf("%d near-duplicates", len(problems(m, manifest.NearDuplicate)))
	if text := m.Trainable(); text != "" {
		t.Error(text)
	}
}
