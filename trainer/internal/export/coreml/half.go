package coreml

import "math"

// Parts of an IEEE 754 binary16, whose smallest step is 2^-24 and whose exponents begin at 2^-14.
const (
	halfSign     = 1 << 15
	halfInfinity = 0x1f << 10
	halfStep     = 1 << 24
	halfNormal   = 1.0 / (1 << 14)
	halfOverflow = 65520 // from here on, rounding gives infinity
)

// toHalf rounds to the nearest half float, ties to even. f is a number.
func toHalf(f float32) uint16 {
	sign := uint16(math.Float32bits(f)>>16) & halfSign
	value := math.Abs(float64(f))
	switch {
	case value >= halfOverflow:
		return sign | halfInfinity
	case value < halfNormal: // a count of steps; 1024 of them are the smallest normal number
		return sign | uint16(math.RoundToEven(value*halfStep))
	}
	fraction, exponent := math.Frexp(value) // 0.5 ≤ fraction < 1
	// Of the 11 digits the leading one adds to the exponent, and so does a carry from rounding up to 2048.
	return sign | uint16(exponent+13)<<10 + uint16(math.RoundToEven(fraction*2048))
}

// fromHalf is the exact value of a half float; infinity also for what is not a number.
func fromHalf(h uint16) float32 {
	exponent, fraction := int(h>>10&0x1f), float64(h&0x3ff)
	value := math.Ldexp(fraction, -24)
	switch {
	case h&halfInfinity == halfInfinity:
		value = math.Inf(1)
	case exponent > 0:
		value = math.Ldexp(fraction+1024, exponent-25)
	}
	if h&halfSign != 0 {
		value = -value
	}
	return float32(value)
}
