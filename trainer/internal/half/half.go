// Package half converts between float32 and the bits of IEEE 754 binary16, which caches and small model files hold.
package half

import "math"

// Largest is the largest finite number of binary16.
const Largest = 65504

// Infinity and Sign are the bits of positive infinity, and of the sign.
const (
	Infinity = 0x7c00
	Sign     = 0x8000
)

// Of rounds to the nearest binary16, ties to even. What exceeds Largest by half a step or more becomes infinite.
func Of(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits>>16) & Sign
	magnitude := bits & 0x7fffffff
	switch {
	case magnitude > 0x7f800000: // not a number
		return sign | 0x7e00
	case magnitude >= 0x477ff000: // rounds to 65536 or more
		return sign | Infinity
	case magnitude < 0x38800000: // subnormal: count in steps of 2^-24
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(magnitude))*(1<<24)))
	}
	rounded := magnitude + 0xfff + (magnitude>>13)&1
	return sign | uint16((rounded-0x38000000)>>13)
}

// Value is the exact value of a binary16.
func Value(h uint16) float32 {
	sign := uint32(h&Sign) << 16
	exponent, fraction := uint32(h>>10)&0x1f, uint32(h&0x3ff)
	switch exponent {
	case 0:
		value := float32(fraction) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(value) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}
