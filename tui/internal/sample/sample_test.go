package sample_test

import (
	"bytes"
	"image/jpeg"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/tui/internal/sample"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	if err := sample.Write(dir, 1, 3); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, class := range sample.Classes() {
		files, err := os.ReadDir(filepath.Join(dir, class))
		if err != nil || len(files) != 3 {
			t.Fatalf("%s has %d files, %v", class, len(files), err)
		}
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, class, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			img, err := jpeg.Decode(bytes.NewReader(b))
			if err != nil {
				t.Fatalf("%s: %v", f.Name(), err)
			}
			if s := img.Bounds().Size(); s.X < 240 || s.Y < 240 || s.X > 320 || s.Y > 320 {
				t.Errorf("%s is %v", f.Name(), s)
			}
			if twin, ok := seen[string(b)]; ok {
				t.Errorf("%s is %s again", f.Name(), twin)
			}
			seen[string(b)] = f.Name()
		}
	}
}

func TestPicturesDependOnSeedOnly(t *testing.T) {
	if !bytes.Equal(sample.Picture(7, 2, 5), sample.Picture(7, 2, 5)) {
		t.Error("the same picture twice is not the same")
	}
	if bytes.Equal(sample.Picture(7, 2, 5), sample.Picture(8, 2, 5)) {
		t.Error("another seed draws the same picture")
	}
}

func TestClassesAreSorted(t *testing.T) {
	if c := sample.Classes(); !slices.IsSorted(c) || len(c) != 5 {
		t.Errorf("classes %v", c)
	}
}

func TestWriteProblems(t *testing.T) {
	dir := t.TempDir()
	if err := sample.WriteProblems(dir, 1); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "clover", "copy of clover.jpg"))
	if err != nil || !bytes.Equal(b, sample.Picture(1, 0, 0)) {
		t.Errorf("the copy is no copy (%v)", err)
	}
	b, err = os.ReadFile(filepath.Join(dir, "tulip", "cut-short.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jpeg.Decode(bytes.NewReader(b)); err == nil {
		t.Error("the picture cut short can be decoded")
	}
}

func BenchmarkPicture(b *testing.B) {
	for i := 0; b.Loop(); i++ {
		sample.Picture(1, i%len(sample.Classes()), i)
	}
}
