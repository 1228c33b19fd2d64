package network

import (
	"fmt"
	"math"
)

// EfficientNetLite returns EfficientNet-Lite 0, 1 or 2 for 224, 240 or 260-pixel images: no squeeze-and-excitation,
// ReLU6, TensorFlow's SAME padding, stem and head of fixed width, first and last stage of fixed depth.
// Tables: Tan and Le, "EfficientNet", 2019, and tpu/models/official/efficientnet/lite.
func EfficientNetLite(variant int) (Network, error) {
	scales := []struct {
		width, depth float64
		size         int
	}{{1, 1, 224}, {1, 1.1, 240}, {1.1, 1.2, 260}}
	if variant < 0 || variant >= len(scales) {
		return Network{}, fmt.Errorf("there is no EfficientNet-Lite %d; the variants are 0, 1 and 2", variant)
	}
	scale := scales[variant]
	stages := []stage{
		{3, 1, 1, 1, 16},
		{3, 2, 2, 6, 24},
		{5, 2, 2, 6, 40},
		{3, 3, 2, 6, 80},
		{5, 3, 1, 6, 112},
		{5, 4, 2, 6, 192},
		{3, 1, 1, 6, 320},
	}
	b := newBuilder(fmt.Sprintf("efficientnet_lite%d", variant), scale.size, 1.0/128, -127.0/128)
	b.conv("stem_conv", 32, 3, 2)
	b.batchNorm("stem_bn")
	b.relu6("stem_activation")
	b.cut()
	var repeats []int
	for i, s := range stages {
		if i > 0 && i < len(stages)-1 {
			s.repeats = int(math.Ceil(float64(s.repeats) * scale.depth))
		}
		repeats = append(repeats, s.repeats)
		for j := range s.repeats {
			if j > 0 {
				s.stride = 1
			}
			b.liteBlock(fmt.Sprintf("block%d%c_", i+1, 'a'+j), s, divisible(float64(s.filters)*scale.width))
		}
	}
	b.conv("top_conv", 1280, 1, 1)
	b.batchNorm("top_bn")
	b.relu6("top_activation")
	net := b.pool("avg_pool")
	// See Taps: stages 5 and 6 of the table above.
	net.Taps = []string{"block5a_activation", fmt.Sprintf("block5%c_activation", 'a'+repeats[4]-1), "block6b_activation"}
	return net, nil
}

// liteBlock appends one inverted residual block, named as Keras names EfficientNet's.
func (b *builder) liteBlock(prefix string, s stage, filters int) {
	input, channels := b.last, b.channels
	if s.expansion > 1 {
		b.conv(prefix+"expand_conv", s.expansion*channels, 1, 1)
		b.batchNorm(prefix + "expand_bn")
		b.relu6(prefix + "expand_activation")
	}
	b.depthwise(prefix+"dwconv", s.kernel, s.stride)
	b.batchNorm(prefix + "bn")
	b.relu6(prefix + "activation")
	b.conv(prefix+"project_conv", filters, 1, 1)
	b.batchNorm(prefix + "project_bn")
	if s.stride == 1 && channels == filters {
		b.sum(prefix+"add", input)
	}
	b.cut()
}
