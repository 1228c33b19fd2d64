package run

import (
	"fmt"
	"math"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// What counts as a finding. The numbers are rules of thumb for fine-tuning on hundreds to thousands of photos.
const (
	gapSmall   = 0.04 // train − validation accuracy that is still normal
	gapLarge   = 0.10 // from here the model learns by heart
	flatEpochs = 4    // epochs without a better accuracy that make a plateau
	minEpochs  = 3    // fewer points say nothing
	jumpy      = 0.25 // mean relative change of the validation loss between epochs
)

// meaning says in plain sentences what the curves show; patience is the recipe's, classes the number of them (0: not
// known).
func meaning(epochs []runspec.Epoch, patience, classes int) []string {
	if len(epochs) == 0 {
		return []string{"An epoch is one pass through all training photos. After each, the model is tested on photos it does not learn from."}
	}
	last := epochs[len(epochs)-1]
	if loss := float64(last.TrainLoss); math.IsNaN(loss) || math.IsInf(loss, 0) {
		return []string{"The loss is no longer a number: the corrections are too big. Stop with s and train again with a lower learning rate."}
	}
	if len(epochs) < minEpochs {
		return []string{"Too early to tell. The upper curves should rise, the lower ones fall."}
	}
	since := sinceBest(epochs)
	out := []string{trend(epochs, since, classes)}
	if s := gap(last); s != "" {
		out = append(out, s)
	}
	if roughness(epochs) > jumpy {
		out = append(out, "The validation loss jumps. A lower learning rate or a larger batch calms it.")
	}
	if since > 0 && patience > 0 {
		left := patience - since
		if left > 0 {
			out = append(out, fmt.Sprintf("No better for %s; it stops by itself after %d more.", count(since, "epoch"), left))
		} else {
			out = append(out, "It stops by itself: nothing got better for long enough. The best epoch is kept.")
		}
	}
	return out
}

func trend(epochs []runspec.Epoch, since, classes int) string {
	last, first := epochs[len(epochs)-1], epochs[0]
	acc := float64(last.ValAccuracy)
	if classes > 1 && acc < 1.5/float64(classes) && len(epochs) > flatEpochs {
		return fmt.Sprintf("It does little better than guessing (%.0f %%). Look whether the folders are the right classes.", 100/float64(classes))
	}
	switch {
	case since == 0:
		return "It is still getting better with every epoch."
	case since >= flatEpochs && float64(last.ValLoss) > float64(first.ValLoss)*1.05:
		return "The validation loss rises: more training makes it worse on new photos."
	case since >= flatEpochs:
		return "It has learned what it can from these photos: the curves are flat."
	}
	return "It learns; small ups and downs are normal."
}

func gap(last runspec.Epoch) string {
	d := float64(last.TrainAccuracy - last.ValAccuracy)
	switch {
	case math.IsNaN(d):
		return ""
	case d >= gapLarge:
		return fmt.Sprintf("It knows its training photos far better than new ones (%.0f against %.0f %%): it learns by heart (overfitting). More photos or more views help.",
			100*float64(last.TrainAccuracy), 100*float64(last.ValAccuracy))
	case d >= gapSmall:
		return "The gap between the curves is normal for this many photos."
	}
	return "Both curves stay close: no overfitting."
}

// sinceBest counts the epochs after the one with the lowest validation loss.
func sinceBest(epochs []runspec.Epoch) int {
	best, at := math.Inf(1), len(epochs)-1
	for i, e := range epochs {
		if v := float64(e.ValLoss); v < best {
			best, at = v, i
		}
	}
	return len(epochs) - 1 - at
}

// roughness is the mean relative change of the validation loss over the last epochs, rises and falls alternating.
func roughness(epochs []runspec.Epoch) float64 {
	tail := epochs[max(0, len(epochs)-8):]
	sum, n, turns := 0.0, 0, 0
	before := 0.0
	for i := 1; i < len(tail); i++ {
		a, b := float64(tail[i-1].ValLoss), float64(tail[i].ValLoss)
		if math.IsNaN(a) || math.IsNaN(b) || a == 0 {
			continue
		}
		d := (b - a) / a
		if d*before < 0 {
			turns++
		}
		before = d
		sum += math.Abs(d)
		n++
	}
	if n == 0 || turns < 2 {
		return 0
	}
	return sum / float64(n)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
