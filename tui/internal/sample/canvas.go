package sample

import (
	"image"
	"image/color"
	"math"
	"math/rand/v2"

	"golang.org/x/image/vector"
)

// rgb is a colour with components 0…1, not clipped while light is computed.
type rgb struct{ r, g, b float64 }

func (c rgb) times(k float64) rgb { return rgb{c.r * k, c.g * k, c.b * k} }

func (c rgb) mix(d rgb, t float64) rgb {
	return rgb{c.r + (d.r-c.r)*t, c.g + (d.g-c.g)*t, c.b + (d.b-c.b)*t}
}

func (c rgb) color() color.RGBA { return color.RGBA{level(c.r), level(c.g), level(c.b), 255} }

func level(v float64) uint8 { return uint8(math.Round(255 * min(1, max(0, v)))) }

// hsv returns a colour of hue in turns, saturation and value 0…1.
func hsv(h, s, v float64) rgb {
	f := func(n float64) float64 {
		k := math.Mod(n+math.Mod(h+10, 1)*6, 6)
		return v - v*s*max(0, min(k, 4-k, 1))
	}
	return rgb{f(5), f(3), f(1)}
}

// pt is a point in a plant's own coordinates: its radius is 1.
type pt struct{ x, y float64 }

// pose places a plant in a picture.
type pose struct {
	x, y, size float64 // centre and radius, pixels
	turn       float64 // radians
	squash     float64 // 1: seen from the front; less: from the side
	tilt       float64 // direction of the squash, radians
}

// at maps a plant's point to the picture.
func (p pose) at(q pt) pt {
	sin, cos := math.Sincos(p.turn)
	x, y := q.x*cos-q.y*sin, q.x*sin+q.y*cos
	sin, cos = math.Sincos(p.tilt)
	u, v := x*cos+y*sin, (-x*sin+y*cos)*p.squash
	return pt{p.x + p.size*(u*cos-v*sin), p.y + p.size*(u*sin+v*cos)}
}

// brush draws shapes into a picture, under a light that comes from one side.
type brush struct {
	*rand.Rand
	img   *image.RGBA
	shape *vector.Rasterizer
}

func newBrush(r *rand.Rand, img *image.RGBA) *brush {
	return &brush{Rand: r, img: img, shape: vector.NewRasterizer(img.Rect.Dx(), img.Rect.Dy())}
}

// between returns a number in [a, b).
func (b *brush) between(a, c float64) float64 { return a + (c-a)*b.Float64() }

// near returns a number around v, mostly within d.
func (b *brush) near(v, d float64) float64 { return v + d*max(-2, min(2, b.NormFloat64())) }

// jitter changes a colour a little.
func (b *brush) jitter(c rgb, d float64) rgb {
	k := b.near(1, d)
	return rgb{c.r * k * b.near(1, d/3), c.g * k * b.near(1, d/3), c.b * k * b.near(1, d/3)}
}

// fill paints a closed shape through the points. Only the box around it is rasterised: most shapes are small.
func (b *brush) fill(points []pt, c rgb) {
	box := bounds(points).Intersect(b.img.Rect)
	if box.Empty() {
		return
	}
	b.shape.Reset(box.Dx(), box.Dy())
	for i, p := range points {
		x, y := float32(p.x)-float32(box.Min.X), float32(p.y)-float32(box.Min.Y)
		if i == 0 {
			b.shape.MoveTo(x, y)
			continue
		}
		b.shape.LineTo(x, y)
	}
	b.shape.ClosePath()
	b.shape.Draw(b.img, box, image.NewUniform(c.color()), image.Point{})
}

func bounds(points []pt) image.Rectangle {
	low, high := pt{math.Inf(1), math.Inf(1)}, pt{math.Inf(-1), math.Inf(-1)}
	for _, p := range points {
		low = pt{min(low.x, p.x), min(low.y, p.y)}
		high = pt{max(high.x, p.x), max(high.y, p.y)}
	}
	return image.Rect(int(math.Floor(low.x)), int(math.Floor(low.y)), int(math.Ceil(high.x))+1, int(math.Ceil(high.y))+1)
}

// petal paints a petal from the centre outwards at an angle: base colour, a lighter middle and a darker root.
// width is relative to the length; tip 0 is round, 1 pointed, -1 heart-shaped.
func (b *brush) petal(p pose, angle, from, length, width, tip float64, c rgb) {
	for i, layer := range []struct {
		scale float64
		tint  rgb
	}{{1, c.times(0.72)}, {0.9, c}, {0.5, c.mix(rgb{1, 1, 1}, 0.14)}} {
		if i == 2 && p.size*length < 8 {
			break // too small to see
		}
		b.fill(petalOutline(p, angle, from, length*(0.6+0.4*layer.scale), width*layer.scale, tip), layer.tint)
	}
}

func petalOutline(p pose, angle, from, length, width, tip float64) []pt {
	const steps = 14
	sin, cos := math.Sincos(angle)
	points := make([]pt, 0, 2*steps+2)
	place := func(t, side float64) {
		along := from + length*t
		half := side * width * length * profile(t, tip)
		if tip < 0 {
			notch := half / (0.16 * length)
			along += tip * 0.16 * length * math.Exp(-notch*notch) * t * t
		}
		points = append(points, p.at(pt{along*cos - half*sin, along*sin + half*cos}))
	}
	for i := range steps + 1 {
		place(float64(i)/steps, 1)
	}
	for i := steps; i >= 0; i-- {
		place(float64(i)/steps, -1)
	}
	return points
}

// profile is a petal's half width at t of its length.
func profile(t, tip float64) float64 {
	round := 2 * math.Sqrt(max(0, t*(1-t)))
	if tip < 0 {
		return 0.55 * math.Pow(t, 0.8) * math.Sqrt(max(0, 1-math.Pow(t, 6))) * 1.5
	}
	pointed := math.Sin(math.Pi*math.Pow(t, 0.8)) * (1 - 0.35*t)
	return 0.5 * (round*(1-tip) + pointed*tip)
}

// disc paints an ellipse with a light spot.
func (b *brush) disc(p pose, at pt, radius float64, c rgb) {
	for _, l := range []struct{ scale, light float64 }{{1, 0.75}, {0.86, 1}, {0.45, 1.12}} {
		points := make([]pt, 20)
		for i := range points {
			sin, cos := math.Sincos(2 * math.Pi * float64(i) / float64(len(points)))
			points[i] = p.at(pt{at.x + radius*l.scale*cos, at.y + radius*l.scale*sin})
		}
		b.fill(points, c.times(l.light))
	}
}

// stroke paints a curved line from a to c bending towards mid; widths in pixels.
func (b *brush) stroke(from, mid, to pt, w0, w1 float64, c rgb) {
	const steps = 12
	left, right := make([]pt, 0, 2*steps+2), make([]pt, 0, steps+1)
	for i := range steps + 1 {
		t := float64(i) / steps
		u := 1 - t
		x, y := u*u*from.x+2*u*t*mid.x+t*t*to.x, u*u*from.y+2*u*t*mid.y+t*t*to.y
		dx, dy := u*(mid.x-from.x)+t*(to.x-mid.x), u*(mid.y-from.y)+t*(to.y-mid.y)
		n := math.Hypot(dx, dy)
		if n == 0 {
			continue
		}
		w := (w0 + (w1-w0)*t) / 2
		left = append(left, pt{x - dy/n*w, y + dx/n*w})
		right = append(right, pt{x + dy/n*w, y - dx/n*w})
	}
	for i := len(right) - 1; i >= 0; i-- {
		left = append(left, right[i])
	}
	b.fill(left, c)
}
