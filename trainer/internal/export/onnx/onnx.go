// Package onnx writes a trained classifier as an ONNX model and reads such a file back.
//
//	input   image          float32 [N,size,size,3], RGB of 0…255; N is free
//	output  probabilities  float32 [N,classes]
//
// Rescaling and the transpose to ONNX's channel order are inside, batch norms are folded into the convolutions. The
// class names are the metadata property "labels", a JSON list in output order, the usage is "cultivar_usage". Read takes what Write makes and nothing
// else; use onnxruntime for other models.
//
// Sources of the format: onnx/onnx.proto and docs/Operators.md of ONNX 1.19.1, operator set 17.
package onnx

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/cultivar-ml/cultivar/shared/version"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/onnxpb"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/plain"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Names that callers of the model use.
const (
	Input           = "image"
	Output          = "probabilities"
	LabelsKey       = "labels"
	VersionKey      = "cultivar.version"
	PreprocessedKey = "preprocessing"
)

// Versions of the format: what ONNX 1.12 brought out together, so that runtimes since mid-2022 take the file.
const (
	irVersion = 8
	opset     = 17
)

const (
	producer  = "cultivar"
	batchName = "N"
	// imageName is the tensor with the image in ONNX's channel order. No layer's name has a slash.
	imageName = "image/nchw"
	relu6Min  = "relu6/min"
	relu6Max  = "relu6/max"
)

// Types of tensors and attributes.
const (
	typeFloat = 1 // of both
	typeInt   = 2
	typeInts  = 7
)

// Write makes the .onnx file at path, replacing one that exists. Equal models give equal bytes in one version of Cultivar.
// The file is complete on return but neither synced nor published under its final name: that is the caller's. The error
// names a weight or layer that does not fit.
func Write(path string, m network.Model) error {
	model, err := build(m)
	if err != nil {
		return fmt.Errorf("write ONNX model: %w", err)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(model)
	if err != nil {
		return fmt.Errorf("write ONNX model: encode it: %w", err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("write ONNX model: %w", err)
	}
	return nil
}

func build(m network.Model) (*onnxpb.ModelProto, error) {
	net, err := plain.Of(m)
	if err != nil {
		return nil, err
	}
	w := writer{net: net, graph: &onnxpb.GraphProto{Name: proto.String(net.Name)}}
	size := int64(net.Size)
	w.graph.Input = []*onnxpb.ValueInfoProto{valueInfo(Input, size, size, 3)}
	w.graph.Output = []*onnxpb.ValueInfoProto{valueInfo(Output, int64(len(net.Labels)))}
	if err := w.layers(); err != nil {
		return nil, err
	}
	labels, err := labelsJSON(net.Labels)
	if err != nil {
		return nil, err
	}
	usage, err := json.Marshal(net.Usage)
	if err != nil {
		return nil, fmt.Errorf("encode the usage: %w", err)
	}
	return &onnxpb.ModelProto{
		IrVersion:       proto.Int64(irVersion),
		ProducerName:    proto.String(producer),
		ProducerVersion: proto.String(version.Version),
		Graph:           w.graph,
		OpsetImport:     []*onnxpb.OperatorSetIdProto{{Domain: proto.String(""), Version: proto.Int64(opset)}},
		MetadataProps: []*onnxpb.StringStringEntryProto{
			{Key: proto.String(LabelsKey), Value: proto.String(labels)},
			{Key: proto.String(VersionKey), Value: proto.String(version.Version)},
			{Key: proto.String(PreprocessedKey), Value: proto.String(preprocessing(net))},
			{Key: proto.String(network.UsageName), Value: proto.String(string(usage))},
		},
	}, nil
}

// preprocessing tells in words what the input is.
func preprocessing(net plain.Net) string {
	square := "stretched to the square"
	if net.Usage.Crop {
		square = "their middle square cut out and resized"
	}
	return fmt.Sprintf("%s: float32 [%s,%d,%d,3], RGB of 0 to 255, photos upright and %s; the rescaling is inside the model",
		Input, batchName, net.Size, net.Size, square)
}

func labelsJSON(labels []string) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(labels); err != nil {
		return "", fmt.Errorf("encode the class names: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// valueInfo describes a batch of float32 tensors.
func valueInfo(name string, dims ...int64) *onnxpb.ValueInfoProto {
	shape := &onnxpb.TensorShapeProto{Dim: []*onnxpb.TensorShapeProto_Dimension{{DimParam: proto.String(batchName)}}}
	for _, d := range dims {
		shape.Dim = append(shape.Dim, &onnxpb.TensorShapeProto_Dimension{DimValue: proto.Int64(d)})
	}
	tensor := &onnxpb.TypeProto_Tensor{ElemType: proto.Int32(typeFloat), Shape: shape}
	return &onnxpb.ValueInfoProto{Name: proto.String(name), Type: &onnxpb.TypeProto{TensorType: tensor}}
}

// initializer is a constant of the graph.
func initializer(name string, t network.Tensor) *onnxpb.TensorProto {
	p := &onnxpb.TensorProto{DataType: proto.Int32(typeFloat), Name: proto.String(name)}
	for _, d := range t.Shape {
		p.Dims = append(p.Dims, int64(d))
	}
	p.RawData = make([]byte, 0, 4*len(t.Data))
	for _, v := range t.Data {
		p.RawData = binary.LittleEndian.AppendUint32(p.RawData, math.Float32bits(v))
	}
	return p
}

func floatAttribute(name string, v float32) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: proto.String(name), Type: proto.Int32(typeFloat), F: proto.Float32(v)}
}

func intAttribute(name string, v int) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: proto.String(name), Type: proto.Int32(typeInt), I: proto.Int64(int64(v))}
}

func intsAttribute(name string, values ...int) *onnxpb.AttributeProto {
	a := &onnxpb.AttributeProto{Name: proto.String(name), Type: proto.Int32(typeInts)}
	for _, v := range values {
		a.Ints = append(a.Ints, int64(v))
	}
	return a
}
