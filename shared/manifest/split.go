package manifest

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/safe"
)

// SplitOptions says how to divide a dataset.
type SplitOptions struct {
	Seed       int64
	Validation float64 // share of images, 0…0.5
	Test       float64 // share of images, 0…0.5
}

const (
	smallSet        = 50  // images below which a test side would be too small to mean anything
	smallClass      = 8   // likewise of a class
	smallValidation = 0.2 // share that is validated on then
	minValidated    = 3   // images of a class from which on at least one is validated on
)

// Split decides for each image what it is used for, and says in sentences what a user may not expect. It depends on the
// seed, the shares and the images' contents and classes only, neither on their order nor on their names.
//
// Method: each near-duplicate group gets a number in [0,1) from the seed and the hash of its content, and each class is cut
// at two places of that scale, so a share is drawn from each class and a group is never divided. The places are the shares
// themselves, which would keep each image on its side for ever, moved as little as brings the counts to within half a
// standard deviation of the exact share. So adding images to a class moves none of the others, or the few next to a cut;
// adding a near-duplicate of an image may move its group. Groups of images of different classes are not kept together,
// and neither is a group that is over a quarter of its class, of which only images with equal difference hashes stay
// together.
//
// Sides that the user gave by folders are kept. When they have no validation side, it is taken from the training side; a
// missing test side stays missing. Each class has an image to train on, and from three images on one to validate on.
func Split(images []Image, opts SplitOptions) (sides []Side, notes []string) {
	s := splitter{images: images, opts: opts, sides: make([]Side, len(images))}
	for i, im := range images {
		if s.sides[i] = im.Split; im.Split != "" {
			s.given = true
		}
	}
	if s.given {
		s.useGiven()
	} else if len(images) < smallSet && opts.Test > 0 {
		s.opts.Validation, s.opts.Test = smallValidation, 0
		s.note("With only %d images, %.0f %% are used to validate and none are kept back to test: the accuracy shown is that of the validation images and somewhat flattering. Add images for an honest one.", len(images), smallValidation*100)
	}
	byClass := map[string][]int{}
	for i, im := range images {
		byClass[im.Class] = append(byClass[im.Class], i)
	}
	for _, class := range sortedKeys(byClass) {
		s.class(class, byClass[class])
	}
	if len(s.untested) > 0 {
		s.note("Fewer than %d images in %s: %.0f %% of them are used to validate and none to test, so the test accuracy says nothing about these classes.", smallClass, safe.Texts(s.untested, ", "), smallValidation*100)
	}
	if len(s.untrained) > 0 {
		s.note("The folders leave no image to train on for %s; the images of these classes were divided anew.", safe.Texts(s.untrained, ", "))
	}
	return s.sides, s.notes
}

type splitter struct {
	images    []Image
	opts      SplitOptions
	sides     []Side
	given     bool
	notes     []string
	untested  []string // classes too small for a test side
	untrained []string // classes whose given sides had to be ignored
}

func (s *splitter) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// useGiven frees the images that are to be divided although folders are given, and sets the shares to divide them by.
func (s *splitter) useGiven() {
	has := func(side Side) bool { return slices.Contains(s.sides, side) }
	if !has(Test) {
		s.note("The folders have no test images, so the accuracy shown is that of the validation images.")
	}
	s.opts.Test = 0
	if has(Validation) {
		s.opts.Validation = 0
		return
	}
	s.note("The folders have no validation images, so %.0f %% of the training images are used to validate.", s.opts.Validation*100)
	for i, side := range s.sides {
		if side == Train {
			s.sides[i] = ""
		}
	}
}

// group is images that stay together, and their place on the scale.
type group struct {
	place  float64
	id     string // breaks ties
	images []int
}

func (s *splitter) class(class string, members []int) {
	var free []int
	trained := false
	for _, i := range members {
		if s.sides[i] == "" {
			free = append(free, i)
		}
		trained = trained || s.sides[i] == Train
	}
	opts := s.opts
	switch {
	case !trained && len(free) == 0:
		s.untrained = append(s.untrained, class)
		free = members
		opts.Validation, opts.Test = smallValidation, 0
	case !s.given && opts.Test > 0 && len(members) < smallClass:
		s.untested = append(s.untested, class)
		opts.Validation, opts.Test = smallValidation, 0
	}
	if len(free) == 0 {
		return
	}
	groups := s.groups(free)
	test, val := cut(groups, len(free), opts)
	for k, g := range groups {
		side := Train
		switch {
		case k < test:
			side = Test
		case k < val:
			side = Validation
		}
		for _, i := range g.images {
			s.sides[i] = side
		}
	}
}

// groups gathers near-duplicates among the images of one class, in the order of their places.
func (s *splitter) groups(members []int) []group {
	part := make([]Image, len(members))
	for k, i := range members {
		part[k] = s.images[i]
	}
	gathered := map[string][]int{}
	for k, key := range nearKeys(part) {
		gathered[key] = append(gathered[key], members[k])
	}
	groups := make([]group, 0, len(gathered))
	for _, g := range gathered {
		id := s.images[g[0]].SHA256
		for _, i := range g {
			id = min(id, s.images[i].SHA256)
		}
		groups = append(groups, group{place: place(s.opts.Seed, id), id: id, images: g})
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.place, b.place), strings.Compare(a.id, b.id))
	})
	return groups
}

// nearKeys are equal for the images of a class that stay together.
func nearKeys(class []Image) []string {
	first := nearGroups(class)
	size := map[int]int{}
	for _, f := range first {
		size[f]++
	}
	keys := make([]string, len(class))
	for k, im := range class {
		keys[k] = fmt.Sprint(first[k])
		if n := size[first[k]]; n > 2 && n > len(class)/4 {
			keys[k] += " " + im.DHash
		}
	}
	return keys
}

// place maps content to [0,1), evenly and differently for each seed.
func place(seed int64, id string) float64 {
	b := binary.BigEndian.AppendUint64(nil, uint64(seed))
	sum := sha256.Sum256(append(b, id...))
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53)
}

// cut returns how many of the groups, from the first, are for testing, and how many for testing or validation. n is the
// number of images in them.
func cut(groups []group, n int, opts SplitOptions) (test, val int) {
	if opts.Test > 0 {
		test = boundary(groups, n, opts.Test)
	}
	val = test
	if opts.Validation > 0 {
		val = max(test, boundary(groups, n, opts.Test+opts.Validation))
		if val == test && n >= minValidated {
			val++
		}
	}
	// The last group is always for training; one short of it, validation goes before testing.
	val = min(val, len(groups)-1)
	if test >= val && test > 0 && opts.Validation > 0 {
		test = val - 1
	}
	return max(min(test, val), 0), max(val, 0)
}

// boundary returns how many groups, from the first, come closest to share of n images.
func boundary(groups []group, n int, share float64) int {
	exact := float64(n) * share
	slack := math.Floor(math.Sqrt(exact*(1-share)) / 2)
	want := 0.0
	for _, g := range groups {
		if g.place < share {
			want += float64(len(g.images))
		}
	}
	want = math.Max(math.Round(exact)-slack, math.Min(math.Round(exact)+slack, want))
	best, count := 0, 0.0
	off := want
	for k, g := range groups {
		count += float64(len(g.images))
		if d := math.Abs(count - want); d < off {
			best, off = k+1, d
		}
	}
	return best
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
