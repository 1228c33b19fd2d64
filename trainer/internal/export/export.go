// Package export turns a trained model into the files that people take home, and proves each of them: it writes them
// durably, hashes them, loads them again by other code than wrote them, and compares their answers with the trained
// model's. The formats themselves are sub-packages; preprocessing of photos and records of a run are elsewhere.
package export

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/coreml"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/labels"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/savedmodel"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Format names a kind of model file, as recipes and records spell it.
type Format string

// The formats that can be written.
const (
	H5         Format = "h5"         // Keras legacy full model
	SavedModel Format = "savedmodel" // TensorFlow SavedModel, a folder and the same as .zip
	ONNX       Format = "onnx"       // ONNX, operator set 17
	CoreML     Format = "coreml"     // Core ML neural network classifier, .mlmodel
)

// LabelsFormat marks the list of class names in records; it is no format of a model.
const LabelsFormat Format = "labels"

// savedModelDir is the SavedModel's folder, beside its .zip and inside it.
const savedModelDir = "savedmodel"

// Formats lists what Write can write.
func Formats() []Format { return []Format{H5, SavedModel, ONNX, CoreML} }

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

// Options of an export.
type Options struct {
	// Crop says that training cut the middle square out of photos rather than stretching them. It matters to formats
	// that prepare encoded photos themselves (SavedModel's serve_bytes).
	Crop bool
}

// Artifact is one finished file.
type Artifact struct {
	Name   string // file name in the folder it was written to
	Format Format
	Bytes  int64
	SHA256 string // lower-case hex
	Note   string // one sentence for the person who uses the file; may be empty
	// Path is what Open takes to run it, relative to the folder: the file itself, or the unpacked SavedModel.
	// Empty for files that are no models.
	Path string
}

// Write makes the artifact of that format in dir, which must exist. It appears under its name only when it is whole
// and on disk; one that stands there already is replaced. An error leaves no half file behind.
func Write(dir string, f Format, m network.Model, o Options) (Artifact, error) {
	switch f {
	case H5:
		return writeH5(dir, m)
	case SavedModel:
		return writeSavedModel(dir, m, o)
	case ONNX:
		return writeONNX(dir, m)
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

func writeH5(dir string, m network.Model) (Artifact, error) {
	a := Artifact{Name: "model.h5", Path: "model.h5", Format: H5,
		Note: "Takes RGB images of 0…255; loads in Keras 2 and 3, class names in the attribute cultivar_labels."}
	err := publish(dir, &a, func(temp string) error { return keras.Write(temp, m) })
	return a, err
}

func writeONNX(dir string, m network.Model) (Artifact, error) {
	a := Artifact{Name: "model.onnx", Path: "model.onnx", Format: ONNX,
		Note: "Takes batches of RGB images of 0…255, height before width before channels; class names are the metadata property labels."}
	err := publish(dir, &a, func(temp string) error { return onnx.Write(temp, m) })
	return a, err
}

func writeCoreML(dir string, m network.Model) (Artifact, error) {
	a := Artifact{Name: "model.mlmodel", Path: "model.mlmodel", Format: CoreML,
		Note: "For iOS 11 and macOS 10.13 on; checked by computing it from the file, as Core ML itself runs on Apple's systems only."}
	err := publish(dir, &a, func(temp string) error { return coreml.Write(temp, m, coreml.Options{}) })
	return a, err
}

func writeSavedModel(dir string, m network.Model, o Options) (Artifact, error) {
	a := Artifact{Name: savedModelDir + ".zip", Path: savedModelDir, Format: SavedModel,
		Note: "The signature serve_bytes takes encoded photos and does not apply their EXIF orientation."}
	folder := filepath.Join(dir, savedModelDir)
	err := publishDir(folder, func(temp string) error { return savedmodel.Write(temp, m, savedmodel.Options{Crop: o.Crop}) })
	if err != nil {
		return Artifact{}, err
	}
	err = publish(dir, &a, func(temp string) error { return zipDir(temp, folder, savedModelDir) })
	return a, err
}
