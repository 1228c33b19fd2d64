package tflite

import (
	"archive/zip"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/labels"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/metadata"
)

// parserVersion is the oldest metadata parser that understands everything that we write.
const parserVersion = "1.0.0"

// maxLabels bounds the file of class names that is read, bytes.
const maxLabels = 1 << 24

// about describes a model in its metadata.
type about struct {
	name, description string
	side              int
}

// describe makes the metadata of an image classifier: pixels go in as they are, and the output's classes are named by
// the file of labels behind the model.
func describe(a about) []byte {
	b := flatbuffers.NewBuilder(1024)
	in, out := a.input(b), a.output(b)
	inputs, outputs := tableVector(b, in), tableVector(b, out)
	metadata.SubGraphMetadataStart(b)
	metadata.SubGraphMetadataAddInputTensorMetadata(b, inputs)
	metadata.SubGraphMetadataAddOutputTensorMetadata(b, outputs)
	graphs := tableVector(b, metadata.SubGraphMetadataEnd(b))
	name, description, version := b.CreateString(a.name), b.CreateString(a.description), b.CreateString(parserVersion)
	metadata.ModelMetadataStart(b)
	metadata.ModelMetadataAddName(b, name)
	metadata.ModelMetadataAddDescription(b, description)
	metadata.ModelMetadataAddSubgraphMetadata(b, graphs)
	metadata.ModelMetadataAddMinParserVersion(b, version)
	b.FinishWithFileIdentifier(metadata.ModelMetadataEnd(b), []byte("M001"))
	return b.FinishedBytes()
}

func (a about) input(b *flatbuffers.Builder) flatbuffers.UOffsetT {
	zero, one := floatVector(b, 0), floatVector(b, 1)
	metadata.NormalizationOptionsStart(b)
	metadata.NormalizationOptionsAddMean(b, zero)
	metadata.NormalizationOptionsAddStd(b, one)
	normalization := metadata.NormalizationOptionsEnd(b)
	metadata.ProcessUnitStart(b)
	metadata.ProcessUnitAddOptionsType(b, metadata.ProcessUnitOptionsNormalizationOptions)
	metadata.ProcessUnitAddOptions(b, normalization)
	units := tableVector(b, metadata.ProcessUnitEnd(b))
	metadata.ImageSizeStart(b)
	metadata.ImageSizeAddWidth(b, uint32(a.side))
	metadata.ImageSizeAddHeight(b, uint32(a.side))
	size := metadata.ImageSizeEnd(b)
	metadata.ImagePropertiesStart(b)
	metadata.ImagePropertiesAddColorSpace(b, metadata.ColorSpaceRGB)
	metadata.ImagePropertiesAddDefaultSize(b, size)
	content := contentOf(b, metadata.ContentPropertiesImageProperties, metadata.ImagePropertiesEnd(b))
	stats := statsOf(b, 255)
	name, description := b.CreateString(imageName), b.CreateString("The photo to name, RGB of 0 to 255; nothing is to be subtracted or divided.")
	metadata.TensorMetadataStart(b)
	metadata.TensorMetadataAddName(b, name)
	metadata.TensorMetadataAddDescription(b, description)
	metadata.TensorMetadataAddContent(b, content)
	metadata.TensorMetadataAddProcessUnits(b, units)
	metadata.TensorMetadataAddStats(b, stats)
	return metadata.TensorMetadataEnd(b)
}

func (a about) output(b *flatbuffers.Builder) flatbuffers.UOffsetT {
	file, text := b.CreateString(labels.File), b.CreateString("The class names in output order, one a line.")
	metadata.AssociatedFileStart(b)
	metadata.AssociatedFileAddName(b, file)
	metadata.AssociatedFileAddDescription(b, text)
	metadata.AssociatedFileAddType(b, metadata.AssociatedFileTypeTensorAxisLabels)
	files := tableVector(b, metadata.AssociatedFileEnd(b))
	metadata.FeaturePropertiesStart(b)
	content := contentOf(b, metadata.ContentPropertiesFeatureProperties, metadata.FeaturePropertiesEnd(b))
	stats := statsOf(b, 1)
	name, description := b.CreateString(answerName), b.CreateString("The probability of each class.")
	metadata.TensorMetadataStart(b)
	metadata.TensorMetadataAddName(b, name)
	metadata.TensorMetadataAddDescription(b, description)
	metadata.TensorMetadataAddContent(b, content)
	metadata.TensorMetadataAddStats(b, stats)
	metadata.TensorMetadataAddAssociatedFiles(b, files)
	return metadata.TensorMetadataEnd(b)
}

func contentOf(b *flatbuffers.Builder, kind metadata.ContentProperties, properties flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	metadata.ContentStart(b)
	metadata.ContentAddContentPropertiesType(b, kind)
	metadata.ContentAddContentProperties(b, properties)
	return metadata.ContentEnd(b)
}

// statsOf says that values are 0…high.
func statsOf(b *flatbuffers.Builder, high float32) flatbuffers.UOffsetT {
	largest, smallest := floatVector(b, high), floatVector(b, 0)
	metadata.StatsStart(b)
	metadata.StatsAddMax(b, largest)
	metadata.StatsAddMin(b, smallest)
	return metadata.StatsEnd(b)
}

func tableVector(b *flatbuffers.Builder, table flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	b.StartVector(flatbuffers.SizeUOffsetT, 1, flatbuffers.SizeUOffsetT)
	b.PrependUOffsetT(table)
	return b.EndVector(1)
}

func floatVector(b *flatbuffers.Builder, value float32) flatbuffers.UOffsetT {
	b.StartVector(flatbuffers.SizeFloat32, 1, flatbuffers.SizeFloat32)
	b.PrependFloat32(value)
	return b.EndVector(1)
}

// withLabels appends the class names to a model as a zip archive, whose offsets count from the start of the whole file.
// Readers of the model ignore it; readers of metadata take the names from it in place, so they are not compressed.
func withLabels(model []byte, names []string) ([]byte, error) {
	text := labels.Text(names)
	file := bytes.NewBuffer(model)
	archive := zip.NewWriter(file)
	archive.SetOffset(int64(len(model)))
	header := &zip.FileHeader{Name: labels.File, Method: zip.Store, CRC32: crc32.ChecksumIEEE(text),
		CompressedSize64: uint64(len(text)), UncompressedSize64: uint64(len(text)),
		Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)} // the earliest date that the format can tell
	w, err := archive.CreateRaw(header) // with its size up front, which some readers want
	if err != nil {
		return nil, fmt.Errorf("append the class names: %w", err)
	}
	if _, err := w.Write(text); err != nil {
		return nil, fmt.Errorf("append the class names: %w", err)
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("append the class names: %w", err)
	}
	return file.Bytes(), nil
}

// labelsOf reads the class names behind a model.
func labelsOf(file []byte) ([]string, error) {
	archive, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, fmt.Errorf("class names: %w", err)
	}
	for _, f := range archive.File {
		if f.Name != labels.File {
			continue
		}
		if f.Method != zip.Store || f.UncompressedSize64 > maxLabels || f.UncompressedSize64 > uint64(len(file)) {
			return nil, fmt.Errorf("class names: they are packed in a way that we do not write")
		}
		r, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("class names: %w", err)
		}
		defer r.Close()
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, fmt.Errorf("class names: %w", err)
		}
		return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), nil
	}
	return nil, fmt.Errorf("class names: there is no %s behind the model", labels.File)
}
