package half

import (
	"math"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	for h := range 1 << 16 {
		f := Value(uint16(h))
		if math.IsNaN(float64(f)) {
			continue
		}
		if back := Of(f); back != uint16(h) {
			t.Fatalf("%#04x is %v, which becomes %#04x", h, f, back)
		}
	}
}

func TestRounds(t *testing.T) {
	for _, c := range []struct {
		value, want float32
	}{
		{1.0 / 3, 0.33325195}, {6, 6}, {2049, 2048}, {2051, 2052}, {65519, 65504}, {65520, float32(math.Inf(1))},
		{-1e-9, float32(math.Copysign(0, -1))}, {3e-8, 5.9604645e-8}, {0.1, 0.099975586},
	} {
		if got := Value(Of(c.value)); math.Float32bits(got) != math.Float32bits(c.want) {
			t.Errorf("%v becomes %v instead of %v", c.value, got, c.want)
		}
	}
}

// Every half float is its own rounding, and what lies between two goes to the nearer one, ties to the even one.
func TestNearest(t *testing.T) {
	for h := range uint16(Infinity) {
		v, next := Value(h), Value(h+1)
		middle := float32((float64(v) + float64(min(next, 65536))) / 2)
		even := h + h&1
		for _, c := range []struct {
			in   float32
			want uint16
		}{{v, h}, {-v, h | Sign}, {middle, even}, {math.Nextafter32(middle, 0), h}, {math.Nextafter32(middle, 1e9), h + 1}} {
			if got := Of(c.in); got != c.want && c.in != 0 {
				t.Fatalf("%v gives %#x, want %#x", c.in, got, c.want)
			}
		}
	}
	for h, want := range map[uint16]float64{0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 1: math.Pow(2, -24), 0x0400: math.Pow(2, -14), 0x3555: 0.333251953125, 0x7c00: math.Inf(1), 0xfc00: math.Inf(-1)} {
		if got := Value(h); float64(got) != want {
			t.Errorf("%#x is %v, want %v", h, got, want)
		}
	}
}
