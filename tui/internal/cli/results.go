package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const (
	maxEvaluation = 256 << 20 // of evaluation.json: 1,000 classes and every mistake stay below
	maxMatrix     = 12        // classes of a matrix that fits a terminal of 80 columns
	shownPairs    = 10
	shownMistakes = 10 // also of photos in the wrong folder
)

func (c *command) resultsVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "results RUN", Short: "See how good a model is and where it errs",
		Example: "cultivar results latest\ncultivar results 14 --json",
	}
	return c.onRun(cmd, cobra.ExactArgs(1), func(ctx context.Context, cl *client.Client, run api.Run, _ []string) error {
		if err := succeeded(run); err != nil {
			return err
		}
		raw, err := readArtifact(ctx, cl, run.Id, runspec.EvaluationFile)
		if err != nil {
			return err
		}
		sent, err := cl.Deliveries(ctx, run.Id)
		if err != nil && api.Code(err) != api.CodeNotFound { // an older server has none
			return err
		}
		result, err := lastWord(ctx, cl, run)
		if err != nil {
			return err
		}
		if c.json {
			return c.emit("results", struct {
				Run        api.Run         `json:"run"`
				Result     *runspec.Result `json:"result"`
				Evaluation json.RawMessage `json:"evaluation"`
				Deliveries []api.Delivery  `json:"deliveries"`
			}{run, result, raw, append([]api.Delivery{}, sent...)})
		}
		var e runspec.Report
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("read the evaluation of run #%d: %w", run.Number, err)
		}
		c.evaluation(run, e)
		if result != nil {
			c.took(*result)
		}
		if len(sent) > 0 {
			c.say("")
			k := c.courier(cl, run, c.say)
			k.all = sent
			return k.tell(sent)
		}
		return nil
	})
}

// lastEvents is how many of a run's last events have its result among them: a state follows it, and few records may.
const lastEvents = 20

// lastWord is a finished run's result record; nil when there is none, as of a trainer that vanished after it had written
// its result.
func lastWord(ctx context.Context, cl *client.Client, run api.Run) (*runspec.Result, error) {
	var result *runspec.Result
	for e, err := range cl.Events(ctx, run.Id, max(0, run.LastEvent-lastEvents), nil) {
		if err != nil {
			return nil, err
		}
		if body, ok := e.Record.Body.(runspec.Result); ok {
			result = &body
		}
	}
	return result, ctx.Err()
}

// succeeded refuses a run that has no model.
func succeeded(run api.Run) error {
	switch {
	case run.State == api.StateSucceeded:
		return nil
	case client.Terminal(run.State):
		reason := ""
		if run.Reason != nil {
			reason = ": " + shown(*run.Reason, "")
		}
		return codedError{fmt.Errorf("run #%d %s%s, so it has no model; `cultivar retry %d` trains again", run.Number, run.State, reason, run.Number), exitTraining}
	}
	return fmt.Errorf("run #%d is %s and has no model yet; `cultivar watch %d` waits for it", run.Number, run.State, run.Number)
}

func readArtifact(ctx context.Context, cl *client.Client, run, name string) ([]byte, error) {
	r, err := cl.OpenArtifact(ctx, run, name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, maxEvaluation))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

func (c *command) evaluation(run api.Run, e runspec.Report) {
	side := "test"
	if e.Split != "test" {
		side = "validation"
	}
	c.say("Run #%d, %s: %s accuracy %s on %s", run.Number, shown(run.Name, "unnamed"), side, percent(float64(e.Accuracy)), count(e.Images, "photo", "photos"))
	c.say("%s", inWords(float64(e.Accuracy), e.Images, len(e.Labels)))
	c.say("Right answer among the first three: %s. Calibration error: %s.", percent(float64(e.Top3)), percent(float64(e.ECE)))
	if u := e.Threshold; u != nil {
		c.say("It says unsure when the likeliest class has less than %s: of %s of these photos. It is right on %s of the others.",
			percent(float64(u.Probability)), percent(1-float64(u.Coverage)), percent(float64(u.Accuracy)))
	}
	t := newTable("class", ">photos", ">found", ">right when said", ">F1")
	for _, cl := range e.Classes {
		t.row(shown(cl.Class, ""), strconv.Itoa(cl.Images), percent(float64(cl.Recall)), percent(float64(cl.Precision)), fmt.Sprintf("%.2f", float64(cl.F1)))
	}
	c.say("\n%s", t)
	if len(e.Labels) <= maxMatrix {
		c.say("\nRows: what it is. Columns: what the model said.\n%s", matrix(e))
	}
	c.compared(e.Compared)
	if len(e.Confused) > 0 {
		c.say("\nMost often confused:")
		for _, p := range e.Confused[:min(shownPairs, len(e.Confused))] {
			c.say("  %s taken for %s, %s", shown(p.Actual, ""), shown(p.Predicted, ""), count(p.Count, "time", "times"))
		}
	}
	if len(e.Worst) > 0 {
		c.say("\nSurest mistakes (look whether they lie in the right folder):")
		for _, w := range e.Worst[:min(shownMistakes, len(e.Worst))] {
			c.say("  %s is %s, the model said %s (%s)", shown(w.Path, ""), shown(w.Actual, ""), shown(w.Predicted, ""), percent(float64(w.Confidence)))
		}
	}
	c.mislabelled(e.Mislabelled)
}

// mislabelled lists photos that probably lie in the wrong folder.
func (c *command) mislabelled(doubted []runspec.Mislabelled) {
	if len(doubted) == 0 {
		return
	}
	c.say("\nProbably in the wrong folder, judged by models that had not learned from them (%s):", count(len(doubted), "photo", "photos"))
	for _, m := range doubted[:min(shownMistakes, len(doubted))] {
		c.say("  %s lies in %s (%s), looks like %s (%s)", shown(m.Path, ""), shown(m.Given, ""), percent(float64(m.GivenProbability)),
			shown(m.Suggested, ""), percent(float64(m.SuggestedProbability)))
	}
	if len(doubted) > shownMistakes {
		c.say("  and %s; --json names them all", count(len(doubted)-shownMistakes, "more", "more"))
	}
}

// matrix draws the confusion matrix; zeros are dots, so that mistakes stand out.
func matrix(e runspec.Report) *table {
	heads := []string{""}
	cells := make([][]string, len(e.Labels))
	for i, label := range e.Labels {
		heads = append(heads, ">"+shown(label, ""))
		cells[i] = make([]string, len(e.Labels)+1)
		cells[i][0] = shown(label, "")
		for j := range e.Labels {
			cells[i][j+1] = "·"
		}
	}
	for _, cell := range e.Confusion {
		if cell.Actual < len(cells) && cell.Predicted < len(cells) && cell.Actual >= 0 && cell.Predicted >= 0 {
			cells[cell.Actual][cell.Predicted+1] = strconv.Itoa(cell.Count)
		}
	}
	t := newTable(heads...)
	t.rows = cells
	return t
}
