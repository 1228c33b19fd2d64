// Package savedmodel writes a trained classifier as a TensorFlow SavedModel and runs one for checking.
//
// The model has the tag "serve" and two signatures over one graph with the weights as constants and batch norms folded:
//
//	serving_default  image [n,size,size,3] float32, RGB of 0…255          -> probabilities [n,classes]
//	serve_bytes      image_bytes [n] string, encoded JPEG or PNG images   -> probabilities [n,classes]
//
// serve_bytes decodes, composes transparency on white and resizes as training did, but it does NOT apply the EXIF
// orientation of photos, for which TensorFlow has no operation: turn such photos upright first. The class names are
// the asset labels.txt, the usage is usage.json beside the assets, where TensorFlow leaves room for others' files.
//
// Sources of the format: tensorflow/core/protobuf/{saved_model,meta_graph}.proto and tensorflow/cc/saved_model/loader.cc.
package savedmodel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	graft "github.com/wamuir/graft/tensorflow"
	attrpb "github.com/wamuir/graft/tensorflow/core/framework/attr_value_go_proto"
	functionpb "github.com/wamuir/graft/tensorflow/core/framework/function_go_proto"
	graphpb "github.com/wamuir/graft/tensorflow/core/framework/graph_go_proto"
	shapepb "github.com/wamuir/graft/tensorflow/core/framework/tensor_shape_go_proto"
	typespb "github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	corepb "github.com/wamuir/graft/tensorflow/core/protobuf/for_core_protos_go_proto"
	"github.com/wamuir/graft/tensorflow/op"
	"google.golang.org/protobuf/proto"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/labels"
	"github.com/cultivar-ml/cultivar/trainer/internal/graph"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// Names that callers of the model use.
const (
	Tag              = "serve"
	DefaultSignature = "serving_default" // the name that servers take when none is given
	BytesSignature   = "serve_bytes"
	ImageInput       = "image"
	BytesInput       = "image_bytes" // TensorFlow Serving takes base64 for names that end in _bytes
	Output           = "probabilities"
)

// decodedNode and labelsNode are names within the graph; decodeFunction turns one encoded image into pixels.
const (
	decodedNode    = "decoded"
	labelsNode     = "labels_file"
	decodeFunction = "decode_one_image"
)

// schemaVersion is SavedModel's own (kSavedModelSchemaVersion, tensorflow/cc/saved_model/constants.h).
const schemaVersion = 1

// extraDir is SavedModel's folder for files that are not its own (kSavedModelAssetsExtraDirectory of the same file).
const extraDir = "assets.extra"

// Write makes the SavedModel in dir, which must exist and should be empty. Files are synced; publishing the folder
// under its final name is the caller's.
func Write(dir string, m network.Model) error {
	saved, err := build(m)
	if err != nil {
		return fmt.Errorf("write SavedModel: %w", err)
	}
	// Deterministic, so that equal models give equal files and hashes.
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(saved)
	if err != nil {
		return fmt.Errorf("write SavedModel: encode it: %w", err)
	}
	usage, err := json.Marshal(m.Usage)
	if err != nil {
		return fmt.Errorf("write SavedModel: encode its usage: %w", err)
	}
	for name, content := range map[string][]byte{filepath.Join("assets", labels.File): labels.Text(m.Labels),
		filepath.Join(extraDir, network.UsageFile): usage, "saved_model.pb": data} {
		if err := writeSynced(filepath.Join(dir, name), content); err != nil {
			return fmt.Errorf("write SavedModel: %w", err)
		}
	}
	return nil
}

func writeSynced(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

func build(m network.Model) (*corepb.SavedModel, error) {
	n := m.Network
	shapes, err := n.Shapes()
	if err != nil {
		return nil, err
	}
	if len(n.Layers) < 2 || n.Layers[0].Kind != network.Input || len(shapes[n.Layers[0].Name]) != 3 {
		return nil, fmt.Errorf("%s does not begin with an image", n.Name)
	}
	last := n.Layers[len(n.Layers)-1].Name
	if shape := shapes[last]; len(shape) != 1 || shape[0] != len(m.Labels) {
		return nil, fmt.Errorf("%s ends with shape %v, but there are %d class names", n.Name, shape, len(m.Labels))
	}
	def, err := classifier(m, last)
	if err != nil {
		return nil, err
	}
	decode, err := decodeOne(n.Size, m.Usage)
	if err != nil {
		return nil, err
	}
	def.Library = &functionpb.FunctionDefLibrary{Function: []*functionpb.FunctionDef{decode}}
	if err := mapDecode(def, n.Size); err != nil {
		return nil, err
	}
	size := int64(n.Size)
	output := map[string]*corepb.TensorInfo{Output: info(Output, typespb.DataType_DT_FLOAT, -1, int64(len(m.Labels)))}
	const method = "tensorflow/serving/predict"
	return &corepb.SavedModel{
		SavedModelSchemaVersion: schemaVersion,
		MetaGraphs: []*corepb.MetaGraphDef{{
			MetaInfoDef: &corepb.MetaGraphDef_MetaInfoDef{Tags: []string{Tag}, TensorflowVersion: graft.Version()},
			GraphDef:    def,
			SignatureDef: map[string]*corepb.SignatureDef{
				DefaultSignature: {MethodName: method, Outputs: output, Inputs: map[string]*corepb.TensorInfo{
					ImageInput: info(ImageInput, typespb.DataType_DT_FLOAT, -1, size, size, 3)}},
				BytesSignature: {MethodName: method, Outputs: output, Inputs: map[string]*corepb.TensorInfo{
					BytesInput: info(BytesInput, typespb.DataType_DT_STRING, -1)}},
			},
			AssetFileDef: []*corepb.AssetFileDef{{Filename: labels.File,
				TensorInfo: &corepb.TensorInfo{Encoding: &corepb.TensorInfo_Name{Name: labelsNode + ":0"}}}},
		}},
	}, nil
}

func info(node string, kind typespb.DataType, dims ...int64) *corepb.TensorInfo {
	return &corepb.TensorInfo{Encoding: &corepb.TensorInfo_Name{Name: node + ":0"}, Dtype: kind, TensorShape: shape(dims...)}
}

func shape(dims ...int64) *shapepb.TensorShapeProto {
	s := &shapepb.TensorShapeProto{}
	for _, d := range dims {
		s.Dim = append(s.Dim, &shapepb.TensorShapeProto_Dim{Size: d})
	}
	return s
}

// classifier is the graph of both signatures, with a placeholder where images come from encoded bytes. The node that
// takes pixels falls back to those, so feeding either input works and the weights stand in the file once.
func classifier(m network.Model, last string) (*graphpb.GraphDef, error) {
	s := op.NewScope()
	size := int64(m.Network.Size)
	images := graft.MakeShape(-1, size, size, 3)
	add := func(spec graft.OpSpec) tf.Output {
		if operation := s.AddOperation(spec); operation != nil {
			return operation.Output(0)
		}
		return tf.Output{}
	}
	name, err := graft.NewTensor(labels.File)
	if err != nil {
		return nil, err
	}
	add(graft.OpSpec{Type: "Const", Name: labelsNode, Attrs: map[string]any{"dtype": graft.String, "value": name}})
	add(graft.OpSpec{Type: "Placeholder", Name: BytesInput, Attrs: map[string]any{"dtype": graft.String, "shape": graft.MakeShape(-1)}})
	decoded := add(graft.OpSpec{Type: "Placeholder", Name: decodedNode, Attrs: map[string]any{"dtype": graft.Float, "shape": images}})
	image := add(graft.OpSpec{Type: "PlaceholderWithDefault", Name: ImageInput, Input: []graft.Input{decoded}, Attrs: map[string]any{"shape": images}})
	if err := s.Err(); err != nil {
		return nil, err
	}
	outputs, err := graph.Append(s.SubScope("classifier"), m.Network, m.Weights, image, last)
	if err != nil {
		return nil, err
	}
	add(graft.OpSpec{Type: "Identity", Name: Output, Input: []graft.Input{outputs[last]}})
	return finalize(s)
}

// finalize returns the graph of a scope as a message.
func finalize(s *op.Scope) (*graphpb.GraphDef, error) {
	g, err := s.Finalize()
	if err != nil {
		return nil, fmt.Errorf("build the graph: %w", err)
	}
	var b bytes.Buffer
	if _, err := g.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("serialise the graph: %w", err)
	}
	def := &graphpb.GraphDef{}
	if err := proto.Unmarshal(b.Bytes(), def); err != nil {
		return nil, fmt.Errorf("serialise the graph: %w", err)
	}
	return def, nil
}

// mapDecode puts MapDefun, which calls a function on each element of a batch, in the place of the decoded placeholder.
// It is written as a message because the Go binding can define no functions, and so no node that calls one.
func mapDecode(def *graphpb.GraphDef, size int) error {
	for _, node := range def.GetNode() {
		if node.GetName() != decodedNode {
			continue
		}
		node.Op = "MapDefun"
		node.Input = []string{BytesInput}
		node.Attr = map[string]*attrpb.AttrValue{
			"Targuments":   types(typespb.DataType_DT_STRING),
			"Tcaptured":    types(),
			"output_types": types(typespb.DataType_DT_FLOAT),
			"output_shapes": {Value: &attrpb.AttrValue_List{List: &attrpb.AttrValue_ListValue{
				Shape: []*shapepb.TensorShapeProto{shape(int64(size), int64(size), 3)}}}},
			"f":                        {Value: &attrpb.AttrValue_Func{Func: &attrpb.NameAttrList{Name: decodeFunction}}},
			"max_intra_op_parallelism": {Value: &attrpb.AttrValue_I{I: 1}},
		}
		return nil
	}
	return fmt.Errorf("the graph has no node %q", decodedNode)
}

func types(list ...typespb.DataType) *attrpb.AttrValue {
	return &attrpb.AttrValue{Value: &attrpb.AttrValue_List{List: &attrpb.AttrValue_ListValue{Type: list}}}
}
