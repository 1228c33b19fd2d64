package sample

import (
	"image"
	"math"
	"math/rand/v2"
)

// The sides of pictures, pixels: as varied as photos are.
var sides = [][2]int{{288, 288}, {320, 240}, {240, 320}, {300, 256}, {256, 300}}

// scene draws a picture of a class: a blurred garden, maybe other plants far behind, the plant, grass before it, and
// then light, lens and sensor.
func scene(r *rand.Rand, class int) *image.RGBA {
	side := sides[r.IntN(len(sides))]
	img := image.NewRGBA(image.Rect(0, 0, side[0], side[1]))
	b := newBrush(r, img)
	short := float64(min(side[0], side[1]))
	b.ground()
	b.clutter(short)
	if b.IntN(3) == 0 { // another plant, far behind
		other := (class + 1 + b.IntN(len(plants)-1)) % len(plants)
		plants[other].draw(b, b.pose(short*b.between(0.05, 0.1)))
	}
	blur(img, 1+b.IntN(3))
	for range []int{1, 1, 1, 2, 2, 3}[b.IntN(6)] {
		plants[class].draw(b, b.pose(short*math.Exp(b.between(math.Log(0.11), math.Log(0.4)))))
	}
	b.grass(b.IntN(9), short)
	if b.IntN(5) < 2 {
		blur(img, 1)
	}
	b.expose()
	return img
}

// pose places a plant somewhere in the picture, mostly inside.
func (b *brush) pose(size float64) pose {
	w, h := float64(b.img.Rect.Dx()), float64(b.img.Rect.Dy())
	return pose{
		x: w * b.between(0.2, 0.8), y: h * b.between(0.2, 0.68), size: size, turn: b.Float64() * 2 * math.Pi,
		squash: b.between(0.45, 1), tilt: b.near(0, 0.5),
	}
}

// ground paints grass, soil, sky or a wall: a slope between two colours with cloudy noise.
func (b *brush) ground() {
	grounds := [][2]rgb{
		{hsv(0.27, 0.5, 0.5), hsv(0.3, 0.6, 0.22)}, {hsv(0.22, 0.45, 0.6), hsv(0.28, 0.55, 0.35)},
		{hsv(0.58, 0.3, 0.9), hsv(0.27, 0.5, 0.4)}, {hsv(0.08, 0.4, 0.5), hsv(0.07, 0.5, 0.25)},
		{hsv(0.1, 0.12, 0.75), hsv(0.3, 0.4, 0.35)}, {hsv(0.13, 0.35, 0.7), hsv(0.25, 0.5, 0.4)},
	}
	pick := grounds[b.IntN(len(grounds))]
	top, bottom := b.jitter(pick[0], 0.15), b.jitter(pick[1], 0.15)
	w, h := b.img.Rect.Dx(), b.img.Rect.Dy()
	coarse, fine := b.noise(w, h, 5), b.noise(w, h, 17)
	for y := range h {
		for x := range w {
			i := y*w + x
			c := top.mix(bottom, float64(y)/float64(h)+0.5*coarse[i]).times(1 + 0.5*fine[i])
			b.img.SetRGBA(x, y, c.color())
		}
	}
}

// noise returns smooth noise around 0 with so many hills across.
func (b *brush) noise(w, h, hills int) []float64 {
	grid := make([]float64, (hills+2)*(hills+2))
	for i := range grid {
		grid[i] = b.Float64() - 0.5
	}
	out := make([]float64, w*h)
	for y := range h {
		gy := float64(y) / float64(h) * float64(hills)
		ty := smooth(gy - math.Floor(gy))
		for x := range w {
			gx := float64(x) / float64(w) * float64(hills)
			tx := smooth(gx - math.Floor(gx))
			at := int(gy)*(hills+2) + int(gx)
			above := grid[at] + (grid[at+1]-grid[at])*tx
			below := grid[at+hills+2] + (grid[at+hills+3]-grid[at+hills+2])*tx
			out[y*w+x] = above + (below-above)*ty
		}
	}
	return out
}

func smooth(t float64) float64 { return t * t * (3 - 2*t) }

// clutter paints leaves, blades and spots of light of every colour, which tell nothing about the class.
func (b *brush) clutter(short float64) {
	for range 10 + b.IntN(50) {
		p := b.pose(short * b.between(0.04, 0.18))
		p.y = float64(b.img.Rect.Dy()) * b.Float64()
		green := b.jitter(hsv(b.between(0.2, 0.38), b.between(0.3, 0.7), b.between(0.2, 0.6)), 0.15)
		b.petal(p, 0, -0.5, 1, b.between(0.15, 0.6), b.Float64(), green)
	}
	for range b.IntN(10) {
		p := b.pose(short * b.between(0.01, 0.06))
		b.disc(p, pt{}, 1, hsv(b.Float64(), b.between(0.1, 0.8), b.between(0.5, 1)))
	}
	b.grass(20+b.IntN(50), short)
}

// grass paints blades that grow from the lower edge.
func (b *brush) grass(n int, short float64) {
	w, h := float64(b.img.Rect.Dx()), float64(b.img.Rect.Dy())
	for range n {
		foot := pt{w * b.Float64(), h * b.between(0.9, 1.1)}
		tip := pt{foot.x + b.near(0, 0.25*short), foot.y - short*b.between(0.2, 0.75)}
		mid := pt{foot.x + b.near(0, 0.05*short), (foot.y + tip.y) / 2}
		green := b.jitter(hsv(b.between(0.18, 0.34), b.between(0.35, 0.75), b.between(0.25, 0.6)), 0.15)
		b.stroke(foot, mid, tip, short*b.between(0.008, 0.025), 0.5, green)
	}
}

// expose applies the light of the day, the lens's dark corners, and the sensor's colour cast and noise.
func (b *brush) expose() {
	w, h := b.img.Rect.Dx(), b.img.Rect.Dy()
	sin, cos := math.Sincos(b.Float64() * 2 * math.Pi)
	slope, dark := b.between(0, 0.45), b.between(0, 0.5)
	gain := b.near(1, 0.16)
	cast := rgb{b.near(1, 0.06), b.near(1, 0.03), b.near(1, 0.08)}.times(gain)
	grain := b.between(2, 13)
	haze := max(0, b.between(-0.15, 0.22))
	for y := range h {
		v := 2*float64(y)/float64(h) - 1
		for x := range w {
			u := 2*float64(x)/float64(w) - 1
			light := (1 + slope*(u*cos+v*sin)) * (1 - dark*0.5*(u*u+v*v)*0.5)
			noise := grain * (b.Float64() + b.Float64() - 1) * 1.6
			px := b.img.Pix[b.img.PixOffset(x, y):]
			for i, k := range [3]float64{cast.r, cast.g, cast.b} {
				value := float64(px[i])*light*k*(1-haze) + 225*haze + noise
				px[i] = uint8(min(255, max(0, value)))
			}
		}
	}
}

// blur is a box filter of 2·radius+1, twice: close to what a lens does.
func blur(img *image.RGBA, radius int) {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	line := make([]uint8, 4*max(w, h))
	for range 2 {
		for y := range h {
			boxLine(img.Pix[y*img.Stride:], 4, w, radius, line)
		}
		for x := range w {
			boxLine(img.Pix[4*x:], img.Stride, h, radius, line)
		}
	}
}

// boxLine filters n pixels that stand step bytes apart; the edges repeat.
func boxLine(pix []uint8, step, n, radius int, line []uint8) {
	for i := range n {
		copy(line[4*i:4*i+4], pix[i*step:i*step+4])
	}
	clamp := func(i int) int { return 4 * min(n-1, max(0, i)) }
	width := 2*radius + 1
	for ch := range 3 {
		sum := 0
		for i := -radius; i <= radius; i++ {
			sum += int(line[clamp(i)+ch])
		}
		for i := range n {
			pix[i*step+ch] = uint8(sum / width)
			sum += int(line[clamp(i+radius+1)+ch]) - int(line[clamp(i-radius)+ch])
		}
	}
}
