package attempt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
)

// extract fills the activation cache with one part of what a training of the same images and recipe needs, whatever its
// seed. It leaves no artifact.
func (a *Attempt) extract(ctx context.Context, part int) error {
	parts := max(1, a.spec.Parts)
	if part < 0 || part >= parts {
		return fail(runspec.ExitBadSpec, "this is part %d of a task in %d parts, which are numbered from 0; run it with an index below %d",
			part, parts, parts)
	}
	t, err := a.load()
	if err != nil {
		return err
	}
	views := make([]int, len(t.images))
	for i, learn := range mayTrain(t.images) {
		views[i] = 1
		if learn && t.recipe.TimeBudget == 0 { // with one, the training decides how many there is time for
			views[i] = t.recipe.Views
		}
	}
	if err := a.resolveCut(t); err != nil {
		return err
	}
	t.wants = features.Part(t.items, views, part, parts)
	if parts > 1 {
		a.journal.Log("info", fmt.Sprintf("Part %d of %d: %d of the features of %d photos.", part+1, parts, len(t.wants), len(t.images)))
	}
	if err := a.computeFeatures(ctx, t); err != nil {
		return err
	}
	t.close()
	return nil
}

// mayTrain tells of each image whether manifest.Split puts it on the training side for some seed: the others need no
// views. Images whose side was given by folders stay there, unless nothing to train on would be left of their class.
func mayTrain(images []manifest.Image) []bool {
	aside := func(im manifest.Image) bool { return im.Split != "" && im.Split != manifest.Train }
	trained := map[string]bool{}
	for _, im := range images {
		trained[im.Class] = trained[im.Class] || !aside(im)
	}
	may := make([]bool, len(images))
	for i, im := range images {
		may[i] = !aside(im) || !trained[im.Class]
	}
	return may
}

// suspects are images during whose decoding an earlier executor ended: the previous attempt's and, where many executors
// share an attempt and each may be started again, those of this attempt. What another one is decoding just now is never
// among this one's images.
func (a *Attempt) suspects() (map[data.Hash]int, error) {
	suspects, err := features.Suspects(a.spec.Paths.Previous)
	if err != nil || a.spec.Kind != runspec.Features {
		return suspects, err
	}
	entries, err := os.ReadDir(a.spec.Paths.Attempt)
	if err != nil {
		return nil, fmt.Errorf("look for earlier executors: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		more, err := features.Suspects(filepath.Join(a.spec.Paths.Attempt, e.Name()))
		if err != nil {
			return nil, err
		}
		for hash, times := range more {
			suspects[hash] = max(suspects[hash], times)
		}
	}
	return suspects, nil
}
