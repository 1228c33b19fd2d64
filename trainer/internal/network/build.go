package network

import "fmt"

// batchNormEpsilon is what both families were trained with (Keras' MobileNetV2 and the EfficientNet-Lite reference).
const batchNormEpsilon = 1e-3

// inputName is the name of the image input of every base.
const inputName = "input"

// builder appends layers one after another; last and size follow the output of the newest one.
type builder struct {
	net      Network
	last     string
	size     int // side of the newest output, pixels
	channels int
}

func newBuilder(name string, size int, scale, offset float32) *builder {
	b := &builder{net: Network{Name: name, Size: size}, size: size, channels: 3}
	b.net.Layers = append(b.net.Layers, Layer{Name: inputName, Kind: Input})
	b.last = inputName
	b.add(Layer{Name: "rescaling", Kind: Rescaling, Scale: scale, Offset: offset})
	return b
}

// add appends a layer that is fed by the newest one, unless it names its inputs itself.
func (b *builder) add(l Layer) {
	if l.Inputs == nil {
		l.Inputs = []string{b.last}
	}
	b.net.Layers = append(b.net.Layers, l)
	b.last = l.Name
}

func (b *builder) conv(name string, filters, kernel, stride int) {
	b.add(Layer{Name: name, Kind: Conv2D, Filters: filters, Kernel: kernel, Stride: stride, Padding: Same})
	b.size, b.channels = ceilDiv(b.size, stride), filters
}

// depthwise pads as TensorFlow's SAME does.
func (b *builder) depthwise(name string, kernel, stride int) {
	b.add(Layer{Name: name, Kind: DepthwiseConv2D, Kernel: kernel, Stride: stride, Padding: Same})
	b.size = ceilDiv(b.size, stride)
}

// paddedDepthwise is Keras' way in MobileNetV2: an explicit ZeroPadding2D, then a valid convolution.
func (b *builder) paddedDepthwise(pad, name string, kernel, stride int) {
	before := kernel/2 - (1 - b.size%2)
	after := kernel / 2
	b.add(Layer{Name: pad, Kind: ZeroPadding2D, Pad: [4]int{before, after, before, after}})
	b.add(Layer{Name: name, Kind: DepthwiseConv2D, Kernel: kernel, Stride: stride, Padding: Valid})
	b.size = (b.size+before+after-kernel)/stride + 1
}

func (b *builder) batchNorm(name string) {
	b.add(Layer{Name: name, Kind: BatchNormalization, Epsilon: batchNormEpsilon})
}

func (b *builder) relu6(name string) { b.add(Layer{Name: name, Kind: ReLU6}) }

func (b *builder) sum(name, shortcut string) {
	b.add(Layer{Name: name, Kind: Add, Inputs: []string{shortcut, b.last}})
}

// cut marks the newest output as a place where the network may be cut.
func (b *builder) cut() { b.net.Cuts = append(b.net.Cuts, b.last) }

// pool ends the network with its features.
func (b *builder) pool(name string) Network {
	b.add(Layer{Name: name, Kind: GlobalAveragePooling2D})
	b.net.Features, b.net.FeatureDim = name, b.channels
	return b.net
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// divisible rounds channels to a multiple of 8 without losing more than a tenth
// (_make_divisible of MobileNet, round_filters of EfficientNet).
func divisible(channels float64) int {
	rounded := max(8, int(channels+4)/8*8)
	if float64(rounded) < 0.9*channels {
		rounded += 8
	}
	return rounded
}

// stage is a row of the tables below: repeats blocks of which the first one steps by stride.
type stage struct {
	kernel, repeats, stride, expansion, filters int
}

// ByName returns the base model of that name, without a head. The error names the known ones.
func ByName(base string) (Network, error) {
	switch base {
	case "efficientnet_lite0":
		return EfficientNetLite(0)
	case "efficientnet_lite1":
		return EfficientNetLite(1)
	case "efficientnet_lite2":
		return EfficientNetLite(2)
	case "mobilenet_v2":
		return MobileNetV2(1)
	case "mobilenet_v2_050":
		return MobileNetV2(0.5)
	case "mobilenet_v2_035":
		return MobileNetV2(0.35)
	}
	return Network{}, fmt.Errorf("there is no base model %q; the known ones are %v", base, Names())
}

// Names lists the base models, the ones of highest published accuracy in their family last.
func Names() []string {
	return []string{"mobilenet_v2_035", "mobilenet_v2_050", "mobilenet_v2",
		"efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"}
}
