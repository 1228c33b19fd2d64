package coreml

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cultivar-ml/cultivar/trainer/internal/export/coreml/coremlpb"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/exporttest"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/plain"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/wire"
	"github.com/cultivar-ml/cultivar/trainer/internal/export/onnx/wire/wiretest"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

func layer(m *coremlpb.Model, name string) *coremlpb.NeuralNetworkLayer {
	for _, l := range m.GetNeuralNetworkClassifier().GetLayers() {
		if l.GetName() == name {
			return l
		}
	}
	panic("the test names no layer " + name)
}

// Files that were damaged or come from elsewhere are refused with a sentence rather than misread.
func TestReadRefuses(t *testing.T) {
	conv := func(m *coremlpb.Model) *coremlpb.ConvolutionLayerParams { return layer(m, "stem_bn").GetConvolution() }
	dense := func(m *coremlpb.Model) *coremlpb.InnerProductLayerParams {
		return layer(m, "predictions").GetInnerProduct()
	}
	scaler := func(m *coremlpb.Model) *coremlpb.NeuralNetworkImageScaler {
		return m.GetNeuralNetworkClassifier().GetPreprocessing()[0].GetScaler()
	}
	for name, c := range map[string]struct {
		spoil func(*coremlpb.Model)
		want  string
	}{
		"another specification":  {func(m *coremlpb.Model) { m.SpecificationVersion = 4 }, "specification 1 or 2"},
		"no classifier":          {func(m *coremlpb.Model) { m.Type = nil }, "classifier"},
		"no description":         {func(m *coremlpb.Model) { m.Description = nil }, "one image"},
		"a huge image":           {func(m *coremlpb.Model) { *m.Description = *description(1 << 40) }, "reasonable size"},
		"images not square":      {func(m *coremlpb.Model) { m.Description.Input[0].Type.GetImageType().Width = 33 }, "description"},
		"another description":    {func(m *coremlpb.Model) { m.Description.PredictedFeatureName = "x" }, "description"},
		"no labels":              {func(m *coremlpb.Model) { m.GetNeuralNetworkClassifier().ClassLabels = nil }, "0 classes"},
		"no layers":              {func(m *coremlpb.Model) { m.GetNeuralNetworkClassifier().Layers = nil }, "last layer"},
		"no rescaling":           {func(m *coremlpb.Model) { m.GetNeuralNetworkClassifier().Preprocessing = nil }, "rescale"},
		"a scale of no number":   {func(m *coremlpb.Model) { scaler(m).ChannelScale = float32(math.NaN()) }, "not finite"},
		"colours apart":          {func(m *coremlpb.Model) { scaler(m).GreenBias = 0 }, "colours"},
		"other probabilities":    {func(m *coremlpb.Model) { m.GetNeuralNetworkClassifier().LabelProbabilityLayerName = "sum" }, "probabilities"},
		"a layer of no kind":     {func(m *coremlpb.Model) { layer(m, "sum").Layer = nil }, "no kind"},
		"two outputs":            {func(m *coremlpb.Model) { layer(m, "sum").Output = []string{"a", "b"} }, "2 outputs"},
		"no inputs":              {func(m *coremlpb.Model) { layer(m, "joined").Input = nil }, "0 inputs"},
		"a blob made twice":      {func(m *coremlpb.Model) { layer(m, "sum").Output[0] = "depth_relu" }, "made twice"},
		"an output renamed":      {func(m *coremlpb.Model) { layer(m, "sum").Output[0] = "other" }, "its output"},
		"an unknown blob":        {func(m *coremlpb.Model) { layer(m, "sum").Input[0] = "nowhere" }, `"nowhere"`},
		"a ReLU6 of nothing":     {func(m *coremlpb.Model) { layer(m, "stem_relu/relu").Input[0] = "nowhere" }, `"nowhere"`},
		"another limit":          {func(m *coremlpb.Model) { layer(m, "stem_relu/threshold").GetUnary().Alpha = -7 }, "step 3"},
		"steps out of order":     {func(m *coremlpb.Model) { layer(m, "stem_relu").Input[0] = "stem_relu/negated" }, "step 4"},
		"a step left out":        {func(m *coremlpb.Model) { drop(m, "stem_relu/threshold") }, "step 3"},
		"a layer within a ReLU6": {func(m *coremlpb.Model) { hoist(m, "stem_pool") }, "within a ReLU6"},
		"an end within a ReLU6":  {func(m *coremlpb.Model) { appendStep(m) }, "last layer"},
		"other padding":          {func(m *coremlpb.Model) { conv(m).ConvolutionPaddingType = nil }, "plain convolutions"},
		"dilation":               {func(m *coremlpb.Model) { conv(m).DilationFactor[0] = 2 }, "plain convolutions"},
		"unequal strides":        {func(m *coremlpb.Model) { conv(m).Stride[0] = 3 }, "strides"},
		"a huge stride":          {func(m *coremlpb.Model) { conv(m).Stride = []uint64{1 << 63, 1 << 63} }, "out of range"},
		"a stride of 0":          {func(m *coremlpb.Model) { conv(m).Stride = []uint64{0, 0} }, "stride 0"},
		"a large pad":            {func(m *coremlpb.Model) { edge(m).EndEdgeSize = 1 << 20 }, "size of 1048576"},
		"other groups":           {func(m *coremlpb.Model) { conv(m).NGroups = 2 }, "2 groups"},
		"weights that wrap":      {func(m *coremlpb.Model) { conv(m).OutputChannels = 1 << 62 }, "do not fit"},
		"too few weights":        {func(m *coremlpb.Model) { conv(m).Weights.FloatValue = conv(m).Weights.FloatValue[1:] }, "do not fit"},
		"no weights":             {func(m *coremlpb.Model) { conv(m).Weights = nil }, "do not fit"},
		"weights of both widths": {func(m *coremlpb.Model) { conv(m).Weights.Float16Value = make([]byte, 2) }, "neither"},
		"half a half":            {func(m *coremlpb.Model) { conv(m).Weights = &coremlpb.WeightParams{Float16Value: make([]byte, 3)} }, "neither"},
		"a missing bias":         {func(m *coremlpb.Model) { dense(m).Bias = nil }, "do not fit"},
		"a bias unannounced":     {func(m *coremlpb.Model) { dense(m).HasBias = false }, "announce"},
		"other outputs":          {func(m *coremlpb.Model) { dense(m).InputChannels, dense(m).OutputChannels = 8, 20 }, "do not fit"},
		"not a number":           {func(m *coremlpb.Model) { dense(m).Bias.FloatValue[1] = float32(math.NaN()) }, "NaN"},
		"no epsilon":             {func(m *coremlpb.Model) { layer(m, "pool_bn").GetBatchnorm().Epsilon = 0 }, "epsilon"},
		"a negative variance":    {func(m *coremlpb.Model) { layer(m, "pool_bn").GetBatchnorm().Variance.FloatValue[2] = -1 }, "negative variance"},
		"another pooling":        {func(m *coremlpb.Model) { layer(m, "pool").GetPooling().GlobalPooling = false }, "global average"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := build(exporttest.Small(t), Options{})
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

func edge(m *coremlpb.Model) *coremlpb.BorderAmounts_EdgeSizes {
	return layer(m, "stem_bn").GetConvolution().GetValid().GetPaddingAmounts().GetBorderAmounts()[1]
}

func drop(m *coremlpb.Model, name string) {
	c := m.GetNeuralNetworkClassifier()
	for i, l := range c.Layers {
		if l.GetName() == name {
			c.Layers = append(c.Layers[:i], c.Layers[i+1:]...)
			return
		}
	}
}

// hoist moves a layer between the steps of depth_relu.
func hoist(m *coremlpb.Model, name string) {
	moved := layer(m, name)
	drop(m, name)
	c := m.GetNeuralNetworkClassifier()
	c.Layers = slices.Insert(c.Layers, slices.Index(c.Layers, layer(m, "depth_relu/threshold")), moved)
}

func appendStep(m *coremlpb.Model) {
	step := relu6Steps()[0].params
	step.Name, step.Input, step.Output = "x", []string{Output}, []string{"x"}
	c := m.GetNeuralNetworkClassifier()
	c.Layers = append(c.Layers, step)
}

// survive holds that reading ends with a network or an error whatever the bytes, and that a network that was read can be
// written and read again. It returns the network, if there was one.
func survive(t *testing.T, data []byte) (network.Model, bool) {
	t.Helper()
	var file coremlpb.Model
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
	again, err := build(m, Options{})
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

func tinyFile(t testing.TB, o Options) []byte {
	t.Helper()
	m, err := build(wiretest.Tiny(), o)
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func FuzzParse(f *testing.F) {
	f.Add(tinyFile(f, Options{}))
	f.Add(tinyFile(f, Options{Half: true}))
	f.Fuzz(func(t *testing.T, data []byte) { survive(t, data) })
}

// Files with one to three fields changed; some changes do no harm.
func TestMutants(t *testing.T) {
	files, read := [][]byte{tinyFile(t, Options{}), tinyFile(t, Options{Half: true})}, 0
	for _, file := range files {
		if _, ok := survive(t, file); !ok {
			t.Fatal("the file is refused unchanged")
		}
	}
	const mutants = 1000
	for seed := range uint64(mutants) {
		r := rand.New(rand.NewPCG(seed, 1))
		var m coremlpb.Model
		if err := proto.Unmarshal(files[seed%2], &m); err != nil {
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
