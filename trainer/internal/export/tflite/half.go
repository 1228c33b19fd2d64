package tflite

import (
	"encoding/binary"
	"math"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
	"github.com/cultivar-ml/cultivar/trainer/internal/half"
)

// halve returns the program with its large kernels stored as float16, each followed by a Dequantize operation, as
// TensorFlow's converter does it: runtimes that compute in float16 drop the operations, others widen the weights once.
//
// Unlike there, biases and depthwise kernels stay float32. A folded batch norm often leaves large ones that all but
// cancel each other; they were the source of nearly all of float16's error and are 3 to 6 % of such a file.
func halve(p *program) *program {
	h := p.clone()
	var widen []operation
	for _, o := range p.ops {
		if o.code != schema.BuiltinOperatorConv2D && o.code != schema.BuiltinOperatorFullyConnected {
			continue
		}
		kernel := p.tensors[o.inputs[inKernel]]
		narrow := kernel
		narrow.name, narrow.kind, narrow.data = kernel.name+"_half", schema.TensorTypeFloat16, make([]byte, 0, len(kernel.data)/2)
		for at := 0; at < len(kernel.data); at += 4 {
			v := math.Float32frombits(binary.LittleEndian.Uint32(kernel.data[at:]))
			// One infinite weight would spoil every answer.
			v = min(max(v, -half.Largest), half.Largest)
			narrow.data = binary.LittleEndian.AppendUint16(narrow.data, half.Of(v))
		}
		h.tensors[o.inputs[inKernel]].data = nil
		widen = append(widen, operation{code: schema.BuiltinOperatorDequantize, inputs: []int{h.add(narrow)}, output: o.inputs[inKernel]})
	}
	h.ops = append(widen, h.ops...)
	return h
}
