package manifest_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// lines are split.jsonl of a dataset.
func lines(images []manifest.Image, sides []manifest.Side) []manifest.SplitLine {
	var out []manifest.SplitLine
	for i, im := range images {
		out = append(out, manifest.SplitLine{SHA256: im.SHA256, Path: im.Path, Split: sides[i]})
	}
	return out
}

// TestSplitAfter: of a dataset that grew, every image keeps its side, whatever the seed and the shares are now; what is new is
// divided by the shares, a new class as well.
func TestSplitAfter(t *testing.T) {
	old := set(map[string]int{"a": 300, "b": 100})
	before, _ := manifest.Split(old, usual)
	more := set(map[string]int{"a": 600, "b": 110, "c": 100})
	for name, change := range map[string]func(*manifest.SplitOptions){
		"the same":     func(*manifest.SplitOptions) {},
		"another seed": func(o *manifest.SplitOptions) { o.Seed = 5 },
		"other shares": func(o *manifest.SplitOptions) { o.Validation, o.Test = 0.3, 0.05 },
	} {
		t.Run(name, func(t *testing.T) {
			opts := usual
			change(&opts)
			shuffled := slices.Clone(more)
			slices.Reverse(shuffled)
			sides, _ := manifest.SplitAfter(shuffled, opts, lines(old, before))
			side := map[string]manifest.Side{}
			for i, im := range shuffled {
				side[im.SHA256] = sides[i]
			}
			for i, im := range old {
				if side[im.SHA256] != before[i] {
					t.Fatalf("%s was on side %s and is on %s", im.Path, before[i], side[im.SHA256])
				}
			}
			if n := tally(shuffled, sides, "c"); n[manifest.Train] < 50 || n[manifest.Validation] < 5 {
				t.Errorf("the new class: %v", n)
			}
			if n := tally(shuffled, sides, "a"); n[manifest.Train] < 350 || n[manifest.Train] > 470 {
				t.Errorf("a class twice as large: %v", n)
			}
			if plain, _ := manifest.Split(shuffled, opts); slices.Equal(plain, sides) {
				t.Error("Split alone would have kept every side: this checks nothing")
			}
		})
	}
}

// TestSplitAfterKeepsGroups: a new image that looks like an old one goes where that is, unless the whole class looks alike.
func TestSplitAfterKeepsGroups(t *testing.T) {
	all := set(map[string]int{"a": 400})
	for i := range all { // the second half repeats the first, one bit off
		all[i].DHash = fmt.Sprintf("%016x", uint64(i%200+1)*0x9e3779b97f4a7c15^uint64(i/200))
	}
	before, _ := manifest.Split(all[:200], usual)
	opts := usual
	opts.Seed = 9
	sides, _ := manifest.SplitAfter(all, opts, lines(all[:200], before))
	for i := range 200 {
		if sides[i] != before[i] || sides[i+200] != before[i] {
			t.Fatalf("image %d was on side %s and is on %s, what looks like it on %s", i, before[i], sides[i], sides[i+200])
		}
	}
	for i := range all {
		all[i].DHash = "0123456789abcdef"
		if i >= 200 {
			all[i].DHash = "0123456789abcdee"
		}
	}
	sides, _ = manifest.SplitAfter(all, opts, lines(all[:200], before))
	if plain, _ := manifest.Split(all, opts); !slices.Equal(sides[200:], plain[200:]) {
		t.Error("of a class that looks alike the old ones draw the new ones to their side")
	}
}

// TestSplitAfterLeavesSomethingToLearn: where the images learned from were removed, the class is divided anew; sides that the
// user's folders give stay.
func TestSplitAfterLeavesSomethingToLearn(t *testing.T) {
	images := set(map[string]int{"a": 100, "b": 100})
	before, _ := manifest.Split(images, usual)
	var left []manifest.Image
	for i, im := range images {
		if im.Class == "b" || before[i] != manifest.Train {
			left = append(left, im)
		}
	}
	sides, _ := manifest.SplitAfter(left, usual, lines(images, before))
	if n := tally(left, sides, "a"); n[manifest.Train] == 0 {
		t.Errorf("a class without its training images: %v", n)
	}
	for i := range images {
		images[i].Split = []manifest.Side{manifest.Train, manifest.Validation, manifest.Test}[i%3]
	}
	if sides, _ = manifest.SplitAfter(images, usual, lines(images, before)); sides[0] != manifest.Train || sides[1] != manifest.Validation || sides[2] != manifest.Test {
		t.Errorf("the user's own sides became %v", sides[:3])
	}
}
