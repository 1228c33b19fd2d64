package onnx

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/onnxpb"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/plain"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/wire"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/wire/wiretest"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// node is the small model's node of that name.
func node(m *onnxpb.ModelProto, name string) *onnxpb.NodeProto {
	for _, n := range m.GetGraph().GetNode() {
		if n.GetName() == name {
			return n
		}
	}
	panic("the test names no node " + name)
}

// constant is the small model's constant of that name.
func constant(m *onnxpb.ModelProto, name string) *onnxpb.TensorProto {
	for _, c := range m.GetGraph().GetInitializer() {
		if c.GetName() == name {
			return c
		}
	}
	panic("the test names no constant " + name)
}

// attribute is the node's attribute of that name.
func attribute(m *onnxpb.ModelProto, of, name string) *onnxpb.AttributeProto {
	for _, a := range node(m, of).GetAttribute() {
		if a.GetName() == name {
			return a
		}
	}
	panic("the test names no attribute " + name)
}

// Files that were damaged or come from elsewhere are refused with a sentence rather than misread.
func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*onnxpb.ModelProto)
		want  string
	}{
		"another operator set":   {func(m *onnxpb.ModelProto) { m.OpsetImport[0].Version = proto.Int64(18) }, "operator set 17"},
		"another domain":         {func(m *onnxpb.ModelProto) { m.OpsetImport[0].Domain = proto.String("com.microsoft") }, "operator set 17"},
		"another IR version":     {func(m *onnxpb.ModelProto) { m.IrVersion = nil }, "IR version 8"},
		"no graph":               {func(m *onnxpb.ModelProto) { m.Graph = nil }, "0 inputs"},
		"no labels":              {func(m *onnxpb.ModelProto) { m.MetadataProps = nil }, "for 0 classes"},
		"damaged labels":         {func(m *onnxpb.ModelProto) { m.MetadataProps[0].Value = proto.String("[1]") }, "class names"},
		"no nodes":               {func(m *onnxpb.ModelProto) { m.Graph.Node = nil }, "no node makes the output"},
		"images not square":      {func(m *onnxpb.ModelProto) { m.Graph.Input[0] = valueInfo(Input, 32, 33, 3) }, "square RGB"},
		"images of no size":      {func(m *onnxpb.ModelProto) { m.Graph.Input[0] = valueInfo(Input, 0, 0, 3) }, "smaller than the kernel"},
		"images of huge size":    {func(m *onnxpb.ModelProto) { m.Graph.Input[0] = valueInfo(Input, 1<<40, 1<<40, 3) }, "too much"},
		"images in bytes":        {func(m *onnxpb.ModelProto) { m.Graph.Input[0].Type.TensorType.ElemType = proto.Int32(2) }, "square RGB"},
		"another output":         {func(m *onnxpb.ModelProto) { m.Graph.Output[0].Name = proto.String("predictions") }, "its output"},
		"an unknown operator":    {func(m *onnxpb.ModelProto) { node(m, "sum").OpType = proto.String("Sub") }, `"Sub"`},
		"an extra attribute":     {func(m *onnxpb.ModelProto) { extra(m, "sum", intAttribute("axis", 1)) }, "not written here"},
		"an attribute twice":     {func(m *onnxpb.ModelProto) { extra(m, "joined", intAttribute("axis", 1)) }, "two attributes"},
		"a missing attribute":    {func(m *onnxpb.ModelProto) { node(m, "joined").Attribute = nil }, "axis"},
		"another axis":           {func(m *onnxpb.ModelProto) { attribute(m, "probabilities", "axis").I = proto.Int64(0) }, "axis"},
		"another order":          {func(m *onnxpb.ModelProto) { attribute(m, "input", "perm").Ints = []int64{0, 1, 2, 3} }, "channel order"},
		"unequal strides":        {func(m *onnxpb.ModelProto) { attribute(m, "stem_bn", "strides").Ints = []int64{2, 1} }, "strides"},
		"a huge stride":          {func(m *onnxpb.ModelProto) { attribute(m, "stem_bn", "strides").Ints = []int64{1 << 31, 1 << 31} }, "strides"},
		"a negative pad":         {func(m *onnxpb.ModelProto) { attribute(m, "stem_bn", "pads").Ints[2] = -1 }, "pads"},
		"a large pad":            {func(m *onnxpb.ModelProto) { attribute(m, "stem_bn", "pads").Ints[2] = 1 << 20 }, "size of 1048576"},
		"too few pads":           {func(m *onnxpb.ModelProto) { attribute(m, "stem_bn", "pads").Ints = nil }, "pads"},
		"other groups":           {func(m *onnxpb.ModelProto) { attribute(m, "depth_bn", "group").I = proto.Int64(4) }, "4 groups"},
		"another kernel":         {func(m *onnxpb.ModelProto) { attribute(m, "stem_bn", "kernel_shape").Ints[0] = 5 }, "not written here"},
		"no epsilon":             {func(m *onnxpb.ModelProto) { attribute(m, "pool_bn", "epsilon").F = nil }, "epsilon"},
		"an unknown tensor":      {func(m *onnxpb.ModelProto) { node(m, "sum").Input[0] = "nowhere" }, `"nowhere"`},
		"a loop":                 {func(m *onnxpb.ModelProto) { node(m, "stem_relu").Input[0] = "sum" }, "before it"},
		"a tensor made twice":    {func(m *onnxpb.ModelProto) { node(m, "sum").Output[0] = "stem_bn" }, "made twice"},
		"the image made":         {func(m *onnxpb.ModelProto) { node(m, "sum").Output[0] = Input }, "made twice"},
		"an output renamed":      {func(m *onnxpb.ModelProto) { node(m, "sum").Output[0] = "other" }, "its output"},
		"two outputs":            {func(m *onnxpb.ModelProto) { node(m, "sum").Output = []string{"a", "b"} }, "2 outputs"},
		"no inputs":              {func(m *onnxpb.ModelProto) { node(m, "joined").Input = nil }, "0 inputs"},
		"half a pooling":         {func(m *onnxpb.ModelProto) { drop(m, "pool") }, "no layer before it"},
		"half a pooling unused":  {func(m *onnxpb.ModelProto) { m.Graph.Node = append(m.Graph.Node, unused()) }, "lacks the second"},
		"a flattening alone":     {func(m *onnxpb.ModelProto) { node(m, "pool").Input[0] = "last" }, "follow a pooling"},
		"a sum with a number":    {func(m *onnxpb.ModelProto) { node(m, "rescaling").Input[0] = "image/nchw" }, "no layer before it"},
		"a node behind the last": {func(m *onnxpb.ModelProto) { m.Graph.Node = append(m.Graph.Node, behind()) }, "last"},
		"another clip":           {func(m *onnxpb.ModelProto) { constant(m, relu6Max).RawData = []byte{0, 0, 0, 0x41} }, "ReLU6"},
		"a constant twice":       {func(m *onnxpb.ModelProto) { constant(m, "last/kernel").Name = proto.String("stem_bn/bias") }, "twice"},
		"a constant of no use":   {func(m *onnxpb.ModelProto) { node(m, "last").Input[1] = "nowhere" }, `"nowhere"`},
		"an unneeded constant": {func(m *onnxpb.ModelProto) {
			m.Graph.Initializer = append(m.Graph.Initializer, initializer("x", scalar(1)))
		}, `"x"`},
		"a shared constant":    {func(m *onnxpb.ModelProto) { node(m, "last").Input[1] = "stem_bn/kernel" }, "another node took it"},
		"half floats":          {func(m *onnxpb.ModelProto) { constant(m, "last/kernel").DataType = proto.Int32(10) }, "float32"},
		"too few bytes":        {func(m *onnxpb.ModelProto) { cut(m, "last/kernel", 4) }, "does not fit"},
		"part of a number":     {func(m *onnxpb.ModelProto) { cut(m, "last/kernel", 1) }, "last/kernel"},
		"a dimension of 0":     {func(m *onnxpb.ModelProto) { constant(m, "last/kernel").Dims[2] = 0 }, "does not fit"},
		"dimensions that wrap": {func(m *onnxpb.ModelProto) { constant(m, "last/kernel").Dims = []int64{1 << 62, 4, 96} }, "does not fit"},
		"not a number": {func(m *onnxpb.ModelProto) {
			constant(m, "predictions/bias").RawData = initializer("", network.Tensor{Data: make8(float32(math.NaN()))}).RawData
		}, "NaN"},
		"an infinite scale": {func(m *onnxpb.ModelProto) {
			copy(constant(m, "rescaling/scale").RawData, initializer("", scalar(float32(math.Inf(1)))).RawData)
		}, "not finite"},
		"a negative variance": {func(m *onnxpb.ModelProto) {
			copy(constant(m, "pool_bn/moving_variance").RawData, initializer("", scalar(-1)).RawData)
		}, "negative variance"},
		"a layer with a slash": {func(m *onnxpb.ModelProto) { node(m, "probabilities").Name = proto.String("a/b") }, "a/b"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := build(exporttest.Small(t))
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(m)
			if _, err := parse(m); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func extra(m *onnxpb.ModelProto, of string, a *onnxpb.AttributeProto) {
	node(m, of).Attribute = append(node(m, of).Attribute, a)
}

func cut(m *onnxpb.ModelProto, name string, bytes int) {
	c := constant(m, name)
	c.RawData = c.RawData[bytes:]
}

func drop(m *onnxpb.ModelProto, name string) {
	var kept []*onnxpb.NodeProto
	for _, n := range m.Graph.Node {
		if n.GetName() != name {
			kept = append(kept, n)
		}
	}
	m.Graph.Node = kept
}

func unused() *onnxpb.NodeProto {
	return &onnxpb.NodeProto{OpType: proto.String("GlobalAveragePool"), Name: proto.String("x/pooled"), Input: []string{"sum"}, Output: []string{"x/pooled"}}
}

func behind() *onnxpb.NodeProto {
	return &onnxpb.NodeProto{OpType: proto.String("Add"), Name: proto.String("x"), Input: []string{Output, Output}, Output: []string{"x"}}
}

func make8(v float32) []float32 { return []float32{v, v, v, v, v, v, v, v} }

// A tensor that claims more than its file holds takes no more memory than the file.
func TestClaimsTakeNoMemory(t *testing.T) {
	m, err := build(exporttest.Small(t))
	if err != nil {
		t.Fatal(err)
	}
	constant(m, "last/kernel").Dims = []int64{1 << 20, 1 << 20, 1, 1}
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "claim.onnx")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = Read(path)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("%d bytes of file took %d bytes of memory", len(data), took)
	}
}

// survive holds that reading ends with a network or an error whatever the bytes, and that a network that was read can be
// written and read again. It returns the network, if there was one.
func survive(t *testing.T, data []byte) (network.Model, bool) {
	t.Helper()
	var file onnxpb.ModelProto
	if wire.Decode(data, &file) != nil {
		return network.Model{}, false
	}
	m, err := parse(&file)
	if err != nil {
		return network.Model{}, false
	}
	want, err := plain.Of(m)
	if err != nil {
		return m, true // folding a foreign batch norm may overflow
	}
	again, err := build(m)
	if err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	same, err := parse(again)
	if err != nil {
		t.Fatalf("what was written is refused: %v", err)
	}
	if got, err := plain.Of(same); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got\n%+v (%v)\nwant\n%+v", got, err, want)
	}
	return m, true
}

func tinyFile(t testing.TB) []byte {
	t.Helper()
	m, err := build(wiretest.Tiny())
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func FuzzParse(f *testing.F) {
	f.Add(tinyFile(f))
	f.Fuzz(func(t *testing.T, data []byte) { survive(t, data) })
}

// Files with one to three fields changed; some changes do no harm.
func TestMutants(t *testing.T) {
	whole, read := tinyFile(t), 0
	if _, ok := survive(t, whole); !ok {
		t.Fatal("the file is refused unchanged")
	}
	const mutants = 1000
	for seed := range uint64(mutants) {
		r := rand.New(rand.NewPCG(seed, 1))
		var m onnxpb.ModelProto
		if err := proto.Unmarshal(whole, &m); err != nil {
			t.Fatal(err)
		}
		for range 1 + r.IntN(3) {
			wiretest.Mutate(&m, r)
		}
		data, err := proto.Marshal(&m)
		if err != nil {
			continue // text that is not UTF-8
		}
		if m, ok := survive(t, data); ok {
			read++
			wiretest.Run(t, m)
		}
	}
	t.Logf("%d of %d mutants were read", read, mutants)
	if read == 0 || read > mutants/2 {
		t.Errorf("%d of %d mutants were read", read, mutants)
	}
}
