package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

const (
	dateForm  = "2006-01-02 15:04"
	maxReason = 60 // cells of a reason in a list
)

// find returns the run that people mean: an id, #14, 14, latest or a model's name.
func find(ctx context.Context, cl *client.Client, word string) (api.Run, error) {
	if isModel(word) {
		m, err := cl.Model(ctx, word)
		return m.Run, err
	}
	number, err := strconv.Atoi(strings.TrimPrefix(word, "#"))
	if err != nil && word != "latest" {
		return cl.Run(ctx, word)
	}
	cursor := ""
	for {
		page, err := cl.Runs(ctx, cursor)
		if err != nil {
			return api.Run{}, err
		}
		for _, r := range page.Runs {
			if word == "latest" || r.Number == number {
				return r, nil
			}
		}
		if page.Next == nil || *page.Next == "" {
			break
		}
		cursor = *page.Next
	}
	if word == "latest" {
		return api.Run{}, api.Errorf(api.CodeNotFound, "There are no runs yet. `cultivar train FOLDER` starts one.")
	}
	return api.Run{}, api.Errorf(api.CodeNotFound, "There is no run #%d. `cultivar runs` lists those there are.", number)
}

// onRun makes a verb that takes a run first and maybe more.
func (c *command) onRun(cmd *cobra.Command, args cobra.PositionalArgs, do func(ctx context.Context, cl *client.Client, run api.Run, rest []string) error) *cobra.Command {
	cmd.Args = usage(args)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		cl, err := c.connect(ctx)
		if err != nil {
			return err
		}
		run, err := find(ctx, cl, args[0])
		if err != nil {
			return err
		}
		return do(ctx, cl, run, args[1:])
	}
	return cmd
}

func (c *command) runsVerb() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "runs", Aliases: []string{"list", "ls"}, Short: "List your trainings, newest first", Args: usage(cobra.NoArgs),
		Example: "cultivar runs\ncultivar runs --all --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			runs, more, err := pages(all, func(cursor string) ([]api.Run, *string, error) {
				p, err := cl.Runs(cmd.Context(), cursor)
				return p.Runs, p.Next, err
			})
			if err != nil {
				return err
			}
			if c.json {
				return c.emitAll(runs)
			}
			c.listRuns(runs, more)
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all of them, not just the newest 100")
	return cmd
}

// pages reads the first page of a list, or all of them.
func pages[T any](all bool, page func(cursor string) ([]T, *string, error)) (items []T, more bool, err error) {
	items = []T{}
	for cursor := ""; ; {
		some, next, err := page(cursor)
		if err != nil {
			return nil, false, err
		}
		items = append(items, some...)
		if next == nil || *next == "" {
			return items, false, nil
		}
		if !all {
			return items, true, nil
		}
		cursor = *next
	}
}

func (c *command) listRuns(runs []api.Run, more bool) {
	if len(runs) == 0 {
		c.say("No runs yet. `cultivar train FOLDER` starts one.")
		return
	}
	t := newTable(">run", "name", "state", "base", ">accuracy", "started")
	for _, r := range runs {
		accuracy := ""
		switch {
		case r.TestAccuracy != nil:
			accuracy = percent(float64(*r.TestAccuracy))
		case r.ValAccuracy != nil:
			accuracy = percent(float64(*r.ValAccuracy)) + " (val)"
		}
		state := string(r.State)
		if r.QueuePosition != nil {
			state += fmt.Sprintf(", place %d", *r.QueuePosition)
		}
		if r.State == api.StateStarting && text(r.Reason) != "" {
			state = safe.Text("starting: " + *r.Reason).Cut(maxReason).String()
		}
		t.row("#"+strconv.Itoa(r.Number), shown(r.Name, "unnamed"), state, shown(r.Recipe.Base, "best installed"), accuracy, r.Created.Local().Format(dateForm))
	}
	c.say("%s", t)
	if more {
		c.note("There are more; --all lists them.")
	}
}

func (c *command) watchVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "watch RUN", Short: "Tell a training's story from its start to its end",
		Long:    "Tell a training's story from its start to its end: what happened so far, and then live. RUN is an id, #14, 14 or latest.",
		Example: "cultivar watch latest\ncultivar watch 14 --json",
	}
	return c.onRun(cmd, cobra.ExactArgs(1), func(ctx context.Context, cl *client.Client, run api.Run, _ []string) error {
		if c.json {
			if err := c.emit("run", runEvent{run}); err != nil {
				return err
			}
		} else {
			c.say("Run #%d, %s, %s.", run.Number, shown(run.Name, "unnamed"), stateWords(run.State))
		}
		classes := 0
		if set, err := cl.Dataset(ctx, run.Dataset); err == nil {
			classes = len(set.Classes)
		}
		return c.finish(ctx, cl, run, classes, nil)
	})
}

// control makes a verb that changes a run and says what will happen.
func (c *command) control(use, short, example, said string, change func(*client.Client, context.Context, string) (api.Run, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example}
	return c.onRun(cmd, cobra.ExactArgs(1), func(ctx context.Context, cl *client.Client, run api.Run, _ []string) error {
		run, err := change(cl, ctx, run.Id)
		if err != nil {
			return err
		}
		if c.json {
			return c.emit("run", runEvent{run})
		}
		c.say(said, run.Number, shown(run.Name, "unnamed"), stateWords(run.State))
		return nil
	})
}

func (c *command) stopVerb() *cobra.Command {
	return c.control("stop RUN", "End a training now and keep the best so far", "cultivar stop latest",
		"Run #%d, %s, %s: the best so far is kept.", (*client.Client).StopRun)
}

func (c *command) cancelVerb() *cobra.Command {
	return c.control("cancel RUN", "Give a training up and keep nothing", "cultivar cancel 14",
		"Run #%d, %s, %s: nothing of it is kept.", (*client.Client).CancelRun)
}

func (c *command) retryVerb() *cobra.Command {
	return c.control("retry RUN", "Train again with the same photos and settings", "cultivar retry 14",
		"Run #%d, %s, %s.", (*client.Client).RetryRun)
}

func (c *command) datasetsVerb() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "datasets", Short: "List the photos that the server has of you", Args: usage(cobra.NoArgs), Example: "cultivar datasets",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			sets, more, err := pages(all, func(cursor string) ([]api.Dataset, *string, error) {
				p, err := cl.Datasets(cmd.Context(), cursor)
				return p.Datasets, p.Next, err
			})
			if err != nil {
				return err
			}
			if c.json {
				return c.emitAll(sets)
			}
			c.listDatasets(sets, more)
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all of them, not just the newest 100")
	return cmd
}

func (c *command) listDatasets(sets []api.Dataset, more bool) {
	if len(sets) == 0 {
		c.say("No datasets yet. `cultivar train FOLDER` sends one.")
		return
	}
	t := newTable("name", ">images", ">classes", ">size", "state", "sent", "id")
	for _, d := range sets {
		t.row(shown(d.Name, "unnamed"), strconv.Itoa(d.Images), strconv.Itoa(len(d.Classes)), size(d.Bytes), string(d.State),
			d.Created.Local().Format(dateForm), shown(d.Id, ""))
	}
	c.say("%s", t)
	if more {
		c.note("There are more; --all lists them.")
	}
}
