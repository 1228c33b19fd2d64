package manifest

import (
	"cmp"
	"slices"
)

// Folds deals images to n folds, numbered from 0, for cross-validation: of each class about as many to every fold, equal
// files and near-duplicates, also those of different classes, to the same one. Only of a near-duplicate group larger
// than a quarter of a fold, as drawings and empty backgrounds make, just the equal files stay together. The folds depend
// on the seed and the images' contents and classes, neither on their order nor on their names.
func Folds(images []Image, n int, seed int64) []int {
	first := nearGroups(images)
	size := map[int]int{}
	for _, f := range first {
		size[f]++
	}
	gathered := map[string][]int{}
	for i, im := range images {
		key := im.SHA256
		if size[first[i]] <= max(2, len(images)/(4*n)) {
			key = images[first[i]].SHA256
		}
		gathered[key] = append(gathered[key], i)
	}
	type dealt struct {
		class string
		group
	}
	var groups []dealt
	for _, members := range gathered {
		least := members[0]
		for _, i := range members {
			if cmp.Or(cmp.Compare(images[i].SHA256, images[least].SHA256), cmp.Compare(images[i].Class, images[least].Class)) < 0 {
				least = i
			}
		}
		id := images[least].SHA256
		groups = append(groups, dealt{images[least].Class, group{place: place(seed, id), id: id, images: members}})
	}
	slices.SortFunc(groups, func(a, b dealt) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.place, b.place), cmp.Compare(a.id, b.id))
	})
	folds := make([]int, len(images))
	for k, g := range groups {
		for _, i := range g.images {
			folds[i] = k % n
		}
	}
	return folds
}
