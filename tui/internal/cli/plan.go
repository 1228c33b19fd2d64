package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/runspec"
)

func (c *command) planVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan FOLDER",
		Short: "See how long a training would take, and how much disk, before there is one",
		Long: "See how long a training would take and what it would add on the server's disk, with each preset and with the settings given.\n" +
			"Nothing is sent. What was never measured on that machine is measured first, which takes seconds.",
		Example: "cultivar plan ~/photos/flowers\ncultivar plan ~/photos/flowers --views 8 --json",
		Args:    usage(cobra.ExactArgs(1)),
	}
	flags := cmd.Flags()
	profile := flags.String("profile", "", "machine size of the server to plan for (default: its first)")
	_ = cmd.RegisterFlagCompletionFunc("profile", c.profileNames) // fails only for a flag that there is not
	recipe := recipeFlags(flags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := recipe()
		if err != nil {
			return usageOf(cmd, err)
		}
		return c.plan(cmd.Context(), args[0], r, *profile)
	}
	return cmd
}

func (c *command) plan(ctx context.Context, folder string, recipe runspec.Recipe, profile string) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	if err := c.greet(ctx, cl); err != nil {
		return err
	}
	if err := findRuns(ctx, cl, &recipe); err != nil {
		return err
	}
	m, err := c.scan(ctx, folder)
	if err != nil {
		return err
	}
	if err := c.scanned(m, false); err != nil {
		return err
	}
	var last *runspec.Plan
	for p, err := range cl.Plan(ctx, m, recipe, profile) {
		if err != nil {
			return err
		}
		if p.Measuring && last == nil {
			c.note("Measuring how fast the server's machine is; this takes some seconds, once.")
		}
		last = &p
	}
	if last == nil || len(last.Options) == 0 {
		return fmt.Errorf("the server answered without a plan; its log may say why")
	}
	if c.json {
		if err := c.emit("plan", *last); err != nil {
			return err
		}
	} else {
		c.planned(*last, recipe)
	}
	if why := last.Options[0].Refused; why != "" {
		return fmt.Errorf("these settings cannot be trained with: %s", shown(why, ""))
	}
	return nil
}

// planned prints a plan: a row for each preset and, where it is none of them, for what was given; then the parts of that.
func (c *command) planned(p runspec.Plan, recipe runspec.Recipe) {
	t := newTable("", ">time", ">disk", ">views to compute")
	given := p.Options[0]
	own := slices.ContainsFunc(recipe.Changed(), func(name string) bool { return name != "base" })
	for _, o := range p.Options {
		name := shown(o.Name, "")
		if o.Name == runspec.PlanGiven {
			if !own {
				continue
			}
			name = "these settings"
		}
		if o.Refused != "" {
			t.row(name, "–", "–", "–")
			continue
		}
		t.row(name, costTime(o.Cost), size(o.Cost.CacheBytes+o.Cost.FileBytes), fmt.Sprintf("%d of %d", o.Cost.Rows-o.Cost.CachedRows, o.Cost.Rows))
	}
	c.say("\n%s", t)
	if given.Refused != "" {
		return
	}
	c.say("\nWith %s: %s.", chosen(recipe, own), strings.Join(costParts(given.Cost), ", "))
	if given.Cost.CachedRows > 0 && given.Cost.CachedRows == given.Cost.Rows {
		c.say("No photo has to be read: a training before has done so.")
	}
	if len(given.Cost.Unknown) > 0 {
		c.say("Not counted, as it was never measured on that machine: %s.", shown(strings.Join(given.Cost.Unknown, ", "), ""))
	}
	c.say("Disk: %s of files with the model and its checkpoints, %s for later trainings on the same photos.", size(given.Cost.FileBytes), size(given.Cost.CacheBytes))
}

func chosen(r runspec.Recipe, own bool) string {
	if own {
		return "these settings"
	}
	return string(r.Preset)
}

// costTime is how long a training takes, or that nobody knows.
func costTime(c runspec.Cost) string {
	if len(c.Unknown) > 0 {
		return "unknown"
	}
	return about(float64(c.Seconds))
}

// about is a duration that is only known roughly.
func about(seconds float64) string {
	if math.IsNaN(seconds) || math.IsInf(seconds, 0) || seconds < 0 {
		return "–"
	}
	return span(time.Duration(seconds * float64(time.Second)))
}

// costParts names the parts of a training that take at least a second, or the longest.
func costParts(c runspec.Cost) []string {
	var parts []string
	for _, p := range c.Phases {
		if p.Seconds >= 1 {
			parts = append(parts, costWords(p.Phase)+" "+about(float64(p.Seconds)))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "all of it "+about(float64(c.Seconds)))
	}
	return parts
}

func costWords(phase string) string {
	switch phase {
	case runspec.PhasePrepare:
		return "beginning"
	case runspec.PhaseFeatures:
		return "reading the photos"
	case runspec.PhaseHead:
		return "training the head"
	case runspec.PhaseFinetune:
		return "fine-tuning"
	case runspec.PhaseEvaluate:
		return "testing"
	case runspec.PhaseExport:
		return "making and checking the files"
	}
	return shown(phase, "the rest")
}

// took says what a training took, beside what was planned for it.
func (c *command) took(r runspec.Result) {
	if r.Spent == nil { // of an older trainer
		return
	}
	planned := map[string]string{}
	head, disk := "", ""
	if p := r.Planned; p != nil && len(p.Unknown) == 0 {
		for _, part := range p.Phases {
			planned[part.Phase] = fmt.Sprintf(" (%s)", about(float64(part.Seconds)))
		}
		head = fmt.Sprintf(" (planned: %s)", about(float64(p.Seconds)))
		disk = fmt.Sprintf(" (planned: %s)", size(p.CacheBytes+p.FileBytes))
	}
	var parts []string
	for _, part := range r.Spent.Phases {
		if part.Seconds >= 1 {
			parts = append(parts, costWords(part.Phase)+" "+about(float64(part.Seconds))+planned[part.Phase])
		}
	}
	c.say("\nThe training took %s%s and %s of disk%s.", about(float64(r.Spent.Seconds)), head, size(r.Spent.CacheBytes+r.Spent.FileBytes), disk)
	if len(parts) > 0 {
		c.say("  %s", strings.Join(parts, ", "))
	}
}
