package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/api"
)

func (c *command) basesVerb() *cobra.Command {
	return &cobra.Command{
		Use: "bases", Short: "List the base models that trainings can start from", Args: usage(cobra.NoArgs), Example: "cultivar bases",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			bases, err := cl.Bases(cmd.Context())
			switch {
			case err != nil:
				return err
			case c.json:
				return c.emitAll(append([]api.Base{}, bases...))
			case len(bases) == 0:
				c.say("No base model is installed. `make bases` fetches the default one.")
			default:
				c.sayBases(bases)
			}
			return nil
		},
	}
}

// sayBases prints a table, and below it what its figures stand on.
func (c *command) sayBases(bases []api.Base) {
	t := newTable("name", "title", ">input", ">weights", ">size", ">work per photo", ">ms a photo", ">ImageNet")
	var notes []string
	note := func(text string) {
		if !slices.Contains(notes, text) {
			notes = append(notes, text)
		}
	}
	for _, b := range bases {
		top1, ms, title := "–", "–", shown(b.Title, "")
		if b.ImagenetTop1 != nil {
			top1 = fmt.Sprintf("%.1f %%", *b.ImagenetTop1)
		}
		if b.MsPerImage != nil {
			ms = fmt.Sprintf("%.1f", *b.MsPerImage)
		}
		if b.MeasuredOn != nil {
			note("Milliseconds a photo: on " + shown(*b.MeasuredOn, "") + ", decoding not counted.")
		}
		if b.Unverified != nil && *b.Unverified {
			title += " *"
			note("* No hash of these weights is published: nobody vouches for the file that they came from.")
		}
		t.row(shown(b.Name, ""), title, fmt.Sprintf("%d px", b.Size), fmt.Sprintf("%.1f M", float64(b.Params)/1e6), size(b.Bytes),
			fmt.Sprintf("%.2f G", float64(b.Macs)/1e9), ms, top1)
	}
	c.say("%s", t)
	for _, text := range notes {
		c.say("%s", text)
	}
}
