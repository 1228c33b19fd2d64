package tflite

import (
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
)

// readOptions takes over what says more about an operation, and refuses what we never write.
func (o *operation) readOptions(p *program, stored *schema.Operator) error {
	var t flatbuffers.Table
	present := stored.BuiltinOptions(&t)
	kind := stored.BuiltinOptionsType()
	if want := optionsOf[o.code]; kind != want || present != (want != schema.BuiltinOptionsNONE) {
		return fmt.Errorf("it has options of kind %v", kind)
	}
	var activation schema.Activation
	var err error
	switch o.code {
	case schema.BuiltinOperatorConv2D:
		var c schema.Conv2DOptions
		c.Init(t.Bytes, t.Pos)
		activation = c.FusedActivationFunction()
		err = o.readWindow(c.Padding(), c.StrideW(), c.StrideH(), c.DilationWFactor(), c.DilationHFactor(), 1)
	case schema.BuiltinOperatorDepthwiseConv2D:
		var c schema.DepthwiseConv2DOptions
		c.Init(t.Bytes, t.Pos)
		activation = c.FusedActivationFunction()
		err = o.readWindow(c.Padding(), c.StrideW(), c.StrideH(), c.DilationWFactor(), c.DilationHFactor(), c.DepthMultiplier())
	case schema.BuiltinOperatorFullyConnected:
		var f schema.FullyConnectedOptions
		f.Init(t.Bytes, t.Pos)
		activation = f.FusedActivationFunction()
	case schema.BuiltinOperatorAdd:
		var a schema.AddOptions
		a.Init(t.Bytes, t.Pos)
		activation = a.FusedActivationFunction()
	case schema.BuiltinOperatorMul:
		var m schema.MulOptions
		m.Init(t.Bytes, t.Pos)
		if m.FusedActivationFunction() != schema.ActivationNone {
			return fmt.Errorf("it has an activation")
		}
	case schema.BuiltinOperatorMean:
		var r schema.ReducerOptions
		r.Init(t.Bytes, t.Pos)
		o.keep = r.KeepDims()
	case schema.BuiltinOperatorSoftmax:
		var s schema.SoftmaxOptions
		s.Init(t.Bytes, t.Pos)
		if s.Beta() != 1 {
			return fmt.Errorf("it has a beta of %v", s.Beta())
		}
	case schema.BuiltinOperatorConcatenation:
		var c schema.ConcatenationOptions
		c.Init(t.Bytes, t.Pos)
		if axis := int(c.Axis()); axis != len(p.tensors[o.output].shape)-1 || c.FusedActivationFunction() != schema.ActivationNone {
			return fmt.Errorf("it joins along dimension %d", axis)
		}
	}
	if activation != schema.ActivationNone && activation != schema.ActivationRelu6 {
		return fmt.Errorf("it has activation %v", activation)
	}
	o.relu6 = activation == schema.ActivationRelu6
	return err
}

func (o *operation) readWindow(padding schema.Padding, strideW, strideH, dilationW, dilationH, multiplier int32) error {
	if padding != schema.PaddingSame && padding != schema.PaddingValid || strideW != strideH || dilationW != 1 || dilationH != 1 || multiplier != 1 {
		return fmt.Errorf("it has padding %v, strides %d and %d, dilations %d and %d, depth multiplier %d",
			padding, strideW, strideH, dilationW, dilationH, multiplier)
	}
	o.stride, o.same = int(strideW), padding == schema.PaddingSame
	return nil
}

// optionsOf is the kind of options that each operation has.
var optionsOf = map[schema.BuiltinOperator]schema.BuiltinOptions{
	schema.BuiltinOperatorConv2D:          schema.BuiltinOptionsConv2DOptions,
	schema.BuiltinOperatorDepthwiseConv2D: schema.BuiltinOptionsDepthwiseConv2DOptions,
	schema.BuiltinOperatorFullyConnected:  schema.BuiltinOptionsFullyConnectedOptions,
	schema.BuiltinOperatorSoftmax:         schema.BuiltinOptionsSoftmaxOptions,
	schema.BuiltinOperatorConcatenation:   schema.BuiltinOptionsConcatenationOptions,
	schema.BuiltinOperatorAdd:             schema.BuiltinOptionsAddOptions,
	schema.BuiltinOperatorMul:             schema.BuiltinOptionsMulOptions,
	schema.BuiltinOperatorPad:             schema.BuiltinOptionsPadOptions,
	schema.BuiltinOperatorMean:            schema.BuiltinOptionsReducerOptions,
}
