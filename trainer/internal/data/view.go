package data

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"
)

// Ranges of the drawn views. The smallest side of a crop is √(minArea·minAspect) of the photo's.
const (
	minArea     = 0.5  // share of the photo that a crop keeps
	minAspect   = 0.75 // how far a crop's shape may differ from the photo's, and its inverse
	brightness  = 0.15 // of 255, either way
	contrast    = 0.2  // either way of 1
	saturation  = 0.2
	smallestCut = 0.61 // √(minArea·minAspect), rounded down
)

// View is one way to look at a photo: which part of it, mirrored or not, and with what light.
type View struct {
	Left, Top, Width, Height         float64 // part of the photo, 0…1
	Mirror                           bool
	Brightness, Contrast, Saturation float32 // added to 0…255; factors
}

// Plain is view 0: the photo as it is.
func Plain() View { return View{Width: 1, Height: 1, Contrast: 1, Saturation: 1} }

// ViewOf returns a photo's view of that number: 0 is the photo as it is, any other is drawn from hash and number alone,
// so that it is the same in every run. Random resized crops are those of Szegedy et al. 2015, colour as in Howard 2013.
func ViewOf(hash Hash, number int) View {
	v := Plain()
	if number == 0 {
		return v
	}
	seed := sha256.Sum256(binary.LittleEndian.AppendUint32(append([]byte("view 1 "), hash[:]...), uint32(number)))
	r := rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])))
	area := minArea + (1-minArea)*r.Float64()
	aspect := math.Exp((2*r.Float64() - 1) * math.Log(1/minAspect))
	v.Width = min(1, math.Sqrt(area*aspect))
	v.Height = min(1, math.Sqrt(area/aspect))
	v.Left = (1 - v.Width) * r.Float64()
	v.Top = (1 - v.Height) * r.Float64()
	v.Mirror = r.Float64() < 0.5
	around := func(spread float64) float32 { return float32(spread * (2*r.Float64() - 1)) }
	v.Brightness = 255 * around(brightness)
	v.Contrast = 1 + around(contrast)
	v.Saturation = 1 + around(saturation)
	return v
}

// Need is the shorter side in pixels that a view of that number wants a photo to have at least, for squares of size.
func Need(number, size int) int {
	if number == 0 {
		return size
	}
	return int(math.Ceil(float64(size) / smallestCut))
}

// light changes brightness, contrast and saturation of an RGB image of 0…255 in place.
func (v View) light(rgb []float32) {
	if v.Brightness == 0 && v.Contrast == 1 && v.Saturation == 1 {
		return
	}
	var sum float64
	for _, c := range rgb {
		sum += float64(c)
	}
	mean := float32(sum / float64(len(rgb)))
	for i := 0; i+2 < len(rgb); i += 3 {
		pixel := rgb[i : i+3]
		grey := 0.299*pixel[0] + 0.587*pixel[1] + 0.114*pixel[2]
		for c, value := range pixel {
			value = grey + (value-grey)*v.Saturation
			value = mean + (value-mean)*v.Contrast + v.Brightness
			pixel[c] = min(255, max(0, value))
		}
	}
}
