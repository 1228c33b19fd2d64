package manifest

import "slices"

// SplitAfter is Split for a dataset that has grown since it was divided before: images that lines name keep the side they
// had, so that what was learned from is never measured on. A near-duplicate of one of them goes to its side; everything else
// is divided as Split does, and so is a class of which nothing would be left to train on. Sides that the user gave by folders
// are kept all the same.
func SplitAfter(images []Image, opts SplitOptions, lines []SplitLine) (sides []Side, notes []string) {
	sides, notes = Split(images, opts)
	before := make(map[string]Side, len(lines))
	for _, l := range lines {
		before[l.SHA256] = l.Split
	}
	byClass := map[string][]int{}
	for i, im := range images {
		byClass[im.Class] = append(byClass[im.Class], i)
	}
	for _, members := range byClass {
		now := keptSides(images, sides, members, before)
		if !slices.Contains(now, Train) {
			continue
		}
		for k, i := range members {
			sides[i] = now[k]
		}
	}
	return sides, notes
}

// keptSides are the sides of the images of one class when those that had one before keep it. Of the images of a group that had
// one, that with the smallest hash decides for the new ones.
func keptSides(images []Image, sides []Side, members []int, before map[string]Side) []Side {
	part := make([]Image, len(members))
	for k, i := range members {
		part[k] = images[i]
	}
	keys := nearKeys(part)
	leader := map[string]string{}
	for k, im := range part {
		if l, ok := leader[keys[k]]; before[im.SHA256] != "" && (!ok || im.SHA256 < l) {
			leader[keys[k]] = im.SHA256
		}
	}
	out := make([]Side, len(members))
	for k, im := range part {
		out[k] = sides[members[k]]
		switch {
		case im.Split != "":
		case before[im.SHA256] != "":
			out[k] = before[im.SHA256]
		case leader[keys[k]] != "":
			out[k] = before[leader[keys[k]]]
		}
	}
	return out
}
