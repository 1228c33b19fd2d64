package tflite

import (
	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
)

func (e *encoder) operator(o operation) flatbuffers.UOffsetT {
	inputs, outputs := e.ints(o.inputs), e.ints([]int{o.output})
	code := opcode{o.code, e.p.version(o)}
	index, ok := e.codes[code]
	if !ok {
		index = len(e.order)
		e.codes[code] = index
		e.order = append(e.order, code)
	}
	kind, options := e.options(o)
	schema.OperatorStart(e.Builder)
	schema.OperatorAddOpcodeIndex(e.Builder, uint32(index))
	schema.OperatorAddInputs(e.Builder, inputs)
	schema.OperatorAddOutputs(e.Builder, outputs)
	if kind != schema.BuiltinOptionsNONE {
		schema.OperatorAddBuiltinOptionsType(e.Builder, kind)
		schema.OperatorAddBuiltinOptions(e.Builder, options)
	}
	return schema.OperatorEnd(e.Builder)
}

func (e *encoder) operatorCodes() flatbuffers.UOffsetT {
	offsets := make([]flatbuffers.UOffsetT, len(e.order))
	for i, c := range e.order {
		schema.OperatorCodeStart(e.Builder)
		schema.OperatorCodeAddDeprecatedBuiltinCode(e.Builder, int8(c.code)) // all of ours are below 127
		schema.OperatorCodeAddVersion(e.Builder, c.version)
		schema.OperatorCodeAddBuiltinCode(e.Builder, c.code)
		offsets[i] = schema.OperatorCodeEnd(e.Builder)
	}
	return e.table(offsets...)
}

// version is the first one of the operation that does what it is used for, so that a runtime which is too old says so
// (tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc).
func (p *program) version(o operation) int32 {
	if o.code == schema.BuiltinOperatorDequantize {
		return 3 // from float16
	}
	if p.tensors[o.inputs[0]].kind != schema.TensorTypeInt8 {
		return 1
	}
	switch o.code {
	case schema.BuiltinOperatorConv2D, schema.BuiltinOperatorDepthwiseConv2D:
		return 3
	case schema.BuiltinOperatorFullyConnected:
		return 4
	case schema.BuiltinOperatorQuantize:
		return 1
	case schema.BuiltinOperatorMul:
		x, y, out := p.tensors[o.inputs[0]].quant, p.tensors[o.inputs[inOperand]].quant, p.tensors[o.output].quant
		if x.scale[0]*y.scale[0]/out.scale[0] >= 1 {
			return 3
		}
	}
	return 2
}

// options writes what says more about an operation than its kind does.
func (e *encoder) options(o operation) (schema.BuiltinOptions, flatbuffers.UOffsetT) {
	b := e.Builder
	activation := schema.ActivationNone
	if o.relu6 {
		activation = schema.ActivationRelu6
	}
	padding := schema.PaddingValid
	if o.same {
		padding = schema.PaddingSame
	}
	switch o.code {
	case schema.BuiltinOperatorConv2D:
		schema.Conv2DOptionsStart(b)
		schema.Conv2DOptionsAddPadding(b, padding)
		schema.Conv2DOptionsAddStrideW(b, int32(o.stride))
		schema.Conv2DOptionsAddStrideH(b, int32(o.stride))
		schema.Conv2DOptionsAddFusedActivationFunction(b, activation)
		return schema.BuiltinOptionsConv2DOptions, schema.Conv2DOptionsEnd(b)
	case schema.BuiltinOperatorDepthwiseConv2D:
		schema.DepthwiseConv2DOptionsStart(b)
		schema.DepthwiseConv2DOptionsAddPadding(b, padding)
		schema.DepthwiseConv2DOptionsAddStrideW(b, int32(o.stride))
		schema.DepthwiseConv2DOptionsAddStrideH(b, int32(o.stride))
		schema.DepthwiseConv2DOptionsAddDepthMultiplier(b, 1)
		schema.DepthwiseConv2DOptionsAddFusedActivationFunction(b, activation)
		return schema.BuiltinOptionsDepthwiseConv2DOptions, schema.DepthwiseConv2DOptionsEnd(b)
	case schema.BuiltinOperatorFullyConnected:
		schema.FullyConnectedOptionsStart(b)
		schema.FullyConnectedOptionsAddFusedActivationFunction(b, activation)
		return schema.BuiltinOptionsFullyConnectedOptions, schema.FullyConnectedOptionsEnd(b)
	case schema.BuiltinOperatorSoftmax:
		schema.SoftmaxOptionsStart(b)
		schema.SoftmaxOptionsAddBeta(b, 1)
		return schema.BuiltinOptionsSoftmaxOptions, schema.SoftmaxOptionsEnd(b)
	case schema.BuiltinOperatorConcatenation:
		schema.ConcatenationOptionsStart(b)
		schema.ConcatenationOptionsAddAxis(b, int32(len(e.p.tensors[o.output].shape)-1))
		return schema.BuiltinOptionsConcatenationOptions, schema.ConcatenationOptionsEnd(b)
	case schema.BuiltinOperatorAdd:
		schema.AddOptionsStart(b)
		schema.AddOptionsAddFusedActivationFunction(b, activation)
		return schema.BuiltinOptionsAddOptions, schema.AddOptionsEnd(b)
	case schema.BuiltinOperatorMul:
		schema.MulOptionsStart(b)
		return schema.BuiltinOptionsMulOptions, schema.MulOptionsEnd(b)
	case schema.BuiltinOperatorPad:
		schema.PadOptionsStart(b)
		return schema.BuiltinOptionsPadOptions, schema.PadOptionsEnd(b)
	case schema.BuiltinOperatorMean:
		schema.ReducerOptionsStart(b)
		schema.ReducerOptionsAddKeepDims(b, o.keep)
		return schema.BuiltinOptionsReducerOptions, schema.ReducerOptionsEnd(b)
	}
	return schema.BuiltinOptionsNONE, 0
}
