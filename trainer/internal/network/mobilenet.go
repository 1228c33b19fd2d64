package network

import "fmt"

// MobileNetV2 returns Keras' MobileNetV2 for 224-pixel images with Keras' own layer names; width is 1, 0.5 or 0.35.
// Tables: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, as in keras.applications.
func MobileNetV2(width float64) (Network, error) {
	names := map[float64]string{1: "mobilenet_v2", 0.5: "mobilenet_v2_050", 0.35: "mobilenet_v2_035"}
	name, ok := names[width]
	if !ok {
		return Network{}, fmt.Errorf("MobileNetV2 has no weights for width %v; the widths are 1, 0.5 and 0.35", width)
	}
	stages := []stage{
		{3, 1, 1, 1, 16},
		{3, 2, 2, 6, 24},
		{3, 3, 2, 6, 32},
		{3, 4, 2, 6, 64},
		{3, 3, 1, 6, 96},
		{3, 3, 2, 6, 160},
		{3, 1, 1, 6, 320},
	}
	b := newBuilder(name, 224, 1/127.5, -1)
	b.conv("Conv1", divisible(32*width), 3, 2)
	b.batchNorm("bn_Conv1")
	b.relu6("Conv1_relu")
	b.cut()
	block := 0
	for _, s := range stages {
		for i := range s.repeats {
			if i > 0 {
				s.stride = 1
			}
			b.mobileBlock(block, s, divisible(float64(int(float64(s.filters)*width))))
			block++
		}
	}
	b.conv("Conv_1", 1280, 1, 1) // widths below 1 keep the full last layer
	b.batchNorm("Conv_1_bn")
	b.relu6("out_relu")
	net := b.pool("global_average_pooling2d")
	// See Taps: blocks 10 to 12 are the last stage at a sixteenth, 13 to 15 the first at a thirty-second.
	net.Taps = []string{"block_10_depthwise_relu", "block_12_depthwise_relu", "block_14_depthwise_relu"}
	return net, nil
}

// mobileBlock appends one inverted residual block; only the first one has no expansion and another name.
func (b *builder) mobileBlock(block int, s stage, filters int) {
	prefix := "expanded_conv_"
	input, channels := b.last, b.channels
	if block > 0 {
		prefix = fmt.Sprintf("block_%d_", block)
		b.conv(prefix+"expand", s.expansion*channels, 1, 1)
		b.batchNorm(prefix + "expand_BN")
		b.relu6(prefix + "expand_relu")
	}
	if s.stride == 2 {
		b.paddedDepthwise(prefix+"pad", prefix+"depthwise", s.kernel, s.stride)
	} else {
		b.depthwise(prefix+"depthwise", s.kernel, s.stride)
	}
	b.batchNorm(prefix + "depthwise_BN")
	b.relu6(prefix + "depthwise_relu")
	b.conv(prefix+"project", filters, 1, 1)
	b.batchNorm(prefix + "project_BN")
	if s.stride == 1 && channels == filters {
		b.sum(prefix+"add", input)
	}
	b.cut()
}
