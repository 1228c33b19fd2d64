// Package classify answers for image files with an exported model, prepared exactly as for training. It trains and
// judges nothing.
package classify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// batchSize is how many images are prepared before the model runs.
const batchSize = 16

// Classifier is a loaded model. It is used by one goroutine.
type Classifier struct {
	Labels []string // in output order
	Usage  network.Usage

	runner   *export.Runner
	decoders []*data.Decoder
	size     int
	fit      data.Fit
}

// Open loads an exported model of any format. fit says how photos become squares; "": as the model itself says. The caller
// closes it.
func Open(path string, fit data.Fit, workers int) (*Classifier, error) {
	runner, err := export.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the model: %w", err)
	}
	if len(runner.Labels) == 0 {
		return nil, errors.Join(fmt.Errorf("%q has no class names: it was not made by Cultivar", path), runner.Close())
	}
	if fit == "" {
		fit = data.Fit(runner.Usage.Preprocessing())
	}
	c := &Classifier{Labels: runner.Labels, Usage: runner.Usage, runner: runner, size: runner.Size, fit: fit}
	huge := new(sync.Mutex)
	for range max(1, workers) {
		decoder, err := data.NewDecoder(huge)
		if err != nil {
			c.Close()
			return nil, err
		}
		c.decoders = append(c.decoders, decoder)
	}
	return c, nil
}

// Close frees the model.
func (c *Classifier) Close() {
	for _, d := range c.decoders {
		d.Close()
	}
	c.runner.Close()
}

// Answer is what the model says about one item: probabilities in label order, or why the item cannot be used.
type Answer struct {
	Item          int // position in the list
	Probabilities []float32
	Unsure        bool // the most probable class lies below the model's threshold
	Fault         *data.Fault
}

// Each answers for items in their order. packs is the folder of packs that items may lie in. An error of tell ends it.
func (c *Classifier) Each(ctx context.Context, items []data.Item, packs string, tell func(Answer) error) error {
	for start := 0; start < len(items); start += batchSize {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		batch := items[start:min(len(items), start+batchSize)]
		answers, err := c.batch(batch, packs)
		if err != nil {
			return err
		}
		for i, a := range answers {
			a.Item = start + i
			if err := tell(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// batch answers for up to batchSize items.
func (c *Classifier) batch(items []data.Item, packs string) ([]Answer, error) {
	answers := make([]Answer, len(items))
	failed := make([]error, len(items))
	each := c.size * c.size * 3
	images := make([]float32, len(items)*each)
	var wait sync.WaitGroup
	for w, decoder := range c.decoders {
		wait.Go(func() {
			renderer := data.Renderer{Size: c.size, Fit: c.fit}
			for i := w; i < len(items); i += len(c.decoders) {
				failed[i] = prepare(decoder, &renderer, items[i], packs, images[i*each:(i+1)*each])
			}
		})
	}
	wait.Wait()
	good := images[:0]
	for i, err := range failed {
		if err == nil {
			good = append(good, images[i*each:(i+1)*each]...) // moves to the front; those left out are behind
			continue
		}
		if !errors.As(err, &answers[i].Fault) {
			return nil, err
		}
	}
	if len(good) == 0 {
		return answers, nil
	}
	probabilities, err := c.runner.Predict(good)
	if err != nil {
		return nil, fmt.Errorf("run the model: %w", err)
	}
	classes := len(c.Labels)
	if len(probabilities) != classes*(len(good)/each) {
		return nil, fmt.Errorf("the model answers with %d probabilities for %d images and %d class names", len(probabilities), len(good)/each, classes)
	}
	for i := range answers {
		if answers[i].Fault == nil {
			answers[i].Probabilities, probabilities = probabilities[:classes:classes], probabilities[classes:]
			answers[i].Unsure = float64(slices.Max(answers[i].Probabilities)) < c.Usage.Threshold
		}
	}
	return answers, nil
}

func prepare(decoder *data.Decoder, renderer *data.Renderer, item data.Item, packs string, dst []float32) error {
	file, err := item.Read(packs)
	if err != nil {
		return err
	}
	pixels, err := decoder.Decode(file, data.Need(0, renderer.Size))
	if err != nil {
		return err
	}
	renderer.Render(dst, pixels, data.Plain())
	return nil
}

// Top lists the positions of the n most probable classes, most probable first; of equal ones the first in label order.
func Top(probabilities []float32, n int) []int {
	order := make([]int, 0, n+1)
	for c, p := range probabilities {
		at := len(order)
		for at > 0 && p > probabilities[order[at-1]] {
			at--
		}
		if at >= n {
			continue
		}
		order = append(order, 0)
		copy(order[at+1:], order[at:])
		order[at] = c
		order = order[:min(n, len(order))]
	}
	return order
}
