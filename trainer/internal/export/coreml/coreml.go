// Package coreml writes a trained classifier as a Core ML model (.mlmodel, a neural network classifier) and reads such a
// file back.
//
//	input   image          RGB image of size×size pixels; Core ML hands in 0…255, the rescaling is inside
//	output  probabilities  dictionary from class name to probability
//	        classLabel     the most probable class name
//
// Core ML runs on Apple's systems only. On Linux the file is parsed by coremltools, and its numbers are proved by
// computing the network from the file with other code; it was NEVER RUN BY CORE ML ITSELF. There, on the GPU and the Neural
// Engine, it computes in half precision, so probabilities differ in the third digit.
//
// Only layers of the first version of the format are used (ReLU6 in the four steps that coremltools' own converter takes
// for it): they run on the oldest systems, and with later ones the meaning of shapes changes. Batch norms are folded into
// the convolutions. Read takes what Write makes and nothing else.
//
// Sources of the format: mlmodel/format/*.proto and mlmodel/src/Validation of coremltools 9.0.
package coreml

import (
	"encoding/json"
	"fmt"
	"os"

	"google.golang.org/protobuf/proto"

	"github.com/cultivar-ml/cultivar/shared/version"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/coreml/coremlpb"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/plain"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// Names that callers of the model use.
const (
	Input      = "image"
	Output     = "probabilities"
	ClassLabel = "classLabel"
	// Among the user-defined metadata.
	VersionKey = "cultivar.version"
	NetworkKey = "cultivar.network"
	UsageKey   = "cultivar.usage" // JSON
)

// Versions of the format: iOS 11 and macOS 10.13, or iOS 11.2 and macOS 10.13.2 for half floats.
const (
	specVersion     = 1
	specVersionHalf = 2
)

// Options of a file.
type Options struct {
	// Half stores weights as 16-bit floats, which halves the file and moves probabilities a little.
	Half bool
}

// Write makes the .mlmodel file at path, replacing one that exists. Equal models give equal bytes in one version of
// Cultivar. The file is complete on return but neither synced nor published under its final name: that is the caller's.
// The error names a weight, layer or class that does not fit.
func Write(path string, m network.Model, o Options) error {
	model, err := build(m, o)
	if err != nil {
		return fmt.Errorf("write Core ML model: %w", err)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(model)
	if err != nil {
		return fmt.Errorf("write Core ML model: encode it: %w", err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("write Core ML model: %w", err)
	}
	return nil
}

func build(m network.Model, o Options) (*coremlpb.Model, error) {
	net, err := plain.Of(m)
	if err != nil {
		return nil, err
	}
	// The probabilities are a dictionary.
	seen := map[string]bool{}
	for _, label := range net.Labels {
		if seen[label] {
			return nil, fmt.Errorf("two classes are named %q", label)
		}
		seen[label] = true
	}
	rescaling, rest, err := preprocessing(net)
	if err != nil {
		return nil, err
	}
	w := writer{net: net, half: o.Half, image: rescaling.Name}
	for _, l := range rest {
		if err := w.layer(l); err != nil {
			return nil, err
		}
	}
	scaler := &coremlpb.NeuralNetworkImageScaler{ChannelScale: rescaling.Scale,
		BlueBias: rescaling.Offset, GreenBias: rescaling.Offset, RedBias: rescaling.Offset}
	classifier := &coremlpb.NeuralNetworkClassifier{
		Layers: w.layers,
		Preprocessing: []*coremlpb.NeuralNetworkPreprocessing{{FeatureName: Input,
			Preprocessor: &coremlpb.NeuralNetworkPreprocessing_Scaler{Scaler: scaler}}},
		ClassLabels:               &coremlpb.NeuralNetworkClassifier_StringClassLabels{StringClassLabels: &coremlpb.StringVector{Vector: net.Labels}},
		LabelProbabilityLayerName: Output,
	}
	model := &coremlpb.Model{SpecificationVersion: specVersion, Description: description(net.Size),
		Type: &coremlpb.Model_NeuralNetworkClassifier{NeuralNetworkClassifier: classifier}}
	if o.Half {
		model.SpecificationVersion = specVersionHalf
	}
	usage, err := json.Marshal(net.Usage)
	if err != nil {
		return nil, fmt.Errorf("encode the usage: %w", err)
	}
	model.Description.Metadata = &coremlpb.Metadata{
		ShortDescription: fmt.Sprintf("Tells %d classes of photos apart; trained with Cultivar on %s.", len(net.Labels), net.Name),
		VersionString:    version.Version,
		UserDefined:      map[string]string{VersionKey: version.Version, NetworkKey: net.Name, UsageKey: string(usage)},
	}
	return model, nil
}

// preprocessing splits off the rescaling, which Core ML does before the first layer.
func preprocessing(net plain.Net) (rescaling plain.Layer, rest []plain.Layer, err error) {
	input := net.Layers[0].Name
	rescaling, rest = net.Layers[1], net.Layers[2:]
	whole := rescaling.Kind == network.Rescaling
	for _, l := range rest {
		for _, in := range l.Inputs {
			whole = whole && in != input
		}
	}
	if !whole {
		return plain.Layer{}, nil, fmt.Errorf("%s does not begin with a rescaling of the whole image", net.Name)
	}
	return rescaling, rest, nil
}

// description is what a file for images of that size says of itself, without the metadata.
func description(size int) *coremlpb.ModelDescription {
	text := &coremlpb.FeatureType{Type: &coremlpb.FeatureType_StringType{StringType: &coremlpb.StringFeatureType{}}}
	return &coremlpb.ModelDescription{
		Input: []*coremlpb.FeatureDescription{{
			Name:             Input,
			ShortDescription: fmt.Sprintf("An upright photo, resized to %d×%d pixels as in training", size, size),
			Type: &coremlpb.FeatureType{Type: &coremlpb.FeatureType_ImageType{ImageType: &coremlpb.ImageFeatureType{
				Width: int64(size), Height: int64(size), ColorSpace: coremlpb.ImageFeatureType_RGB}}},
		}},
		Output: []*coremlpb.FeatureDescription{{
			Name:             Output,
			ShortDescription: "The probability of each class",
			Type: &coremlpb.FeatureType{Type: &coremlpb.FeatureType_DictionaryType{DictionaryType: &coremlpb.DictionaryFeatureType{
				KeyType: &coremlpb.DictionaryFeatureType_StringKeyType{StringKeyType: &coremlpb.StringFeatureType{}}}}},
		}, {Name: ClassLabel, ShortDescription: "The most probable class", Type: text}},
		PredictedFeatureName:       ClassLabel,
		PredictedProbabilitiesName: Output,
	}
}
