package savedmodel

import (
	"fmt"
	"strings"

	graft "github.com/wamuir/graft/tensorflow"
	functionpb "github.com/wamuir/graft/tensorflow/core/framework/function_go_proto"
	opdefpb "github.com/wamuir/graft/tensorflow/core/framework/op_def_go_proto"
	typespb "github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	"github.com/wamuir/graft/tensorflow/op"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
	"github.com/cultivar-ml/cultivar/trainer/internal/tf"
)

// decodeOne is the function from one encoded image to pixels [size,size,3] of 0…255.
func decodeOne(size int, usage network.Usage) (*functionpb.FunctionDef, error) {
	s := op.NewScope()
	contents := op.Placeholder(s, graft.String, op.PlaceholderShape(graft.ScalarShape()))
	// As many channels as the file has: asking for RGB would drop transparency and show what it hides.
	image := op.DecodeImage(s, contents, op.DecodeImageChannels(0), op.DecodeImageExpandAnimations(false))
	b := &builder{scope: s}
	pixels := resize(b, onWhite(b, image), op.Shape(s.SubScope("whole"), image), size, usage)
	def, err := finalize(s)
	if err != nil {
		return nil, fmt.Errorf("function %s: %w", decodeFunction, err)
	}
	f := &functionpb.FunctionDef{
		Signature: &opdefpb.OpDef{
			Name:      decodeFunction,
			InputArg:  []*opdefpb.OpDef_ArgDef{{Name: "contents", Type: typespb.DataType_DT_STRING}},
			OutputArg: []*opdefpb.OpDef_ArgDef{{Name: "pixels", Type: typespb.DataType_DT_FLOAT}},
		},
	}
	reference := map[string]string{contents.Op.Name(): "contents"}
	for _, node := range def.GetNode() {
		if node.GetName() == contents.Op.Name() {
			continue
		}
		name, known := outputNames[node.GetOp()]
		if !known {
			return nil, fmt.Errorf("function %s: no output name for operation %s", decodeFunction, node.GetOp())
		}
		// A function's nodes may not hold slashes in the references of some readers.
		plain := strings.ReplaceAll(node.GetName(), "/", "_")
		reference[node.GetName()] = plain + ":" + name + ":0"
		node.Name = plain
		f.NodeDef = append(f.NodeDef, node)
	}
	for _, node := range f.NodeDef {
		for i, in := range node.Input {
			node.Input[i] = reference[in]
		}
	}
	f.Ret = map[string]string{"pixels": reference[pixels.Op.Name()]}
	return f, nil
}

// outputNames gives the output argument of each operation used here: within a function an input is named
// node:argument:index (tensorflow/core/framework/function.proto), where a graph has node:index. All have one output.
var outputNames = map[string]string{
	"AddV2": "z", "Cast": "y", "Const": "output", "DecodeImage": "image", "Equal": "z", "ExpandDims": "output",
	"FloorMod": "z", "GatherV2": "output", "GreaterEqual": "z", "Max": "output", "Mul": "z", "RealDiv": "z",
	"Reshape": "output", "ScaleAndTranslate": "resized_images", "SelectV2": "output", "Shape": "output", "Sub": "z",
}

// builder gives each operation a scope of its own, as two of one kind may not share a name.
type builder struct {
	scope *op.Scope
	count int
}

func (b *builder) next() *op.Scope {
	b.count++
	return b.scope.SubScope(fmt.Sprintf("n%d", b.count))
}

func (b *builder) constant(value any) tf.Output { return op.Const(b.next(), value) }

func (b *builder) gather(from tf.Output, indices tf.Output, axis int32) tf.Output {
	return op.GatherV2(b.next(), from, indices, b.constant(axis))
}

// add makes an operation that the binding has no function for.
func (b *builder) add(kind string, attrs map[string]any, inputs ...graft.Input) tf.Output {
	operation := b.next().AddOperation(graft.OpSpec{Type: kind, Input: inputs, Attrs: attrs})
	if operation == nil {
		return tf.Output{}
	}
	return operation.Output(0)
}

// choose takes from yes or no by condition, which may have fewer dimensions.
func (b *builder) choose(condition, yes, no tf.Output) tf.Output {
	return b.add("SelectV2", nil, condition, yes, no)
}

// onWhite turns [h,w,channels] into RGB floats: one or two channels are grey, an even number ends with transparency.
func onWhite(b *builder, image tf.Output) tf.Output {
	channels := b.gather(op.Shape(b.next(), image), b.constant([]int32{2}), 0)
	three := op.GreaterEqual(b.next(), channels, b.constant(int32(3)))
	order := b.choose(three, b.constant([]int32{0, 1, 2}), b.constant([]int32{0, 0, 0}))
	values := op.Cast(b.next(), image, graft.Float)
	colour := b.gather(values, order, 2)
	transparent := op.Equal(b.next(), op.FloorMod(b.next(), channels, b.constant(int32(2))), b.constant(int32(0)))
	last := b.gather(values, op.Sub(b.next(), channels, b.constant(int32(1))), 2)
	opacity := b.choose(transparent, op.RealDiv(b.next(), last, b.constant(float32(255))), b.constant(float32(1)))
	rest := op.Sub(b.next(), b.constant(float32(1)), opacity)
	return op.AddV2(b.next(), op.Mul(b.next(), colour, opacity), op.Mul(b.next(), rest, b.constant(float32(255))))
}

// resize is the antialiased bilinear resize of tf.image.resize(antialias=True), stretching or cutting the middle out.
func resize(b *builder, image, shape tf.Output, size int, usage network.Usage) tf.Output {
	side := b.constant(float32(size))
	sides := op.Cast(b.next(), b.gather(shape, b.constant([]int32{0, 1}), 0), graft.Float)
	scale := op.RealDiv(b.next(), side, sides)
	if usage.Crop {
		larger := op.Max(b.next(), scale, b.constant([]int32{0}), op.MaxKeepDims(true))
		scale = op.Mul(b.next(), larger, b.constant([]float32{1, 1}))
	}
	// Zero when stretched; when cropped, half of what overhangs.
	shift := op.Mul(b.next(), op.Sub(b.next(), side, op.Mul(b.next(), sides, scale)), b.constant(float32(0.5)))
	if !usage.Crop {
		shift = b.constant([]float32{0, 0})
	}
	batch := op.ExpandDims(b.next(), image, b.constant(int32(0)))
	square := b.add("ScaleAndTranslate", map[string]any{"kernel_type": "triangle", "antialias": true},
		batch, b.constant([]int32{int32(size), int32(size)}), scale, shift)
	return op.Reshape(b.next(), square, b.constant([]int32{int32(size), int32(size), 3}))
}
