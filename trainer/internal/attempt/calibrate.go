package attempt

import (
	"fmt"
	"iter"
	"sync"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
)

// calibration yields photos that the model learned from, each [size,size,3] of 0…255 as they are without changed views,
// for formats that fit their numbers to photos. They are decoded one by one as they are asked for, into the same memory.
func (a *Attempt) calibration(t *training) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		var huge sync.Mutex
		decoder, err := data.NewDecoder(&huge)
		if err != nil {
			yield(nil, err)
			return
		}
		defer decoder.Close()
		renderer := data.Renderer{Size: t.base.Size, Fit: t.key.Fit}
		image := make([]float32, renderer.Values())
		for _, item := range t.taught(max(export.CalibrationPhotos, len(t.labels))) {
			_, err := a.render(image, decoder, &renderer, item)
			if !yield(image, err) || err != nil {
				return
			}
		}
	}
}

// taught are up to n photos of the training side. The classes take turns, so that none is left out that has any.
func (t *training) taught(n int) []data.Item {
	byClass := make([][]data.Item, len(t.labels))
	for _, s := range t.samples(manifest.Train) {
		if s.View == 0 {
			byClass[s.Class] = append(byClass[s.Class], t.items[t.wants[s.Row].Item])
		}
	}
	var picked []data.Item
	for turn, more := 0, true; more; turn++ {
		more = false
		for _, items := range byClass {
			if turn < len(items) && len(picked) < n {
				picked, more = append(picked, items[turn]), true
			}
		}
	}
	return picked
}

// render fills dst with an image as training saw it, and returns the file that it is.
func (a *Attempt) render(dst []float32, decoder *data.Decoder, renderer *data.Renderer, item data.Item) ([]byte, error) {
	file, err := item.Read(a.spec.Paths.Packs)
	if err != nil {
		return nil, err
	}
	pixels, err := decoder.Decode(file, data.Need(0, renderer.Size))
	if err != nil {
		return nil, fmt.Errorf("%q: %w", item.Path, err)
	}
	renderer.Render(dst, pixels, data.Plain())
	return file, nil
}
