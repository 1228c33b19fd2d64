package manifest

import (
	"math/bits"
	"slices"
	"strconv"
)

// nearDistance is the Hamming distance of two difference hashes up to which photos count as near-duplicates: recompressed,
// resized or neighbouring frames. Larger distances also catch different photos of one set-up.
const nearDistance = 2

// nearPairs calls pair for each two images whose difference hashes are at most nearDistance apart, with i < j. Images
// without a hash are near to none. Images of equal hashes are chained, not paired each with each.
//
// Of four 16-bit quarters, two distances of 1 leave two quarters untouched (pigeonhole), so all pairs are found by sorting
// by each of the six pairs of quarters and comparing within runs that agree in 32 bits.
func nearPairs(images []Image, pair func(i, j int)) {
	type hashed struct {
		hash  uint64
		index int
	}
	var all []hashed
	for i, im := range images {
		if h, err := strconv.ParseUint(im.DHash, 16, 64); err == nil && im.DHash != "" {
			all = append(all, hashed{h, i})
		}
	}
	byHash := func(mask uint64) func(a, b hashed) int {
		return func(a, b hashed) int {
			switch x, y := a.hash&mask, b.hash&mask; {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return a.index - b.index
		}
	}
	slices.SortFunc(all, byHash(^uint64(0)))
	unique := all[:0:0]
	for k, h := range all {
		if k > 0 && h.hash == all[k-1].hash {
			pair(all[k-1].index, h.index)
			continue
		}
		unique = append(unique, h)
	}
	for _, mask := range quarterPairs() {
		slices.SortFunc(unique, byHash(mask))
		for i, a := range unique {
			for _, b := range unique[i+1:] {
				if a.hash&mask != b.hash&mask {
					break
				}
				if bits.OnesCount64(a.hash^b.hash) <= nearDistance {
					pair(min(a.index, b.index), max(a.index, b.index))
				}
			}
		}
	}
}

func quarterPairs() []uint64 {
	var masks []uint64
	for a := range 4 {
		for b := a + 1; b < 4; b++ {
			masks = append(masks, 0xffff<<(16*a)|0xffff<<(16*b))
		}
	}
	return masks
}

// nearGroups returns, for each image, the index of the first image of its near-duplicate group, which is itself for most.
// Groups are closed: near to near is in one group.
func nearGroups(images []Image) []int {
	parent := make([]int, len(images))
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	nearPairs(images, func(i, j int) {
		a, b := find(i), find(j)
		parent[max(a, b)] = min(a, b) // the root is always the first of its group
	})
	for i := range parent {
		parent[i] = find(i)
	}
	return parent
}
