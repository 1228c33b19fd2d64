package export

import (
	"fmt"
	"iter"
	"path/filepath"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/coreml"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/keras"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/savedmodel"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tfjs"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

func writeH5(dir string, m network.Model) (Artifact, error) {
	a := Artifact{Name: "model.h5", Path: "model.h5", Format: H5,
		Note: "Takes RGB images of 0…255; loads in Keras 2 and 3, class names in the attribute cultivar_labels."}
	err := publish(dir, &a, func(temp string) error { return keras.Write(temp, m) })
	return a, err
}

func writeKeras(dir string, m network.Model) (Artifact, error) {
	a := Artifact{Name: "model.keras", Path: "model.keras", Format: Keras,
		Note: "Takes RGB images of 0…255; loads in Keras 3, class names are cultivar_labels in its metadata.json."}
	err := publish(dir, &a, func(temp string) error { return keras.WriteNative(temp, m) })
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

func writeSavedModel(dir string, m network.Model) (Artifact, error) {
	a := Artifact{Name: savedModelDir + ".zip", Path: savedModelDir, Format: SavedModel,
		Note: "The signature serve_bytes takes encoded photos and does not apply their EXIF orientation."}
	folder := filepath.Join(dir, savedModelDir)
	err := publishDir(folder, func(temp string) error { return savedmodel.Write(temp, m) })
	if err != nil {
		return Artifact{}, err
	}
	err = publish(dir, &a, func(temp string) error { return zipDir(temp, folder, savedModelDir) })
	return a, err
}

func writeTFJS(dir string, m network.Model) (Artifact, error) {
	a := Artifact{Name: tfjsDir + ".zip", Path: tfjsDir, Format: TFJS,
		Note: "Takes RGB images of 0…255 by tf.loadLayersModel(\"tfjs/model.json\"); class names are in labels.txt and in userDefinedMetadata."}
	folder := filepath.Join(dir, tfjsDir)
	if err := publishDir(folder, func(temp string) error { return tfjs.Write(temp, m) }); err != nil {
		return Artifact{}, err
	}
	err := publish(dir, &a, func(temp string) error { return zipDir(temp, folder, tfjsDir) })
	return a, err
}

func writePage(dir string, m network.Model, o Options) (Artifact, error) {
	a := Artifact{Name: "try.html", Path: "try.html", Format: Page,
		Note: "Open it in a browser and drop a photo on it, or use the camera; it works without a network and sends nothing."}
	err := publish(dir, &a, func(temp string) error {
		return tfjs.WritePage(temp, m, o.Bundle)
	})
	return a, err
}

func writeTFLite(dir string, f Format, m network.Model, o Options) (Artifact, error) {
	a := Artifact{Name: "model.tflite", Format: f,
		Note: "Takes RGB images of 0…255, height before width before channels; class names are inside, where MediaPipe looks for them."}
	kind := tflite.Float32
	switch f {
	case TFLiteFloat16:
		kind, a.Name = tflite.Float16, "model-float16.tflite"
		a.Note = "Weights in 16 bits; takes and gives the same as model.tflite and has half its size."
	case TFLiteInt8:
		kind, a.Name = tflite.Int8, "model-int8.tflite"
	}
	a.Path = a.Name
	photos := 0
	err := publish(dir, &a, func(temp string) error {
		return tflite.Write(temp, m, tflite.Options{Kind: kind, Calibrate: counted(o.Calibrate, &photos, m.Network.Size)})
	})
	if f == TFLiteInt8 {
		a.Note = fitted(photos)
	}
	return a, err
}

// counted passes images [n,size,size,3] on and adds up how many they are.
func counted(images iter.Seq2[[]float32, error], n *int, size int) iter.Seq2[[]float32, error] {
	if images == nil {
		return nil
	}
	return func(yield func([]float32, error) bool) {
		for some, err := range images {
			*n += len(some) / (size * size * 3)
			if !yield(some, err) {
				return
			}
		}
	}
}

// fitted is the note of a model of integers.
func fitted(photos int) string {
	if photos < CalibrationPhotos {
		return fmt.Sprintf("Takes and gives whole numbers of 0…255; fitted to %d training photos only, of the %d that make it sure, so try it on photos of your own.",
			photos, CalibrationPhotos)
	}
	return fmt.Sprintf("Takes and gives whole numbers of 0…255; fitted to %d training photos.", photos)
}
