package features_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
)

// stored are n different files in packs of seven, in an order that is not the packs'.
func stored(n int) []data.Item {
	items := make([]data.Item, n)
	for i := range items {
		items[i] = data.Item{Path: fmt.Sprint(i), Pack: fmt.Sprint("pack", i/7), Offset: int64(100 * (i % 7)), Length: 100}
		binary.LittleEndian.PutUint32(items[i].Hash[:], uint32(i*7919))
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { items[i], items[j] = items[j], items[i] })
	return items
}

func TestPart(t *testing.T) {
	for _, c := range []struct{ items, parts, views int }{
		{0, 1, 1}, {0, 3, 4}, {1, 1, 1}, {1, 4, 8}, {3, 4, 2}, {10, 4, 1}, {100, 1, 4}, {100, 4, 4}, {101, 7, 16}, {1000, 64, 3},
	} {
		t.Run(fmt.Sprintf("%d images, %d views, %d parts", c.items, c.views, c.parts), func(t *testing.T) {
			items := stored(c.items)
			views := slices.Repeat([]int{c.views}, c.items)
			seen := map[features.Want]int{}
			least, most := c.items, 0
			for index := range c.parts {
				part := features.Part(items, views, index, c.parts)
				if again := features.Part(items, views, index, c.parts); !slices.Equal(part, again) {
					t.Error("the same part is another the second time")
				}
				for i, w := range part {
					seen[w]++
					if i == 0 {
						continue
					}
					a, b := items[part[i-1].Item], items[w.Item]
					if a.Pack > b.Pack || a.Pack == b.Pack && a.Offset > b.Offset {
						t.Errorf("%s at %d is read before %s at %d", a.Pack, a.Offset, b.Pack, b.Offset)
					}
				}
				least, most = min(least, len(part)/c.views), max(most, len(part)/c.views)
			}
			if len(seen) != c.items*c.views {
				t.Errorf("%d rows in all", len(seen))
			}
			for w, times := range seen {
				if times != 1 || w.View >= c.views {
					t.Errorf("%+v is in %d parts", w, times)
				}
			}
			if most-least > 1 {
				t.Errorf("parts have %d to %d images", least, most)
			}
		})
	}
}

// The order of the list must not matter, as the user's corrections change it.
func TestPartsDependOnContents(t *testing.T) {
	items := stored(50)
	sorted := slices.Clone(items)
	slices.SortFunc(sorted, func(a, b data.Item) int { return slices.Compare(a.Hash[:], b.Hash[:]) })
	hashes := func(items []data.Item, index int) (out []data.Hash) {
		for _, w := range features.Part(items, slices.Repeat([]int{2}, len(items)), index, 3) {
			out = append(out, items[w.Item].Hash)
		}
		return out
	}
	for index := range 3 {
		if !slices.Equal(hashes(items, index), hashes(sorted, index)) {
			t.Errorf("part %d is another with another order", index)
		}
	}
}

// Photos that are not learned from have one view; the work is divided, not the photos.
func TestPartsOfUnequalViews(t *testing.T) {
	items := stored(120)
	views := make([]int, len(items))
	rows := 0
	for i := range items {
		views[i] = 8
		if items[i].Pack > "pack14" {
			views[i] = 1
		}
		rows += views[i]
	}
	for index := range 4 {
		if n := len(features.Part(items, views, index, 4)); n <= rows/4-16 || n >= rows/4+16 {
			t.Errorf("part %d has %d of %d rows", index, n, rows)
		}
	}
}

func TestPartsOfEqualFiles(t *testing.T) {
	items := stored(4)
	items = append(items, items[2], items[2])
	items[4].Class, items[5].Class = 1, 2
	count := map[data.Hash]int{}
	for index := range 3 {
		for _, w := range features.Part(items, []int{1, 1, 1, 1, 5, 2}, index, 3) {
			count[items[w.Item].Hash]++
		}
	}
	if len(count) != 4 || count[items[2].Hash] != 5 || count[items[0].Hash] != 1 {
		t.Errorf("views of each content: %v", count)
	}
}
