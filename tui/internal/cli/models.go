package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/safe"
)

// modelsVerb lists the names of models, and gives and takes them.
func (c *command) modelsVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "models", Short: "List your models by the names that scripts use, such as flowers@best", Args: usage(cobra.NoArgs),
		Long: "List your models by name. flowers@best is the training on the photos called flowers that was right most often, flowers@latest the\n" +
			"newest one; you can give others. Wherever a command wants a RUN, a name does.",
		Example: "cultivar models\ncultivar models name flowers@shop 14\ncultivar download flowers@shop",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			models, err := cl.Models(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return c.emitAll(models)
			}
			if len(models) == 0 {
				c.say("No models yet. `cultivar train FOLDER` makes one.")
				return nil
			}
			t := newTable("model", ">run", ">accuracy", "trained")
			for _, m := range models {
				accuracy := ""
				if m.Run.TestAccuracy != nil {
					accuracy = percent(float64(*m.Run.TestAccuracy))
				}
				t.row(shown(m.Name, ""), "#"+strconv.Itoa(m.Run.Number), accuracy, m.Run.Created.Local().Format(dateForm))
			}
			c.say("%s", t)
			return nil
		},
	}
	c.add(cmd, "", c.nameVerb(), c.unnameVerb())
	return cmd
}

func (c *command) nameVerb() *cobra.Command {
	return &cobra.Command{
		Use: "name MODEL RUN", Short: "Give a finished training a name, also when another one has it", Args: usage(cobra.ExactArgs(2)),
		Example: "cultivar models name flowers@shop latest",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			run, err := find(cmd.Context(), cl, args[1])
			if err != nil {
				return err
			}
			m, err := cl.NameModel(cmd.Context(), args[0], run.Id)
			if err != nil {
				return err
			}
			if c.json {
				return c.emit("model", m)
			}
			c.say("%s is run #%d now.", safe.Text(m.Name), m.Run.Number)
			return nil
		},
	}
}

func (c *command) unnameVerb() *cobra.Command {
	return &cobra.Command{
		Use: "unname MODEL", Short: "Take a name away; the training stays", Args: usage(cobra.ExactArgs(1)), Example: "cultivar models unname flowers@shop",
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			if err := cl.UnnameModel(cmd.Context(), args[0]); err != nil {
				return err
			}
			if !c.json {
				c.say("%s is nothing now.", safe.Text(args[0]))
			}
			return nil
		},
	}
}

// isModel tells a model's name from a run's number or id, which have no @.
func isModel(word string) bool { return strings.Contains(word, "@") }
