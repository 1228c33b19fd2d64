package features

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/cultivar-ml/cultivar/trainer/internal/data"
)

// Part lists the rows that one of several passes computes which together fill a cache: parts of them, numbered from
// index 0. Of item i the first views[i] views are wanted; of equal files, which have equal rows, only one is listed, with
// the most views any of them wants.
//
// The items are taken in the order in which their bytes lie in the packs and cut into runs, so that each pass reads its
// packs from front to back: on a network volume that is what is fast. The runs differ by fewer rows than two items have;
// where all items have as many views, by at most one item. They depend on the contents and views only.
func Part(items []data.Item, views []int, index, parts int) []Want {
	most := make(map[data.Hash]int, len(items)) // views of each content
	var order []int
	rows := 0
	for i, item := range items {
		before, known := most[item.Hash]
		if !known {
			order = append(order, i)
		}
		if views[i] > before {
			most[item.Hash] = views[i]
			rows += views[i] - before
		}
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := items[i], items[j]
		return cmp.Or(cmp.Compare(a.Pack, b.Pack), cmp.Compare(a.Offset, b.Offset), bytes.Compare(a.Hash[:], b.Hash[:]))
	})
	var wants []Want
	before := 0 // rows of the items that come earlier
	for _, i := range order {
		n := most[items[i].Hash]
		if n > 0 && before*parts/rows == index {
			for v := range n {
				wants = append(wants, Want{Item: i, View: v})
			}
		}
		before += n
	}
	return wants
}
