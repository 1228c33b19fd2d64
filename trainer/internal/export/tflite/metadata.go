package tflite

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"time"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/labels"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/metadata"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// parserVersion is the oldest metadata parser that understands everything that we write.
const parserVersion = "1.0.0"

// maxText bounds the files of class names and usage that are read, bytes.
const maxText = 1 << 24

// about describes a model in its metadata.
type about struct {
	name, description string
	side              int
	threshold         float64 // below which an answer does not count, 0…1
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
	usage := tableVector(b, packedFile(b, network.UsageFile, "How photos become squares, and the threshold, as JSON.", metadata.AssociatedFileTypeUnknown))
	name, description, version := b.CreateString(a.name), b.CreateString(a.description), b.CreateString(parserVersion)
	metadata.ModelMetadataStart(b)
	metadata.ModelMetadataAddName(b, name)
	metadata.ModelMetadataAddDescription(b, description)
	metadata.ModelMetadataAddSubgraphMetadata(b, graphs)
	metadata.ModelMetadataAddAssociatedFiles(b, usage)
	metadata.ModelMetadataAddMinParserVersion(b, version)
	b.FinishWithFileIdentifier(metadata.ModelMetadataEnd(b), []byte("M001"))
	return b.FinishedBytes()
}

func (a about) input(b *flatbuffers.Builder) flatbuffers.UOffsetT {
	zero, one := floatVector(b, 0), floatVector(b, 1)
	metadata.NormalizationOptionsStart(b)
	metadata.NormalizationOptionsAddMean(b, zero)
	metadata.NormalizationOptionsAddStd(b, one)
	units := processUnit(b, metadata.ProcessUnitOptionsNormalizationOptions, metadata.NormalizationOptionsEnd(b))
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
	files := tableVector(b, packedFile(b, labels.File, "The class names in output order, one a line.", metadata.AssociatedFileTypeTensorAxisLabels))
	metadata.ScoreThresholdingOptionsStart(b)
	metadata.ScoreThresholdingOptionsAddGlobalScoreThreshold(b, float32(a.threshold))
	units := processUnit(b, metadata.ProcessUnitOptionsScoreThresholdingOptions, metadata.ScoreThresholdingOptionsEnd(b))
	metadata.FeaturePropertiesStart(b)
	content := contentOf(b, metadata.ContentPropertiesFeatureProperties, metadata.FeaturePropertiesEnd(b))
	stats := statsOf(b, 1)
	name, description := b.CreateString(answerName), b.CreateString("The probability of each class.")
	metadata.TensorMetadataStart(b)
	metadata.TensorMetadataAddName(b, name)
	metadata.TensorMetadataAddDescription(b, description)
	metadata.TensorMetadataAddContent(b, content)
	metadata.TensorMetadataAddProcessUnits(b, units)
	metadata.TensorMetadataAddStats(b, stats)
	metadata.TensorMetadataAddAssociatedFiles(b, files)
	return metadata.TensorMetadataEnd(b)
}

// packedFile is a file of the archive behind the model.
func packedFile(b *flatbuffers.Builder, name, description string, kind metadata.AssociatedFileType) flatbuffers.UOffsetT {
	file, text := b.CreateString(name), b.CreateString(description)
	metadata.AssociatedFileStart(b)
	metadata.AssociatedFileAddName(b, file)
	metadata.AssociatedFileAddDescription(b, text)
	metadata.AssociatedFileAddType(b, kind)
	return metadata.AssociatedFileEnd(b)
}

// processUnit is a list of the one thing that is done to a tensor outside the model.
func processUnit(b *flatbuffers.Builder, kind metadata.ProcessUnitOptions, options flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	metadata.ProcessUnitStart(b)
	metadata.ProcessUnitAddOptionsType(b, kind)
	metadata.ProcessUnitAddOptions(b, options)
	return tableVector(b, metadata.ProcessUnitEnd(b))
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

// withFiles appends class names and usage to a model as a zip archive, whose offsets count from the start of the whole
// file. Readers of the model ignore it; readers of metadata take the files from it in place, so they are not compressed.
func withFiles(model []byte, names []string, usage network.Usage) ([]byte, error) {
	text, err := json.Marshal(usage)
	if err != nil {
		return nil, fmt.Errorf("append the usage: %w", err)
	}
	file := bytes.NewBuffer(model)
	archive := zip.NewWriter(file)
	archive.SetOffset(int64(len(model)))
	if err := store(archive, labels.File, labels.Text(names)); err != nil {
		return nil, err
	}
	if err := store(archive, network.UsageFile, text); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("append files to the model: %w", err)
	}
	return file.Bytes(), nil
}

// store adds a file with its size up front, which some readers want.
func store(archive *zip.Writer, name string, content []byte) error {
	header := &zip.FileHeader{Name: name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(content),
		CompressedSize64: uint64(len(content)), UncompressedSize64: uint64(len(content)),
		Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)} // the earliest date that the format can tell
	w, err := archive.CreateRaw(header)
	if err != nil {
		return fmt.Errorf("append %s: %w", name, err)
	}
	if _, err := w.Write(content); err != nil {
		return fmt.Errorf("append %s: %w", name, err)
	}
	return nil
}

// filesOf reads the class names and the usage behind a model; the latter may be absent.
func filesOf(file []byte) (names []string, usage network.Usage, err error) {
	archive, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, usage, fmt.Errorf("class names: %w", err)
	}
	text, err := stored(archive, labels.File, len(file))
	if err == nil && text == nil {
		err = fmt.Errorf("there is no %s behind the model", labels.File)
	}
	if err != nil {
		return nil, usage, fmt.Errorf("class names: %w", err)
	}
	names = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	text, err = stored(archive, network.UsageFile, len(file))
	if err != nil || text == nil {
		return names, usage, err
	}
	return names, usage, json.Unmarshal(text, &usage)
}

// stored reads a file that store added to a model of that many bytes; nil if there is none.
func stored(archive *zip.Reader, name string, size int) ([]byte, error) {
	i := slices.IndexFunc(archive.File, func(f *zip.File) bool { return f.Name == name })
	if i < 0 {
		return nil, nil
	}
	f := archive.File[i]
	if f.Method != zip.Store || f.UncompressedSize64 > maxText || f.UncompressedSize64 > uint64(size) {
		return nil, fmt.Errorf("%s is packed in a way that we do not write", name)
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
