package manifest_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/manifest"
)

func TestFolds(t *testing.T) {
	images := set(map[string]int{"a": 100, "b": 31, "c": 5})
	folds := manifest.Folds(images, 3, 1)
	for class, most := range map[string]int{"a": 34, "b": 11, "c": 2} {
		count := make([]int, 3)
		for i, im := range images {
			if im.Class == class {
				count[folds[i]]++
			}
		}
		if slices.Max(count) > most || slices.Min(count) < most-1 {
			t.Errorf("class %s is dealt %v", class, count)
		}
	}
	if again := manifest.Folds(images, 3, 2); slices.Equal(again, folds) {
		t.Error("another seed gives the same folds")
	}
	slices.Reverse(images)
	turned := manifest.Folds(images, 3, 1)
	slices.Reverse(turned)
	if !slices.Equal(turned, folds) {
		t.Error("the order of the images matters")
	}
}

func TestFoldsKeepNearDuplicatesTogether(t *testing.T) {
	images := set(map[string]int{"a": 200, "b": 200})
	for i := range images { // fours in a chain of distances 1, across the classes
		group := i / 2 % 100
		images[i].DHash = fmt.Sprintf("%016x", uint64(group+1)*0x9e3779b97f4a7c15^(1<<(i%2)-1)^(4*uint64(i/200)))
	}
	first := map[int]int{}
	folds := manifest.Folds(images, 3, 1)
	for i := range images {
		group := i / 2 % 100
		if _, met := first[group]; !met {
			first[group] = i
		}
		if folds[i] != folds[first[group]] {
			t.Fatalf("near-duplicates %d and %d are in the folds %d and %d", first[group], i, folds[first[group]], folds[i])
		}
	}
	for i := range images { // all alike
		images[i].DHash = "0123456789abcdef"
	}
	images[7].SHA256, images[8].SHA256, images[390].SHA256 = images[3].SHA256, images[3].SHA256, images[3].SHA256
	folds = manifest.Folds(images, 3, 1)
	count := make([]int, 3)
	for _, fold := range folds {
		count[fold]++
	}
	if slices.Min(count) < 100 {
		t.Errorf("images that are all alike are dealt %v", count)
	}
	if folds[7] != folds[3] || folds[8] != folds[3] || folds[390] != folds[3] {
		t.Errorf("equal files are in the folds %d, %d, %d and %d", folds[3], folds[7], folds[8], folds[390])
	}
}
