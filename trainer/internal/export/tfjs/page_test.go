package tfjs_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // the photos
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tfjs"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// savePNG writes pixels [size,size,3] of 0…255 as a lossless file of that size.
func savePNG(t *testing.T, pixels []float32, size int) string {
	t.Helper()
	picture := image.NewNRGBA(image.Rect(0, 0, size, size))
	for i := range size * size {
		picture.Set(i%size, i/size, color.NRGBA{uint8(pixels[3*i]), uint8(pixels[3*i+1]), uint8(pixels[3*i+2]), 255})
	}
	path := filepath.Join(t.TempDir(), "photo.png")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, picture); err != nil {
		t.Fatal(err)
	}
	return path
}

// lossless is a JPEG as a PNG of the same pixels.
func lossless(t *testing.T, path string) string {
	t.Helper()
	from, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	picture, _, err := image.Decode(from)
	if err != nil {
		t.Fatal(err)
	}
	to, err := os.Create(filepath.Join(t.TempDir(), "photo.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := png.Encode(to, picture); err != nil {
		t.Fatal(err)
	}
	return to.Name()
}

// rendered is a photo as training sees it.
func rendered(t *testing.T, path string, size int, fit data.Fit) []float32 {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var huge sync.Mutex
	decoder, err := data.NewDecoder(&huge)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	pixels, err := decoder.Decode(file, 1<<20) // in full, as browsers do
	if err != nil {
		t.Fatal(err)
	}
	renderer := data.Renderer{Size: size, Fit: fit}
	out := make([]float32, renderer.Values())
	renderer.Render(out, pixels, data.Plain())
	return out
}

// pageAgrees opens a page in a browser and compares its answers for real photos.
func pageAgrees(t *testing.T, m network.Model, crop bool) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "try it.html") // a space, as in people's folders
	m.Usage.Crop = crop
	if err := tfjs.WritePage(path, m, bundle(t)); err != nil {
		t.Fatal(err)
	}
	size, classes := m.Network.Size, len(m.Labels)
	photos := exporttest.Photos(t, 3, size)
	want := exporttest.Answers(t, m, photos)
	b := openPage(t, path)
	b.await("document.getElementById('status') && document.getElementById('status').textContent === 'Ready.'")
	var backend string
	b.eval("tf.getBackend()", &backend)
	var likely []float32
	for i := range 3 { // already of the network's size: nothing is resized
		got := b.choose(savePNG(t, photos[i*size*size*3:(i+1)*size*size*3], size))
		worst := exporttest.MaxDifference(t, got, want[i*classes:(i+1)*classes])
		t.Logf("%s, %s: photo %d differs by %.2g", m.Network.Name, backend, i, worst)
		if worst > 1e-4 {
			t.Errorf("photo %d differs by %g", i, worst)
		}
		checkShown(t, b, m, got)
		likely = append(likely, slices.Max(got))
	}
	if threshold := float32(m.Usage.Threshold); threshold > 0 && (slices.Min(likely) >= threshold || slices.Max(likely) < threshold) {
		t.Errorf("of %v none or all are below %g: this no longer tests both", likely, threshold)
	}
	fit := data.Stretch
	if crop {
		fit = data.Crop
	}
	// Resized by the page: the same from a lossless file, and near to it from a JPEG, since browsers decode those otherwise.
	jpeg := exporttest.PhotoFiles(t, 1)[0]
	for file, most := range map[string]float64{lossless(t, jpeg): 1e-4, jpeg: 0.05} {
		worst := exporttest.MaxDifference(t, b.choose(file), exporttest.Answers(t, m, rendered(t, file, size, fit)))
		t.Logf("resized %s: differs by %.2g", filepath.Base(file), worst)
		if worst > most {
			t.Errorf("%s, resized by the page, differs by %g", filepath.Base(file), worst)
		}
	}
	if asked := b.requested(path); len(asked) > 0 {
		t.Errorf("the page asked for %q", asked)
	}
	if text := b.complaints(); text != "" {
		t.Errorf("the browser complains: %s", text)
	}
}

// checkShown looks at what a person sees: the likeliest names first, as text and not as markup.
func checkShown(t *testing.T, b *browser, m network.Model, probabilities []float32) {
	t.Helper()
	var names, shares []string
	b.eval("[...document.querySelectorAll('#results .name')].map((e) => e.textContent)", &names)
	b.eval("[...document.querySelectorAll('#results .share')].map((e) => e.textContent)", &shares)
	if best := slices.Index(probabilities, slices.Max(probabilities)); len(names) != 5 || names[0] != m.Labels[best] ||
		shares[0] != fmt.Sprintf("%.1f %%", 100*probabilities[best]) {
		t.Errorf("shown are %q with %q; the likeliest is %q with %g", names, shares, m.Labels[best], probabilities[best])
	}
	var unsure bool
	b.eval("document.getElementById('unsure').offsetHeight > 0", &unsure)
	if below := float64(slices.Max(probabilities)) < m.Usage.Threshold; below != unsure {
		t.Errorf("with %g of at least %g the page says it is unsure: %v", slices.Max(probabilities), m.Usage.Threshold, unsure)
	}
}

func TestPageAgrees(t *testing.T) {
	pageAgrees(t, exporttest.Small(t), false)
	pageAgrees(t, exporttest.Small(t), true)
}

func TestPageOfABaseAgrees(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: a whole network in a browser")
	}
	pageAgrees(t, exporttest.Base(t, "efficientnet_lite0"), false)
}

// The camera's frames are answered one after the other; what is no photo is told in a sentence; the page cannot connect.
func TestPageCameraAndFaults(t *testing.T) {
	path := writePage(t, exporttest.Small(t))
	b := openPage(t, path)
	b.await("document.getElementById('status') && document.getElementById('status').textContent === 'Ready.'")
	b.eval("document.getElementById('webcam').click()", new(any))
	b.await("document.getElementById('results').dataset.probabilities")
	b.eval("delete document.getElementById('results').dataset.probabilities", new(any))
	b.await("document.getElementById('results').dataset.probabilities") // the next frame
	b.eval("document.getElementById('webcam').click()", new(any))
	b.await("document.getElementById('video').hidden && document.getElementById('webcam').textContent === 'Use the camera'")

	text := filepath.Join(t.TempDir(), "note.jpg")
	if err := os.WriteFile(text, []byte("no photo"), 0o600); err != nil {
		t.Fatal(err)
	}
	var document, input struct {
		Root struct {
			ID int `json:"nodeId"`
		} `json:"root"`
		ID int `json:"nodeId"`
	}
	b.call("DOM.getDocument", nil, &document)
	b.call("DOM.querySelector", map[string]any{"nodeId": document.Root.ID, "selector": "#file"}, &input)
	b.call("DOM.setFileInputFiles", map[string]any{"nodeId": input.ID, "files": []string{text}}, nil)
	b.await("document.getElementById('status').textContent === 'note.jpg is no photo that this browser can open.'")

	if text := b.complaints(); text != "" {
		t.Errorf("the browser complains: %s", text)
	}
	var refused bool
	b.eval("fetch('http://127.0.0.1:9/').then(() => false, () => true)", &refused)
	if !refused || !strings.Contains(b.complaints(), "Content Security Policy") {
		t.Errorf("a connection was not forbidden by the page's policy: %s", b.complaints())
	}
}

func TestReadPageRefuses(t *testing.T) {
	whole, err := os.ReadFile(writePage(t, exporttest.Small(t)))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, with, want string }{
		"no model":      {`id="model"`, `id="other"`, "not made here"},
		"no weights":    {`id="weights"`, `id="others"`, "not made here"},
		"more weights":  {`id="weights">`, `id="weights">AAAAAAAA`, "longer than"},
		"other weights": {`id="weights">`, `id="weights">!`, ""},
		"other labels":  {`"花",`, ``, "7 class names"},
	} {
		t.Run(name, func(t *testing.T) {
			if !bytes.Contains(whole, []byte(c.old)) {
				t.Fatalf("the page has no %s", c.old)
			}
			path := filepath.Join(t.TempDir(), "try.html")
			if err := os.WriteFile(path, bytes.Replace(whole, []byte(c.old), []byte(c.with), 1), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := tfjs.ReadPage(path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}
