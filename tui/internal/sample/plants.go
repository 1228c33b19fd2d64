package sample

import "math"

// stem paints a stem from below the picture's edge to the plant, with leaves when the plant is large.
func (b *brush) stem(p pose, width float64, leaves int) {
	green := b.jitter(hsv(b.between(0.24, 0.33), b.between(0.45, 0.75), b.between(0.3, 0.55)), 0.1)
	foot := pt{p.x + b.near(0, p.size), p.y + p.size*b.between(2.5, 4)}
	mid := pt{p.x + b.near(0, 0.5*p.size), (p.y + foot.y) / 2}
	b.stroke(foot, mid, pt{p.x, p.y}, width*p.size*1.3, width*p.size, green)
	b.stroke(foot, mid, pt{p.x, p.y}, width*p.size*0.4, width*p.size*0.3, green.mix(rgb{1, 1, 1}, 0.18))
	for i := range leaves {
		side := float64(2*(i%2) - 1)
		at := pose{x: mid.x, y: mid.y + p.size*b.between(-0.4, 0.9), size: p.size, squash: 1}
		b.petal(at, -math.Pi/2+side*b.between(0.5, 1.1), 0, b.between(0.9, 1.5), b.between(0.25, 0.4), 0.9, b.jitter(green, 0.12))
	}
}

// ring paints petals around the centre, in random order of depth.
func (b *brush) ring(p pose, n int, from, length, width, tip float64, c rgb) {
	start := b.Float64() * math.Pi
	for _, i := range b.Perm(n) {
		angle := start + 2*math.Pi*(float64(i)+b.near(0, 0.13))/float64(n)
		b.petal(p, angle, from, b.near(length, 0.05*length), b.near(width, 0.1*width), tip, b.jitter(c, 0.07))
	}
}

// seeds paints a spiral of dots, as in the middle of composite flowers.
func (b *brush) seeds(p pose, radius float64, n int, c rgb) {
	for i := range n {
		t := math.Sqrt((float64(i) + 0.5) / float64(n))
		sin, cos := math.Sincos(float64(i) * 2.39996) // the golden angle
		q := p.at(pt{radius * t * cos, radius * t * sin})
		b.fill(square(q, p.size*radius*0.9/math.Sqrt(float64(n))), b.jitter(c, 0.22))
	}
}

func square(q pt, half float64) []pt {
	return []pt{{q.x - half, q.y}, {q.x, q.y - half}, {q.x + half, q.y}, {q.x, q.y + half}}
}

func daisy(b *brush, p pose) {
	b.stem(p, 0.09, b.IntN(2))
	petals := hsv(0.14, b.between(0, 0.08), b.between(0.88, 1))
	switch b.IntN(8) {
	case 0:
		petals = hsv(0.93, b.between(0.15, 0.4), 0.95) // pink
	case 1:
		petals = hsv(0.14, b.between(0.35, 0.7), 0.97) // yellow
	}
	n := 13 + b.IntN(10)
	if b.IntN(2) == 0 {
		b.ring(p, n, 0.2, 0.76, 0.26, 0.1, petals.times(0.86))
	}
	b.ring(p, n, 0.18, 0.8, b.between(0.2, 0.3), 0.15, petals)
	heart := hsv(b.between(0.11, 0.145), 0.85, b.between(0.8, 0.98))
	b.disc(p, pt{}, b.between(0.22, 0.32), heart)
	b.seeds(p, 0.24, 26, heart.times(0.85))
}

func sunflower(b *brush, p pose) {
	b.stem(p, 0.15, 1+b.IntN(2))
	petals := hsv(b.between(0.105, 0.15), b.between(0.75, 0.95), b.between(0.85, 1))
	switch b.IntN(7) {
	case 0:
		petals = hsv(b.between(0.03, 0.07), 0.85, b.between(0.6, 0.8)) // russet
	case 1:
		petals = hsv(0.15, b.between(0.25, 0.5), 0.98) // pale
	}
	n := 17 + b.IntN(10)
	b.ring(p, n, 0.3, 0.7, 0.3, 0.9, petals.times(0.82))
	b.ring(p, n, 0.3, 0.62, b.between(0.26, 0.36), 0.9, petals)
	heart := hsv(b.between(0.05, 0.1), b.between(0.5, 0.8), b.between(0.18, 0.42))
	radius := b.between(0.34, 0.5)
	b.disc(p, pt{}, radius, heart)
	b.seeds(p, radius*0.92, 60, heart.times(1.5))
	b.seeds(p, radius*0.45, 26, heart.times(0.7))
}

func poppy(b *brush, p pose) {
	b.stem(p, 0.05, 0)
	petals := hsv(b.near(0.01, 0.015), b.between(0.8, 0.95), b.between(0.75, 0.95))
	switch b.IntN(6) {
	case 0:
		petals = hsv(b.between(0.06, 0.12), 0.85, 0.97) // orange to yellow
	case 1:
		petals = hsv(0.95, b.between(0.1, 0.45), 0.95) // white to pink
	}
	wide := b.between(1.05, 1.35)
	n := 4 + b.IntN(2)
	b.ring(p, n, 0, 0.98, wide, 0, petals.times(0.84))
	b.ring(p, n, 0, 0.82, wide, 0, petals)
	if b.IntN(4) > 0 { // dark spots at the root
		b.ring(p, n, 0.06, 0.3, 0.8, 0, hsv(0.8, 0.4, 0.14))
	}
	b.disc(p, pt{}, b.between(0.12, 0.19), hsv(0.22, 0.4, b.between(0.3, 0.55)))
	for range 22 {
		sin, cos := math.Sincos(b.Float64() * 2 * math.Pi)
		d := b.between(0.2, 0.34)
		b.fill(square(p.at(pt{d * cos, d * sin}), p.size*0.025), hsv(0.75, 0.3, 0.15))
	}
}

func tulip(b *brush, p pose) {
	p.turn = b.near(0, 0.16)
	p.squash = 1
	green := b.jitter(hsv(b.between(0.27, 0.36), b.between(0.35, 0.6), b.between(0.35, 0.55)), 0.08)
	foot := pose{x: p.x + b.near(0, 0.2*p.size), y: p.y + 3.1*p.size, size: p.size, squash: 1}
	b.stroke(pt{foot.x, foot.y}, pt{p.x + b.near(0, 0.3*p.size), p.y + 1.6*p.size}, pt{p.x, p.y + 0.6*p.size}, 0.2*p.size, 0.15*p.size, green)
	for i := range 1 + b.IntN(3) {
		b.petal(foot, -math.Pi/2+float64(2*(i%2)-1)*b.between(0.15, 0.5), 0, b.between(1.6, 2.8), b.between(0.14, 0.2), 0.9, b.jitter(green, 0.12))
	}
	hue := []float64{0.99, 0.93, 0.13, 0.05, 0.82, 0.14}[b.IntN(6)]
	petals := hsv(b.near(hue, 0.015), b.between(0.5, 0.92), b.between(0.7, 0.98))
	if b.IntN(6) == 0 {
		petals = hsv(0.13, b.between(0.02, 0.15), 0.97) // white
	}
	cup := pose{x: p.x, y: p.y, size: p.size, turn: p.turn, squash: 1}
	open := b.between(0.1, 0.42)
	place := func(angle, length, width float64, c rgb) {
		root := cup
		sin, cos := math.Sincos(cup.turn)
		root.x, root.y = cup.x-sin*0.72*p.size, cup.y+cos*0.72*p.size
		b.petal(root, -math.Pi/2+angle, 0, length, width, 0.62, c)
	}
	for _, a := range []float64{-open * 0.6, open * 0.6, 0} {
		place(b.near(a, 0.04), 1.5, 0.62, b.jitter(petals.times(0.72), 0.05))
	}
	place(-open, 1.45, 0.6, b.jitter(petals.times(0.92), 0.06))
	place(open, 1.45, 0.6, b.jitter(petals.times(0.86), 0.06))
	place(b.near(0, 0.06), 1.32, 0.66, b.jitter(petals, 0.05))
}

func clover(b *brush, p pose) {
	b.stem(p, 0.05, 0)
	leaf := hsv(b.between(0.24, 0.36), b.between(0.5, 0.8), b.between(0.32, 0.62))
	if b.IntN(9) == 0 {
		leaf = hsv(b.between(0.93, 1), b.between(0.3, 0.5), b.between(0.3, 0.45)) // purple sorts
	}
	n := 3
	if b.IntN(10) == 0 {
		n = 4
	}
	start, pale := b.Float64()*2*math.Pi, b.between(0.1, 0.4)
	for i := range n {
		angle := start + 2*math.Pi*(float64(i)+b.near(0, 0.05))/float64(n)
		c := b.jitter(leaf, 0.1)
		b.petal(p, angle, 0.03, b.near(0.92, 0.05), b.between(1.05, 1.25), -1, c)
		sin, cos := math.Sincos(angle)
		b.stroke(p.at(pt{}), p.at(pt{0.4 * cos, 0.4 * sin}), p.at(pt{0.8 * cos, 0.8 * sin}), 0.03*p.size, 0.01*p.size, c.mix(rgb{1, 1, 0.9}, 0.3))
		chevron(b, p, angle, c.mix(rgb{0.95, 1, 0.9}, pale))
	}
}

// chevron paints the pale mark on a clover leaflet.
func chevron(b *brush, p pose, angle float64, c rgb) {
	sin, cos := math.Sincos(angle)
	at := func(along, across float64) pt { return p.at(pt{along*cos - across*sin, along*sin + across*cos}) }
	b.stroke(at(0.4, -0.26), at(0.66, 0), at(0.4, 0.26), 0.07*p.size, 0.07*p.size, c)
}
