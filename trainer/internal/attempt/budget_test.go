package attempt_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/rates"
	"github.com/cultivar-ml/cultivar/trainer/internal/tasktest"
)

func says(records []runspec.Record, text string) bool {
	return slices.ContainsFunc(bodies[runspec.Log](records), func(l runspec.Log) bool { return strings.Contains(l.Text, text) })
}

// TestTimeBudget: what a training leaves out to end in time is said and recorded, and one that cannot is refused at once. By
// which seconds is the plan's to say.
func TestTimeBudget(t *testing.T) {
	spec := tuned(t, "block6d_add")
	spec.Recipe.Epochs, spec.Recipe.Views, spec.Recipe.FinetuneEpochs = 5, 4, 12
	t.Run("too little", func(t *testing.T) {
		none := again(spec, "none")
		none.Recipe.TimeBudget = 1
		_, err := attempt.Run(t.Context(), none, attempt.Options{})
		if attempt.ExitCode(err) != runspec.ExitBadSpec || !strings.Contains(err.Error(), "at least") {
			t.Errorf("%v", err)
		}
		if total := tasktest.Records(t, folder(t, none)); len(bodies[runspec.Progress](total)) > 0 {
			t.Error("it began all the same")
		}
		told := plans(t, none, "none-plan")
		if o := told[len(told)-1].Options[0]; !strings.Contains(o.Refused, "at least") {
			t.Errorf("the plan: %+v", o)
		}
	})
	t.Run("plenty", func(t *testing.T) {
		much := again(spec, "much")
		much.Recipe.TimeBudget = 100_000
		result, records := run(t, much)
		if r := result.Recipe; r.Views != 4 || r.FinetuneEpochs != 12 || !says(records, "nothing has to be left out") {
			t.Errorf("%d views, %d epochs", r.Views, r.FinetuneEpochs)
		}
	})
	t.Run("some", func(t *testing.T) { someTime(t, spec) })
	t.Run("slower than ever", func(t *testing.T) { slowly(t, spec) })
	t.Run("a machine that nobody knows", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(spec.Paths.Features, rates.Dir)); err != nil {
			t.Fatal(err)
		}
		first := again(spec, "unknown")
		first.Recipe.TimeBudget = 100_000
		if _, records := run(t, first); !says(records, "Measuring how fast this machine is") {
			t.Errorf("it says %+v", bodies[runspec.Log](records))
		}
	})
}

// someTime: between the least and all of it something is left out, the plan tells what, and another attempt keeps to it though
// the machine has become very fast.
func someTime(t *testing.T, spec runspec.Spec) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	cost := func(spec runspec.Spec, name string) float64 {
		all := plans(t, spec, name)
		return float64(all[len(all)-1].Options[0].Cost.Seconds)
	}
	bare := spec
	bare.Recipe.Views, bare.Recipe.FinetuneEpochs = 1, 0
	full, least := cost(spec, "full"), cost(bare, "bare")
	if full < 1.3*least {
		t.Fatalf("all of it takes %v s and the least %v: there is nothing to choose", full, least)
	}
	seconds := int(math.Ceil((full + least) / 2))
	spec.Recipe.TimeBudget = seconds
	told := plans(t, spec, "some-plan")
	planned := told[len(told)-1].Options[0]
	if r := planned.Recipe; planned.Refused != "" || r.FinetuneEpochs >= 12 && r.Views >= 4 || float64(planned.Cost.Seconds) > float64(seconds) {
		t.Fatalf("%d s: %d views, %d epochs, %v s, refused %q", seconds, r.Views, r.FinetuneEpochs, planned.Cost.Seconds, planned.Refused)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	first := again(spec, "some")
	first.Callback = callback(t, func(r runspec.Record) string {
		if e, ok := r.Body.(runspec.Epoch); ok && (e.Phase == runspec.PhaseFinetune || planned.Recipe.FinetuneEpochs == 0) {
			cancel(attempt.ErrInterrupted)
		}
		return ""
	})
	if _, err := attempt.Run(ctx, first, attempt.Options{}); attempt.ExitCode(err) != runspec.ExitInterrupted {
		t.Fatalf("%v", err)
	}
	records := tasktest.Records(t, folder(t, first))
	if !says(records, "To end within") || says(records, "nothing has to be left out") {
		t.Errorf("it says %+v", bodies[runspec.Log](records))
	}
	settled := bodies[runspec.Progress](records)[0].Total
	hasten(t, spec)
	second := again(first, "some-more")
	second.Callback, second.Attempt, second.Paths.Previous = runspec.Callback{}, 2, folder(t, first)
	_, records = run(t, second)
	if got := bodies[runspec.Progress](records)[0]; got.Total != settled || got.Done != settled || says(records, "To end within") {
		t.Errorf("the first attempt settled on %d rows, the second begins with %+v", settled, got)
	}
}

// hasten makes the plans believe that this machine takes no time for anything.
func hasten(t *testing.T, spec runspec.Spec) {
	t.Helper()
	books, err := filepath.Glob(filepath.Join(spec.Paths.Features, rates.Dir, "*.json"))
	if err != nil || len(books) == 0 {
		t.Fatalf("books: %v, %v", books, err)
	}
	for _, b := range books {
		content, err := os.ReadFile(b)
		if err != nil {
			t.Fatal(err)
		}
		faster := regexp.MustCompile(`"value": [^,\n]+`).ReplaceAllString(string(content), `"value": 1e-15`)
		if err := os.WriteFile(b, []byte(faster), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// slowly: of a machine that is much slower than it has ever been no plan knows; fine-tuning ends when the time is up, and the
// model is made.
func slowly(t *testing.T, spec runspec.Spec) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	hasten(t, spec)
	const asked = 1000
	slow := again(spec, "slow")
	slow.Recipe.TimeBudget, slow.Recipe.FinetuneEpochs, slow.Recipe.Patience = 12, asked, asked
	result, records := run(t, slow)
	epochs := 0
	for _, e := range bodies[runspec.Epoch](records) {
		if e.Phase == runspec.PhaseFinetune {
			epochs++
		}
	}
	if !says(records, "nothing has to be left out") || !says(records, "ends here, to keep to the time budget") || epochs == 0 || epochs >= asked || result.State != "succeeded" {
		t.Errorf("%d epochs of fine-tuning, %+v; it says %+v", epochs, result, bodies[runspec.Log](records))
	}
}
