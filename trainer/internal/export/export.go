// Package export turns a trained model into the files that people take home, and proves each of them: it writes them
// durably, hashes them, loads them again by other code than wrote them, and compares their answers with the trained
// model's. The formats themselves are sub-packages; preprocessing of photos and records of a run are elsewhere.
package export

import (
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/labels"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tfjs"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Format names a kind of model file, as recipes and records spell it.
type Format string

// The formats that can be written.
const (
	H5            Format = "h5"             // Keras legacy full model
	Keras         Format = "keras"          // the archive of Keras 3
	SavedModel    Format = "savedmodel"     // TensorFlow SavedModel, a folder and the same as .zip
	TFLite        Format = "tflite"         // TensorFlow Lite in float32
	TFLiteFloat16 Format = "tflite_float16" // TensorFlow Lite with weights in float16, half as large
	TFLiteInt8    Format = "tflite_int8"    // TensorFlow Lite in 8-bit integers alone, about a quarter as large
	ONNX          Format = "onnx"           // ONNX, operator set 17
	TFJS          Format = "tfjs"           // TensorFlow.js layers model, a folder and the same as .zip
	Page          Format = "html"           // a page for browsers with TensorFlow.js and the model inside
	CoreML        Format = "coreml"         // Core ML neural network classifier, .mlmodel
)

// LabelsFormat marks the list of class names in records; it is no format of a model.
const LabelsFormat Format = runspec.FormatLabels

// Folders of formats that are one, beside its .zip and inside it.
const (
	savedModelDir = "savedmodel"
	tfjsDir       = "tfjs"
)

// Formats lists what Write can write.
func Formats() []Format {
	return []Format{H5, Keras, SavedModel, TFLite, TFLiteFloat16, TFLiteInt8, ONNX, TFJS, Page, CoreML}
}

// Exact tells whether files of the format compute in float32 with the trained weights, so that their probabilities differ
// from the trained model's by rounding only. Others are to be judged by how many images they name alike.
func (f Format) Exact() bool { return f != TFLiteFloat16 && f != TFLiteInt8 }

// ParseFormat returns the format of that name. The error lists the known ones.
func ParseFormat(name string) (Format, error) {
	if f := Format(name); slices.Contains(Formats(), f) {
		return f, nil
	}
	known := make([]string, len(Formats()))
	for i, f := range Formats() {
		known[i] = string(f)
	}
	return "", fmt.Errorf("there is no export format %q; choose from %s", name, strings.Join(known, ", "))
}

// Ready tells whether this installation can make the format, so that a training is refused at its beginning and not at its
// end. The error says what is missing and how to get it.
func Ready(f Format) error {
	if f != Page {
		return nil
	}
	_, err := tfjs.Bundle()
	return err
}

// Options of an export.
type Options struct {
	// Calibrate yields the photos that formats of integers are fitted to, one or more at a time: [n,size,size,3] of 0…255,
	// prepared as for training, from the training side and of all classes. CalibrationPhotos are enough; fewer do, which
	// the artifact's note then says. It is asked by those formats only, and keeps none of the slices.
	Calibrate iter.Seq2[[]float32, error]
	// Bundle is the path of TensorFlow.js' tf.min.js for Page; "": where it was installed beside the program.
	Bundle string
}

// CalibrationPhotos is how many photos a format of integers should be fitted to.
const CalibrationPhotos = tflite.CalibrationImages

// Artifact is one finished file.
type Artifact struct {
	Name   string // file name in the folder it was written to
	Format Format
	Bytes  int64
	SHA256 string // lower-case hex
	Note   string // one sentence for the person who uses the file; may be empty
	// Path is what Open takes to run it, relative to the folder: the file itself, or the unpacked folder.
	// Empty for files that are no models.
	Path string
}

// Write makes the artifact of that format in dir, which must exist. It appears under its name only when it is whole
// and on disk; one that stands there already is replaced. An error leaves no half file behind.
func Write(dir string, f Format, m network.Model, o Options) (Artifact, error) {
	switch f {
	case H5:
		return writeH5(dir, m)
	case Keras:
		return writeKeras(dir, m)
	case SavedModel:
		return writeSavedModel(dir, m)
	case TFLite, TFLiteFloat16, TFLiteInt8:
		return writeTFLite(dir, f, m, o)
	case ONNX:
		return writeONNX(dir, m)
	case TFJS:
		return writeTFJS(dir, m)
	case Page:
		return writePage(dir, m, o)
	case CoreML:
		return writeCoreML(dir, m)
	}
	_, err := ParseFormat(string(f))
	return Artifact{}, err
}

// WriteLabels makes labels.txt in dir, as durably as Write: the class names in output order, one a line.
func WriteLabels(dir string, names []string) (Artifact, error) {
	a := Artifact{Name: labels.File, Format: LabelsFormat, Note: "Line i, from 0, names output i."}
	err := publish(dir, &a, func(temp string) error { return os.WriteFile(temp, labels.Text(names), 0o644) })
	return a, err
}
