package tflite

import (
	"encoding/binary"
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/tflite/schema"
)

//go:generate sh -c "cd schema && flatc --go --gen-onefile --go-namespace schema schema.fbs && gofmt -w schema_generated.go"
//go:generate sh -c "cd metadata && flatc --go --gen-onefile --go-namespace metadata metadata.fbs && gofmt -w metadata_generated.go"

// schemaVersion is that of the format (TFLITE_SCHEMA_VERSION, tensorflow/lite/version.h).
const schemaVersion = 3

const (
	identifier   = "TFL3"
	metadataName = "TFLITE_METADATA"
	signature    = "serving_default" // the name that TensorFlow's converter gives to the only one
	alignment    = 16                // of weights within the file, bytes
)

// encode makes a flatbuffer of the program, with the metadata as a buffer of its own.
func encode(p *program, description string, metadata []byte) []byte {
	size := len(metadata) + 1<<16
	for _, t := range p.tensors {
		size += len(t.data) + 512
	}
	e := encoder{Builder: flatbuffers.NewBuilder(size), p: p, shared: map[string]flatbuffers.UOffsetT{}, codes: map[opcode]int{}}
	buffers := e.buffers(metadata)
	graph := e.graph()
	codes := e.operatorCodes() // after the graph, which tells what it uses
	signatures := e.table(e.signature())
	name := e.CreateString(metadataName)
	schema.MetadataStart(e.Builder)
	schema.MetadataAddName(e.Builder, name)
	schema.MetadataAddBuffer(e.Builder, e.metadataBuffer())
	entries := e.table(schema.MetadataEnd(e.Builder))
	graphs := e.table(graph)
	text := e.CreateString(description)
	schema.ModelStart(e.Builder)
	schema.ModelAddVersion(e.Builder, schemaVersion)
	schema.ModelAddOperatorCodes(e.Builder, codes)
	schema.ModelAddSubgraphs(e.Builder, graphs)
	schema.ModelAddDescription(e.Builder, text)
	schema.ModelAddBuffers(e.Builder, buffers)
	schema.ModelAddMetadata(e.Builder, entries)
	schema.ModelAddSignatureDefs(e.Builder, signatures)
	e.FinishWithFileIdentifier(schema.ModelEnd(e.Builder), []byte(identifier))
	return e.FinishedBytes()
}

type encoder struct {
	*flatbuffers.Builder
	p      *program
	shared map[string]flatbuffers.UOffsetT // vectors of numbers that stand in the file already, by kind and bytes
	codes  map[opcode]int                  // index of each that is used
	order  []opcode
}

// opcode is an operation with the version of it that a runtime must know.
type opcode struct {
	code    schema.BuiltinOperator
	version int32
}

// table is a vector of tables; flatbuffers are built from their end.
func (e *encoder) table(offsets ...flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	e.StartVector(flatbuffers.SizeUOffsetT, len(offsets), flatbuffers.SizeUOffsetT)
	for i := len(offsets) - 1; i >= 0; i-- {
		e.PrependUOffsetT(offsets[i])
	}
	return e.EndVector(len(offsets))
}

// vector writes numbers of that width, little-endian, once for all that are alike: the zero points of a network's
// kernels, 8 bytes a channel, would otherwise take a tenth of an int8 file.
func (e *encoder) vector(width int, data []byte) flatbuffers.UOffsetT {
	key := fmt.Sprint(width, ":", string(data))
	if at, ok := e.shared[key]; ok {
		return at
	}
	e.StartVector(width, len(data)/width, width)
	for i := len(data) - 1; i >= 0; i-- {
		e.PlaceByte(data[i])
	}
	e.shared[key] = e.EndVector(len(data) / width)
	return e.shared[key]
}

func (e *encoder) ints(values []int) flatbuffers.UOffsetT {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, uint32(int32(v)))
	}
	return e.vector(4, data)
}

// buffers writes the empty buffer, one for each constant in the order of tensors, and the metadata.
func (e *encoder) buffers(metadata []byte) flatbuffers.UOffsetT {
	offsets := []flatbuffers.UOffsetT{0}
	for _, t := range e.p.tensors {
		if t.data != nil {
			offsets = append(offsets, e.buffer(t.data))
		}
	}
	offsets = append(offsets, e.buffer(metadata))
	schema.BufferStart(e.Builder)
	offsets[0] = schema.BufferEnd(e.Builder)
	return e.table(offsets...)
}

func (e *encoder) buffer(data []byte) flatbuffers.UOffsetT {
	e.Prep(alignment, len(data))
	at := e.CreateByteVector(data)
	schema.BufferStart(e.Builder)
	schema.BufferAddData(e.Builder, at)
	return schema.BufferEnd(e.Builder)
}

// metadataBuffer is the index of the last buffer.
func (e *encoder) metadataBuffer() uint32 {
	n := uint32(1)
	for _, t := range e.p.tensors {
		if t.data != nil {
			n++
		}
	}
	return n
}

func (e *encoder) graph() flatbuffers.UOffsetT {
	parameters := map[int]bool{} // widened weights have no batch
	for _, o := range e.p.ops {
		if o.code == schema.BuiltinOperatorDequantize {
			parameters[o.output] = true
		}
	}
	tensors := make([]flatbuffers.UOffsetT, len(e.p.tensors))
	buffer := uint32(0)
	for i, t := range e.p.tensors {
		own := uint32(0)
		if t.data != nil {
			buffer++
			own = buffer
		}
		tensors[i] = e.tensor(t, own, t.data == nil && !parameters[i])
	}
	ops := make([]flatbuffers.UOffsetT, len(e.p.ops))
	for i, o := range e.p.ops {
		ops[i] = e.operator(o)
	}
	all, run := e.table(tensors...), e.table(ops...)
	in, out := e.ints([]int{e.p.input}), e.ints([]int{e.p.output})
	name := e.CreateString("main")
	schema.SubGraphStart(e.Builder)
	schema.SubGraphAddTensors(e.Builder, all)
	schema.SubGraphAddInputs(e.Builder, in)
	schema.SubGraphAddOutputs(e.Builder, out)
	schema.SubGraphAddOperators(e.Builder, run)
	schema.SubGraphAddName(e.Builder, name)
	return schema.SubGraphEnd(e.Builder)
}

func (e *encoder) tensor(t tensor, buffer uint32, batch bool) flatbuffers.UOffsetT {
	name := e.CreateString(t.name)
	shape := e.ints(t.shape)
	var dynamic, quantization flatbuffers.UOffsetT
	if batch {
		dynamic = e.ints(append([]int{-1}, t.shape[1:]...))
	}
	if t.quant != nil {
		quantization = e.quantization(*t.quant)
	}
	schema.TensorStart(e.Builder)
	schema.TensorAddShape(e.Builder, shape)
	schema.TensorAddType(e.Builder, t.kind)
	schema.TensorAddBuffer(e.Builder, buffer)
	schema.TensorAddName(e.Builder, name)
	if t.quant != nil {
		schema.TensorAddQuantization(e.Builder, quantization)
	}
	if batch {
		schema.TensorAddShapeSignature(e.Builder, dynamic)
	}
	return schema.TensorEnd(e.Builder)
}

func (e *encoder) quantization(q quant) flatbuffers.UOffsetT {
	zeros := make([]byte, 0, 8*len(q.scale))
	for range q.scale {
		zeros = binary.LittleEndian.AppendUint64(zeros, uint64(int64(q.zero)))
	}
	zero, scale := e.vector(8, zeros), e.vector(4, floatBytes(q.scale))
	schema.QuantizationParametersStart(e.Builder)
	schema.QuantizationParametersAddScale(e.Builder, scale)
	schema.QuantizationParametersAddZeroPoint(e.Builder, zero)
	schema.QuantizationParametersAddQuantizedDimension(e.Builder, int32(q.axis))
	return schema.QuantizationParametersEnd(e.Builder)
}

// signature names the model's input and output for callers that go by names.
func (e *encoder) signature() flatbuffers.UOffsetT {
	end := func(index int, name string) flatbuffers.UOffsetT {
		text := e.CreateString(name)
		schema.TensorMapStart(e.Builder)
		schema.TensorMapAddName(e.Builder, text)
		schema.TensorMapAddTensorIndex(e.Builder, uint32(index))
		return e.table(schema.TensorMapEnd(e.Builder))
	}
	in, out := end(e.p.input, imageName), end(e.p.output, answerName)
	key := e.CreateString(signature)
	schema.SignatureDefStart(e.Builder)
	schema.SignatureDefAddInputs(e.Builder, in)
	schema.SignatureDefAddOutputs(e.Builder, out)
	schema.SignatureDefAddSignatureKey(e.Builder, key)
	return schema.SignatureDefEnd(e.Builder)
}
