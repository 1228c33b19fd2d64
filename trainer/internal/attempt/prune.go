package attempt

import (
	"fmt"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/fit"
	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// whole is a base before channels were taken out of it, and what a head alone made of it.
type whole struct {
	base, plain network.Network
	weights     network.Weights
	head        fit.Head
}

// pruned is a base with channels taken out of the blocks that are to be fine-tuned.
type pruned struct {
	net     network.Network
	weights network.Weights
}

// resolvePruning decides which channels go, if the recipe asks for it.
func (t *training) resolvePruning() error {
	if t.recipe.Prune == 0 {
		return nil
	}
	behind := ""
	if t.cut.cached() {
		behind = t.cut.name
	}
	net, weights, err := t.plain.Prune(t.weights, behind, t.recipe.Prune)
	if err != nil {
		return fail(runspec.ExitBadSpec, "%v; fine-tune from a lower cut, or set prune to 0", err)
	}
	t.pruned = &pruned{net, weights}
	return nil
}

// prune goes on with the pruned base, if there is one. Features and activations that are computed already come from before
// its blocks or from the whole base, and stay what they are. head is what has been trained on the whole base.
func (a *Attempt) prune(t *training, head fit.Head) error {
	if t.pruned == nil {
		return nil
	}
	before, err := t.plain.Params()
	if err != nil {
		return err
	}
	after, err := t.pruned.net.Params()
	if err != nil {
		return err
	}
	t.whole = &whole{base: t.base, plain: t.plain, weights: t.weights, head: head}
	t.plain, t.weights = t.pruned.net, t.pruned.weights
	a.journal.Log("info", fmt.Sprintf("Pruned: %.1f of %.1f million weights of the base model are left, to be fine-tuned.",
		float64(after)/1e6, float64(before)/1e6))
	return nil
}

// unprune goes back to the whole base.
func (t *training) unprune() {
	if t.whole != nil {
		t.plain, t.weights, t.whole = t.whole.plain, t.whole.weights, nil
	}
}
