// Package sample draws a dataset of photo-like pictures of garden plants, so that everything can be tried and shown
// without downloading anything. The pictures are made from a seed and are the same everywhere. They are no substitute
// for photos: a model trained on them knows drawings.
package sample

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// PerClass is how many pictures a class has unless asked otherwise.
const PerClass = 64

// plants are the classes and how each is drawn.
var plants = []struct {
	name string
	draw func(*brush, pose)
}{
	{"clover", clover}, {"daisy", daisy}, {"poppy", poppy}, {"sunflower", sunflower}, {"tulip", tulip},
}

// Classes returns the names of the classes, sorted.
func Classes() []string {
	out := make([]string, len(plants))
	for i, p := range plants {
		out[i] = p.name
	}
	return out
}

// Write draws perClass pictures of each class into folders of dir, replacing files of the same name.
func Write(dir string, seed uint64, perClass int) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for class, p := range plants {
		folder := filepath.Join(dir, p.name)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("make the sample's folder: %w", err)
		}
		for i := range perClass {
			g.Go(func() error {
				name := filepath.Join(folder, fmt.Sprintf("%s-%03d.jpg", p.name, i+1))
				if err := os.WriteFile(name, Picture(seed, class, i), 0o644); err != nil {
					return fmt.Errorf("write the sample: %w", err)
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// WriteProblems adds files to the dataset that a check must name: a text called .jpg, a picture twice, an empty file
// and a picture cut short.
func WriteProblems(dir string, seed uint64) error {
	whole := Picture(seed, 0, 0)
	for name, data := range map[string][]byte{
		"daisy/notes.jpg":                      []byte("Photos from the meadow, to be sorted.\n"),
		plants[0].name + "/copy of clover.jpg": whole,
		"poppy/empty.jpg":                      {},
		"tulip/cut-short.jpg":                  whole[:len(whole)/3],
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make the sample's folder: %w", err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return fmt.Errorf("write the sample: %w", err)
		}
	}
	return nil
}

// Picture draws the i-th picture of a class (an index of Classes) and returns it as JPEG.
func Picture(seed uint64, class, i int) []byte {
	key := fnv.New64a()
	fmt.Fprintf(key, "%d/%s/%d", seed, plants[class].name, i)
	r := rand.New(rand.NewPCG(seed, key.Sum64()))
	img := scene(r, class)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: 62 + r.IntN(30)}); err != nil {
		panic(err) // an image in memory into a buffer: cannot fail
	}
	return out.Bytes()
}
