package data

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"
)

// Renderer resizes photos to squares. It keeps its buffers and is used by one goroutine at a time.
type Renderer struct {
	Size    int // side of the square, pixels
	Fit     Fit
	columns []float32
}

// Values is the length of one rendered image: Size×Size RGB.
func (r *Renderer) Values() int { return r.Size * r.Size * 3 }

// Render writes the view of p into dst [Size,Size,3] as values of 0…255, resized with an antialiased triangle filter:
// the arithmetic of tf.image.resize(method="bilinear", antialias=True), which is the operation ScaleAndTranslate.
func (r *Renderer) Render(dst []float32, p Pixels, v View) {
	left, top, width, height := 0.0, 0.0, float64(p.Width), float64(p.Height)
	if r.Fit == Crop {
		side := min(width, height)
		left, top, width, height = (width-side)/2, (height-side)/2, side, side
	}
	across := spans(p.Width, r.Size, left+v.Left*width, v.Width*width)
	down := spans(p.Height, r.Size, top+v.Top*height, v.Height*height)
	if v.Mirror {
		for i, j := 0, len(across)-1; i < j; i, j = i+1, j-1 {
			across[i], across[j] = across[j], across[i]
		}
	}
	first, end := down[0].start, down[len(down)-1].start+len(down[len(down)-1].weights)
	stride := 3 * r.Size
	if need := (end - first) * stride; cap(r.columns) < need {
		r.columns = make([]float32, need)
	}
	columns := r.columns[:(end-first)*stride]
	for y := first; y < end; y++ {
		squeeze(columns[(y-first)*stride:(y-first+1)*stride], p.row(y), across)
	}
	for y, s := range down {
		row := dst[y*stride : (y+1)*stride]
		clear(row)
		for i, weight := range s.weights {
			at := (s.start - first + i) * stride
			blas32.Axpy(weight, blas32.Vector{N: stride, Inc: 1, Data: columns[at : at+stride]},
				blas32.Vector{N: stride, Inc: 1, Data: row})
		}
	}
	v.light(dst[:r.Values()])
}

// squeeze resizes one row of pixels.
func squeeze(dst []float32, row []uint8, across []span) {
	for x, s := range across {
		var red, green, blue float32
		pixels := row[3*s.start : 3*(s.start+len(s.weights))]
		for i, weight := range s.weights {
			pixel := pixels[3*i : 3*i+3]
			red += weight * float32(pixel[0])
			green += weight * float32(pixel[1])
			blue += weight * float32(pixel[2])
		}
		dst[3*x], dst[3*x+1], dst[3*x+2] = red, green, blue
	}
}

// span is the run of input pixels that one output pixel is made of; the weights sum to 1.
type span struct {
	start   int
	weights []float32
}

// spans computes them for one axis: in pixels, of which the part from offset of that length becomes out pixels
// (ComputeSpansCore of tensorflow/core/kernels/image/scale_and_translate_op.cc with a triangle of radius 1).
func spans(in, out int, offset, length float64) []span {
	step := length / float64(out) // input pixels an output pixel
	radius := max(step, 1)        // widened when shrinking: that is the antialiasing
	all := make([]span, out)
	for x := range all {
		centre := offset + (float64(x)+0.5)*step
		start := clamp(int(math.Ceil(centre-radius-0.5)), 0, in-1)
		end := clamp(int(math.Floor(centre+radius-0.5)), 0, in-1) + 1
		weights := make([]float32, max(1, end-start))
		var total float64
		for i := range weights {
			w := max(0, 1-math.Abs(float64(start+i)+0.5-centre)/radius)
			weights[i] = float32(w)
			total += w
		}
		if total == 0 { // a sliver at the very edge: take its pixel
			weights[0], total = 1, 1
		}
		for i := range weights {
			weights[i] = float32(float64(weights[i]) / total)
		}
		all[x] = span{start: start, weights: weights}
	}
	return all
}

func clamp(v, low, high int) int { return min(high, max(low, v)) }
