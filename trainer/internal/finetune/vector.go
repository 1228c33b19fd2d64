package finetune

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Vector is many numbers that encoding/gob stores as they lie in memory rather than one by one: a state has some
// millions, and is stored after each epoch.
type Vector []float32

// GobEncode returns the numbers as little-endian float32.
func (v Vector) GobEncode() ([]byte, error) {
	out := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(x))
	}
	return out, nil
}

// GobDecode is the inverse of GobEncode; of no numbers it makes nil.
func (v *Vector) GobDecode(b []byte) error {
	if len(b)%4 != 0 {
		return fmt.Errorf("%d bytes are not a vector of float32", len(b))
	}
	if *v = nil; len(b) > 0 {
		*v = make(Vector, len(b)/4)
	}
	for i := range *v {
		(*v)[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return nil
}
