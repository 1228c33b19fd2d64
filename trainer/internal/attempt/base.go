package attempt

import (
	"slices"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
	"github.com/cultivar-ml/cultivar/trainer/internal/data"
	"github.com/cultivar-ml/cultivar/trainer/internal/export"
	"github.com/cultivar-ml/cultivar/trainer/internal/features"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// readyExports refuses formats that cannot be made here, before anything is done for them.
func readyExports(r runspec.Recipe) error {
	for _, name := range r.Exports {
		format, err := export.ParseFormat(name)
		if err == nil {
			err = export.Ready(format)
		}
		if err != nil {
			return fail(runspec.ExitBadSpec, "%v", err)
		}
	}
	return nil
}

// loadBase resolves base and image size.
func (a *Attempt) loadBase(t *training) error {
	if err := a.openEarlier(t); err != nil {
		return err
	}
	if t.recipe.Base == "" {
		catalog, err := bases.Open(a.spec.Paths.Bases)
		if err != nil {
			return fail(runspec.ExitNoBase, "%v", err)
		}
		if len(catalog.Entries) == 0 {
			return fail(runspec.ExitNoBase, "no base model is installed; add one with: cultivar-trainer bases add")
		}
		t.recipe.Base = catalog.Entries[0].Name
	}
	net, weights, entry, err := bases.Load(a.spec.Paths.Bases, t.recipe.Base)
	if err != nil {
		return fail(runspec.ExitNoBase, "%v", err)
	}
	if t.recipe.ImageSize == 0 {
		t.recipe.ImageSize = net.Size
	}
	if err := checkSize(net, t.recipe.ImageSize); err != nil {
		return err
	}
	net.Size = t.recipe.ImageSize
	t.plain = net
	if t.recipe.Features == deepFeatures {
		if net, err = net.Deep(); err != nil {
			return fail(runspec.ExitBadSpec, "%v; choose the features of the last layer", err)
		}
	}
	t.base, t.weights = net, weights
	t.sha256 = entry.SHA256
	t.key = features.NewKey(entry.SHA256, net, data.Fit(t.recipe.Preprocessing))
	return t.checkEarlier()
}

// deepFeatures is the recipe's word for features of several depths.
const deepFeatures = "deep"

// paddedStep is what the size of an image must be a multiple of where a network pads by itself: five halvings must
// come out even, as its paddings are made for that.
const paddedStep = 32

func checkSize(net network.Network, size int) error {
	if size == net.Size || size%paddedStep == 0 {
		return nil
	}
	padded := slices.ContainsFunc(net.Layers, func(l network.Layer) bool { return l.Kind == network.ZeroPadding2D })
	if !padded {
		return nil
	}
	return fail(runspec.ExitBadSpec, "the image size %d does not suit the base model %s; choose a multiple of %d, such as %d",
		size, net.Name, paddedStep, max(3, size/paddedStep)*paddedStep)
}
