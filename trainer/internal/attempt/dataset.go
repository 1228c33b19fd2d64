package attempt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/safe"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
)

// dataset is what a task works on, after the user's edits.
type dataset struct {
	labels []string
	images []manifest.Image
	items  []data.Item // in the images' order
	sides  []manifest.Side
}

// openDataset reads the manifest, applies the edits and checks that there is something to train on.
func openDataset(d runspec.Dataset) (dataset, []string, error) {
	f, err := os.Open(d.Manifest)
	if err != nil {
		return dataset{}, nil, fail(runspec.ExitBadData, "the dataset's manifest cannot be opened (%v); upload the dataset again", err)
	}
	defer f.Close()
	m, err := manifest.Decode(f)
	if err != nil {
		return dataset{}, nil, fail(runspec.ExitBadData, "the dataset's manifest is damaged (%v); upload the dataset again", err)
	}
	if d.Digest != "" && manifest.Digest(m.Images) != d.Digest {
		return dataset{}, nil, fail(runspec.ExitBadData, "the dataset's manifest is not the one that was uploaded; upload the dataset again")
	}
	var s dataset
	s.images = edit(m.Images, d)
	var notes []string
	s.labels, notes = labels(d.Classes, s.images)
	if err := s.check(); err != nil {
		return dataset{}, nil, err
	}
	for _, image := range s.images {
		class := slices.Index(s.labels, image.Class)
		if class < 0 {
			return dataset{}, nil, fail(runspec.ExitBadSpec, "the image %q is in class %q, which the spec does not name", image.Path, image.Class)
		}
		item, err := data.FromManifest(image, class)
		if err != nil {
			return dataset{}, nil, fail(runspec.ExitBadData, "%v; upload the dataset again", err)
		}
		s.items = append(s.items, item)
	}
	return s, notes, nil
}

// edit leaves out what the user excluded and corrects classes.
func edit(images []manifest.Image, d runspec.Dataset) []manifest.Image {
	class := make(map[string]string, len(d.Relabel))
	for _, e := range d.Relabel {
		class[e.SHA256] = e.Class
	}
	excluded := make(map[string]bool, len(d.Exclude))
	for _, hash := range d.Exclude {
		excluded[hash] = true
	}
	var kept []manifest.Image
	for _, image := range images {
		if excluded[image.SHA256] {
			continue
		}
		if corrected, ok := class[image.SHA256]; ok {
			image.Class = corrected
		}
		kept = append(kept, image)
	}
	return kept
}

// labels is the label order: the given one without classes that have no image.
func labels(given []string, images []manifest.Image) (names, notes []string) {
	count := map[string]int{}
	for _, image := range images {
		count[image.Class]++
	}
	if len(given) == 0 {
		for class := range count {
			given = append(given, class)
		}
		slices.Sort(given)
	}
	for _, class := range given {
		switch n := count[class]; {
		case n == 0:
			notes = append(notes, fmt.Sprintf("The class %s has no image left and is left out.", safe.Text(class)))
			continue
		case n < manifest.MinPerClass:
			notes = append(notes, fmt.Sprintf("The class %s has only %d images; with so few it will often be confused with others. Add more photos of it.", safe.Text(class), n))
		}
		names = append(names, class)
	}
	return names, notes
}

// check refuses what cannot be trained.
func (s dataset) check() error {
	if len(s.images) == 0 {
		return fail(runspec.ExitNoImages, "there is no image to train on; add photos, in one folder per class")
	}
	if len(s.labels) < manifest.MinClasses {
		return fail(runspec.ExitOneClass, "all images are in one class, %s; a classifier needs at least two to tell apart", safe.Texts(s.labels, ", "))
	}
	count := map[string]int{}
	for _, image := range s.images {
		count[image.Class]++
	}
	var single []string
	for _, label := range s.labels {
		if count[label] < 2 {
			single = append(single, label)
		}
	}
	if len(single) > 0 {
		return fail(runspec.ExitTooFew, "only one image in %s: one is learned from and another is needed to check; add photos or leave the class out", safe.Texts(single, ", "))
	}
	return nil
}

// digest identifies what a checkpoint belongs to: the data, the edits and the recipe, but no path.
func digest(spec runspec.Spec) (string, error) {
	d := spec.Dataset
	d.Manifest = ""
	text, err := json.Marshal(struct {
		Dataset  runspec.Dataset
		Recipe   runspec.Recipe
		Features int64 // which bounds the views
	}{d, spec.Recipe, spec.FeatureBytes})
	if err != nil {
		return "", fmt.Errorf("identify the spec: %w", err)
	}
	hash := sha256.Sum256(text)
	return hex.EncodeToString(hash[:]), nil
}

// problem is the record of an image that is left out.
func (a *Attempt) problem(item data.Item, class string, fault *data.Fault) {
	text := strings.ToUpper(fault.Text[:1]) + strings.TrimSuffix(fault.Text[1:], ".") + "."
	a.journal.Add(runspec.TypeProblem, runspec.Problem{Path: item.Path, Class: class, Reason: string(fault.Reason),
		Text: text, Action: runspec.ActionSkipped})
}
