package attempt

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/checkpoint"
	"github.com/cultivar-ml/cultivar/trainer/internal/finetune"
	"github.com/cultivar-ml/cultivar/trainer/internal/plan"
	"github.com/cultivar-ml/cultivar/trainer/internal/rates"
)

// budget is what keeps a training within the recipe's time. Without one nothing does.
type budget struct {
	seconds float64 // from the attempt's start; 0: as long as it takes
	amount  plan.Training
	book    *rates.Book
	after   float64 // seconds that making the files takes
}

// overrun is the part of a budget beyond which a training ends what it is at.
const overrun = 1.05

// left is how many seconds there are still.
func (a *Attempt) left(b budget) float64 { return b.seconds - time.Since(a.started).Seconds() }

// late tells whether so many seconds more, and the files, would take too long.
func (a *Attempt) late(b budget, more float64) bool {
	return b.seconds > 0 && time.Since(a.started).Seconds()+more+b.after > overrun*b.seconds
}

// keepTime settles how many views and epochs of fine-tuning there is time for. A training that goes on from a checkpoint
// keeps to what was settled before it.
func (a *Attempt) keepTime(ctx context.Context, t *training) error {
	if t.recipe.TimeBudget == 0 {
		return nil
	}
	earlier, found, err := a.checkpointed(t)
	if err != nil {
		return err
	}
	if t.budget, err = a.openBudget(ctx, t); err != nil {
		return err
	}
	given := t.recipe
	if found {
		t.settle(earlier.Recipe.Views, earlier.Recipe.FinetuneEpochs)
		return nil
	}
	// What is spent already is more than what the plan has for beginning, where the machine had to be measured.
	begun := time.Since(a.started).Seconds()
	least, _ := t.budget.book.Get(plan.Begun)
	within, cost, ok := t.budget.amount.Within(t.recipe, t.budget.book, t.budget.seconds-max(0, begun-least))
	if !ok {
		return tooLittle(t.recipe.TimeBudget, float64(cost.Seconds)+max(0, begun-least))
	}
	t.settle(within.Views, within.FinetuneEpochs)
	a.journal.Log("info", shaped(given, t.recipe)+fmt.Sprintf(" About %.0f s are expected.", math.Ceil(float64(cost.Seconds)+max(0, begun-least))))
	return nil
}

// tooLittle says that a training needs more seconds than it was given.
func tooLittle(given int, need float64) *Failure {
	const spare = 1.15 // of what is only known roughly
	return fail(runspec.ExitBadSpec, "a time budget of %d s is too small: on this machine these photos take about %.0f s at least; give %.0f, or 0 for no limit",
		given, math.Ceil(need), math.Ceil(spare*need))
}

// checkpointed is the checkpoint of an earlier attempt, if there is one.
func (a *Attempt) checkpointed(t *training) (c checkpoint.Checkpoint, found bool, err error) {
	if a.spec.Paths.Previous == "" {
		return c, false, nil
	}
	spec, err := digest(a.spec)
	if err != nil {
		return c, false, err
	}
	return checkpoint.Load(previousCheckpoints(a.spec.Paths.Previous), spec, t.key.Name())
}

// openBudget measures what is not known of this machine: that is part of the time.
func (a *Attempt) openBudget(ctx context.Context, t *training) (budget, error) {
	b := budget{seconds: float64(t.recipe.TimeBudget)}
	var err error
	if b.amount, err = a.amount(t); err != nil {
		return b, err
	}
	if b.book, err = a.book(t); err != nil {
		return b, err
	}
	plan.LearnBeginning(b.book.Try, time.Since(a.started).Seconds())
	if missing := b.amount.Missing(t.recipe, b.book); len(missing) > 0 {
		a.journal.Log("info", "Measuring how fast this machine is, once, to keep to the time budget.")
		trial, err := a.newTrial()
		if err != nil {
			return b, err
		}
		defer trial.close()
		if err := trial.measure(ctx, t, b.book, missing); err != nil {
			return b, err
		}
		if err := b.book.Save(); err != nil {
			return b, err
		}
	}
	b.after = b.amount.After(t.recipe, b.book)
	return b, nil
}

// settle sets views and epochs of fine-tuning; without any there is no cut.
func (t *training) settle(views, epochs int) {
	t.recipe.Views, t.recipe.FinetuneEpochs = views, epochs
	if epochs == 0 {
		t.cut = cut{}
	}
}

// shaped says what a time budget has changed.
func shaped(given, now runspec.Recipe) string {
	text := fmt.Sprintf("To end within %d s: ", given.TimeBudget)
	if given.Views == now.Views && given.FinetuneEpochs == now.FinetuneEpochs {
		return text + "nothing has to be left out."
	}
	var changes []string
	if given.Views != now.Views {
		changes = append(changes, fmt.Sprintf("%s of each photo rather than %d", several(now.Views, "view"), given.Views))
	}
	if given.FinetuneEpochs != now.FinetuneEpochs {
		changes = append(changes, fmt.Sprintf("%s of fine-tuning rather than %d", several(now.FinetuneEpochs, "epoch"), given.FinetuneEpochs))
	}
	for i, c := range changes {
		if i > 0 {
			text += " and "
		}
		text += c
	}
	return text + "."
}

func several(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun
	case 1:
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// epochsInTime settles, when photos and head are done and what they took is known, how many epochs of fine-tuning there is
// time for: as many as the recipe asks for at most, and perhaps none.
func (a *Attempt) epochsInTime(t *training, c *checkpoint.Checkpoint) (some bool) {
	if t.budget.seconds == 0 || c.Tuning != nil {
		return true
	}
	n := t.budget.amount.Epochs(c.Recipe, t.budget.book, a.spec.Recipe.FinetuneEpochs, a.left(t.budget)/a.slowness())
	if n != c.Recipe.FinetuneEpochs {
		a.journal.Log("info", fmt.Sprintf("%.0f s are left of the time budget: %s of fine-tuning rather than %d.",
			max(0, a.left(t.budget)), several(n, "epoch"), c.Recipe.FinetuneEpochs))
	}
	c.Recipe.FinetuneEpochs, t.recipe.FinetuneEpochs = n, n
	return n > 0
}

// slowness is how many times as long as planned the photos and the head have taken: what others do on this machine at the same
// time, fine-tuning will feel as well. Of seconds it tells nothing.
func (a *Attempt) slowness() float64 {
	const telling, least, most = 5, 0.5, 4
	taken, planned := 0.0, 0.0
	for _, p := range a.spent().Phases {
		if p.Phase == runspec.PhaseFeatures || p.Phase == runspec.PhaseHead {
			taken += float64(p.Seconds)
		}
	}
	for _, p := range a.result.Planned.Phases {
		if p.Phase == runspec.PhaseFeatures || p.Phase == runspec.PhaseHead {
			planned += float64(p.Seconds)
		}
	}
	if planned < telling {
		return 1
	}
	return min(most, max(least, taken/planned))
}

// tuneLonger tells whether there is time for another epoch of fine-tuning of so many, and for those that end it.
func (a *Attempt) tuneLonger(t *training, epochs int) bool {
	each := t.took.each()
	if t.took.epochs >= epochs || !a.late(t.budget, each*float64(1+finetune.RefitEpochs(epochs))) {
		return true
	}
	a.journal.Log("warning", "Fine-tuning takes longer than it was expected to and ends here, to keep to the time budget.")
	return false
}
