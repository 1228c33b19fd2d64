package features

import (
	"math"
	"testing"
)

func TestHalfRoundTrip(t *testing.T) {
	for h := range 1 << 16 {
		f := fromHalf(uint16(h))
		if math.IsNaN(float64(f)) {
			continue
		}
		if back := toHalf(f); back != uint16(h) {
			t.Fatalf("%#04x is %v, which becomes %#04x", h, f, back)
		}
	}
}

func TestHalfRounds(t *testing.T) {
	for _, c := range []struct {
		value, want float32
	}{
		{1.0 / 3, 0.33325195}, {6, 6}, {2049, 2048}, {2051, 2052}, {65519, 65504}, {65520, float32(math.Inf(1))},
		{-1e-9, float32(math.Copysign(0, -1))}, {3e-8, 5.9604645e-8}, {0.1, 0.099975586},
	} {
		if got := fromHalf(toHalf(c.value)); math.Float32bits(got) != math.Float32bits(c.want) {
			t.Errorf("%v becomes %v instead of %v", c.value, got, c.want)
		}
	}
}
