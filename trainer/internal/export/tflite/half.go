package tflite

import (
	"encoding/binary"
	"math"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
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
		half := kernel
		half.name, half.kind, half.data = kernel.name+"_half", schema.TensorTypeFloat16, make([]byte, 0, len(kernel.data)/2)
		for at := 0; at < len(kernel.data); at += 4 {
			v := math.Float32frombits(binary.LittleEndian.Uint32(kernel.data[at:]))
			half.data = binary.LittleEndian.AppendUint16(half.data, toHalf(v))
		}
		h.tensors[o.inputs[inKernel]].data = nil
		widen = append(widen, operation{code: schema.BuiltinOperatorDequantize, inputs: []int{h.add(half)}, output: o.inputs[inKernel]})
	}
	h.ops = append(widen, h.ops...)
	return h
}

// toHalf rounds to the nearest float16, to the even one of two. What is too large becomes the largest one rather than
// infinite, as one infinite weight would spoil every answer.
func toHalf(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	size := math.Abs(float64(f))
	switch {
	case size >= 65504:
		return sign | 0x7bff
	case size < 1.0/(1<<14): // subnormal: multiples of 2⁻²⁴
		return sign | uint16(math.RoundToEven(size*(1<<24)))
	}
	// Rounding may carry into the exponent, which is then right too.
	mantissa := bits & 0x7fffff
	rounded := (bits&0x7fffffff - 112<<23 + 0xfff + mantissa>>13&1) >> 13
	return sign | uint16(min(rounded, 0x7bff))
}

func fromHalf(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, mantissa := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0:
		small := float32(mantissa) / (1 << 24)
		return math.Float32frombits(math.Float32bits(small) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | mantissa<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | mantissa<<13)
}
