package data

import (
	"cmp"
	"slices"

	"github.com/cultivar-ml/cultivar/shared/manifest"
)

// group is all problems of one reason.
type group struct {
	severity manifest.Severity
	reason   manifest.Reason
	problems []manifest.Problem
}

// groupProblems orders problems by severity and then by how many there are.
func groupProblems(all []manifest.Problem) []group {
	var out []group
	at := map[manifest.Reason]int{}
	for _, p := range all {
		i, ok := at[p.Reason]
		if !ok {
			i = len(out)
			at[p.Reason] = i
			out = append(out, group{severity: p.Severity, reason: p.Reason})
		}
		if rank(p.Severity) < rank(out[i].severity) {
			out[i].severity = p.Severity
		}
		out[i].problems = append(out[i].problems, p)
	}
	slices.SortStableFunc(out, func(a, b group) int {
		return cmp.Or(cmp.Compare(rank(a.severity), rank(b.severity)), cmp.Compare(len(b.problems), len(a.problems)))
	})
	return out
}

func rank(s manifest.Severity) int {
	switch s {
	case manifest.Error:
		return 0
	case manifest.Warning:
		return 1
	}
	return 2
}

// titles say what a group of problems is, for one and for many, and what happens when nothing is done.
var titles = map[manifest.Reason][3]string{
	manifest.NotAnImage:     {"file is not an image", "files are not images", "left out"},
	manifest.Unsupported:    {"image is of a format that cannot be used", "images are of formats that cannot be used", "left out"},
	manifest.Empty:          {"file is empty", "files are empty", "left out"},
	manifest.Damaged:        {"image is damaged", "images are damaged", "left out"},
	manifest.TooManyPixels:  {"image has too many pixels", "images have too many pixels", "left out"},
	manifest.TooLarge:       {"file is too large", "files are too large", "left out"},
	manifest.TooSmall:       {"image is very small", "images are very small", "used"},
	manifest.WrongExtension: {"file has the wrong ending", "files have the wrong ending", "used for what they are"},
	manifest.Rotated:        {"photo is stored turned", "photos are stored turned", "turned upright"},
	manifest.Animated:       {"image is animated", "images are animated", "first frame used"},
	manifest.DuplicateIn:    {"photo is there twice", "photos are there twice", "used once"},
	manifest.DuplicateLeak:  {"photo is in two classes", "photos are in two classes", "x leaves one out"},
	manifest.NearDuplicate:  {"photo is nearly the same as another", "photos are nearly the same as others", "kept on one side of the split"},
	manifest.Hidden:         {"hidden file", "hidden files", "left out"},
	manifest.Stray:          {"file is in no class folder", "files are in no class folder", "left out"},
	manifest.Link:           {"link", "links", "left out"},
	manifest.Unreadable:     {"file cannot be opened", "files cannot be opened", "left out"},
	manifest.FewImages:      {"class has few photos", "classes have few photos", "add more"},
	manifest.EmptyClass:     {"class is empty", "classes are empty", "left out"},
	manifest.Imbalance:      {"imbalance between classes", "imbalances between classes", "rare classes count more"},
	manifest.NoClasses:      {"no class folders", "no class folders", "cannot be trained"},
	manifest.OneClass:       {"only one class", "only one class", "cannot be trained"},
	manifest.SplitFolders:   {"split folder found", "split folders found", "used as they are"},
	manifest.BadName:        {"name cannot be used", "names cannot be used", "left out"},
	manifest.TooMany:        {"limit passed", "limits passed", "left out"},
}

func (g group) title() (what, then string) {
	t, ok := titles[g.reason]
	if !ok {
		return string(g.reason), ""
	}
	if len(g.problems) == 1 {
		return t[0], t[2]
	}
	return t[1], t[2]
}
