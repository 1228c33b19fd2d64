package manifest

import (
	"fmt"
	"slices"
	"strings"
)

const imbalanceFactor = 5 // largest class over smallest from which on it is told

// classCounts returns the classes with their numbers of images, in the order of m.Classes.
func (m *Manifest) classCounts() []ClassCount {
	n := map[string]int{}
	for _, im := range m.Images {
		n[im.Class]++
	}
	counts := make([]ClassCount, 0, len(n))
	for _, c := range sortedKeys(n) {
		counts = append(counts, ClassCount{c, n[c]})
	}
	return counts
}

// Trainable says in a sentence why m cannot be trained on, or nothing if it can.
func (m *Manifest) Trainable() string {
	for _, p := range m.Problems {
		if p.Reason == TooMany {
			return p.Text
		}
	}
	counts := m.classCounts()
	switch {
	case len(counts) == 0:
		return "There is no usable image. Make a folder for each class, with at least " + fmt.Sprint(MinPerClass) + " photos in it."
	case len(counts) < MinClasses:
		return oneClass(counts[0])
	case len(counts) > MaxClasses:
		return tooManyClasses(len(counts))
	}
	for _, c := range counts {
		if c.Images == 1 {
			return fewImages(c)
		}
	}
	return ""
}

func oneClass(c ClassCount) string {
	return fmt.Sprintf("Only one class has usable images: %s. A classifier tells at least two things apart; add a folder with photos of another, even if it is \"other\".", printable(c.Class))
}

func tooManyClasses(n int) string {
	return fmt.Sprintf("There are %d classes; at most %d are possible. Merge some folders, or choose a folder with fewer.", n, MaxClasses)
}

func fewImages(c ClassCount) string {
	if c.Images == 1 {
		return fmt.Sprintf("Class %s has a single usable image, which cannot be both learned from and checked. Add at least %d more, or delete its folder.", printable(c.Class), MinPerClass-1)
	}
	return fmt.Sprintf("Class %s has only %d usable images. It is trained, but expect mistakes; add at least %d more, better 50.", printable(c.Class), c.Images, MinPerClass-c.Images)
}

// classProblems tells what is wrong with the classes of m, which was made of this layout.
func (l *layout) classProblems(m *Manifest) []Problem {
	var out []Problem
	add := func(severity Severity, reason Reason, class, format string, args ...any) {
		out = append(out, Problem{Severity: severity, Reason: reason, Class: class, Text: fmt.Sprintf(format, args...)})
	}
	if l.sides {
		add(Info, SplitFolders, "", "The folders for training, validation and testing were found and are used as the split.")
	}
	if len(l.classes) == 0 {
		add(Error, NoClasses, "", "There is no class folder. Make one folder for each class, named as the class, and put its photos in it: cats/, dogs/, …")
		return out
	}
	for _, class := range sortedKeys(l.classes) {
		if !slices.Contains(m.Classes, class) {
			add(Warning, EmptyClass, class, "The folder %s has no usable image, so there will be no such class. Add photos to it, or delete it.", printable(class))
		}
	}
	out = append(out, sameButCase(m.Classes)...)
	counts := m.classCounts()
	switch {
	case len(counts) == 0:
		add(Error, NoClasses, "", "No class folder has a usable image. Add photos (JPEG, PNG, GIF, BMP or WebP) to the folders.")
		return out
	case len(counts) < MinClasses:
		add(Error, OneClass, counts[0].Class, "%s", oneClass(counts[0]))
	case len(counts) > MaxClasses:
		add(Error, TooMany, "", "%s", tooManyClasses(len(counts)))
	}
	smallest, largest := counts[0], counts[0]
	for _, c := range counts {
		if c.Images < smallest.Images {
			smallest = c
		}
		if c.Images > largest.Images {
			largest = c
		}
		switch {
		case c.Images == 1:
			add(Error, FewImages, c.Class, "%s", fewImages(c))
		case c.Images < MinPerClass:
			add(Warning, FewImages, c.Class, "%s", fewImages(c))
		}
	}
	if largest.Images > imbalanceFactor*smallest.Images {
		add(Warning, Imbalance, smallest.Class, "Class %s has %d images and class %s only %d. Rare classes are made to count more in training, but photos help better: add some to %s.",
			printable(largest.Class), largest.Images, printable(smallest.Class), smallest.Images, printable(smallest.Class))
	}
	return out
}

// sameButCase tells classes that differ only in upper and lower case, which is mostly one class by mistake.
func sameButCase(classes []string) []Problem {
	var out []Problem
	first := map[string]string{}
	for _, c := range classes {
		folded := strings.ToLower(c)
		if other, ok := first[folded]; ok {
			out = append(out, Problem{Severity: Warning, Reason: BadName, Class: c, Related: []string{other},
				Text: fmt.Sprintf("The classes %s and %s differ only in upper and lower case. They are used as two; if they are one, merge the folders.", printable(other), printable(c))})
			continue
		}
		first[folded] = c
	}
	return out
}
