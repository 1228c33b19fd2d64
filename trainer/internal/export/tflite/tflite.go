// Package tflite writes a trained classifier as a TensorFlow Lite model (.tflite) in float32, float16 or 8-bit integers,
// and runs such a file with TensorFlow to prove it.
//
// A file takes one image, or a batch after resizing its input, as RGB of 0…255, and answers with probabilities. Its
// metadata, class names and threshold are where MediaPipe Tasks' ImageClassifier and the TFLite Support Library look for them. It
// does not decode or resize photos.
package tflite

import (
	"fmt"
	"iter"
	"os"
	"unicode/utf8"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Kind is in which numbers a model computes.
type Kind string

// The kinds. Float16 has weights of half the size, which most runtimes widen again; Int8 computes with integers alone,
// takes and gives uint8, and is for processors that are fast at those.
const (
	Float32 Kind = "float32"
	Float16 Kind = "float16"
	Int8    Kind = "int8"
)

// CalibrationImages is how many images Int8 should be given. With fewer the model is made as well, less surely.
const CalibrationImages = 200

// Options of a model.
type Options struct {
	Kind Kind
	// Calibrate yields images for Int8, one or more at a time: [n,size,size,3] of 0…255, prepared as for training, from
	// photos that the model has been trained on. The slices are not kept.
	Calibrate iter.Seq2[[]float32, error]
}

// Write makes the file at path. Syncing it and giving it its final name is the caller's.
func Write(path string, m network.Model, o Options) error {
	file, err := build(m, o)
	if err != nil {
		return fmt.Errorf("write TensorFlow Lite model: %w", err)
	}
	if err := os.WriteFile(path, file, 0o644); err != nil {
		return fmt.Errorf("write TensorFlow Lite model: %w", err)
	}
	return nil
}

func build(m network.Model, o Options) ([]byte, error) {
	for _, name := range m.Labels {
		if !utf8.ValidString(name) {
			return nil, fmt.Errorf("class name %q is not in UTF-8", name)
		}
	}
	p, err := lower(m, o.Kind == Int8)
	if err != nil {
		return nil, err
	}
	note := ""
	switch o.Kind {
	case Float32:
	case Float16:
		p = halve(p)
	case Int8:
		images := 0
		if p, images, err = integers(p, o.Calibrate); err != nil {
			return nil, err
		}
		note = fmt.Sprintf(" Its 8-bit numbers were fitted to %d photos.", images)
	default:
		return nil, fmt.Errorf("there is no kind %q", o.Kind)
	}
	// What is written can be read again, or it is not written.
	if err := p.check(); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("An image classifier of %d classes on %s, made by Cultivar.%s", len(m.Labels), m.Network.Name, note)
	about := about{name: m.Network.Name, description: text, side: m.Network.Size, threshold: m.Usage.Threshold}
	return withFiles(encode(p, text, describe(about)), m.Labels, m.Usage)
}
