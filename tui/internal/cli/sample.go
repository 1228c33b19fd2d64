package cli

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/tui/internal/sample"
)

func (c *command) sampleVerb() *cobra.Command {
	var (
		perClass int
		seed     uint64
		problems bool
	)
	cmd := &cobra.Command{
		Use: "sample FOLDER", Short: "Draw a dataset to try everything with",
		Long:    "Draw a dataset of garden plants to try everything with: drawings that look like photos, so that nothing has to be downloaded.",
		Example: "cultivar sample garden\ncultivar train garden",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if perClass < 1 || perClass > 10_000 {
				return usageOf(cmd, fmt.Errorf("--per-class is %d, but must lie between 1 and 10000", perClass))
			}
			return c.sample(args[0], seed, perClass, problems)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&perClass, "per-class", sample.PerClass, "photos of each class")
	flags.Uint64Var(&seed, "seed", 1, "other seeds draw other photos")
	flags.BoolVar(&problems, "problems", false, "add files that `cultivar check` must find: no image, a copy, an empty and a cut file")
	return cmd
}

func (c *command) sample(dir string, seed uint64, perClass int, problems bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("draw the sample into %s: %w", shown(dir, ""), err)
	}
	for _, e := range entries {
		if !slices.Contains(sample.Classes(), e.Name()) {
			return fmt.Errorf("%s holds other things (%s): give a new folder", shown(dir, ""), shown(e.Name(), ""))
		}
	}
	if err := sample.Write(dir, seed, perClass); err != nil {
		return err
	}
	if problems {
		if err := sample.WriteProblems(dir, seed); err != nil {
			return err
		}
	}
	if c.json {
		return c.emit("sample", struct {
			Folder  string   `json:"folder"`
			Classes []string `json:"classes"`
			Images  int      `json:"images"`
		}{dir, sample.Classes(), perClass * len(sample.Classes())})
	}
	c.say("%s: %s of %d classes. Next: cultivar train %s", shown(dir, ""), count(perClass*len(sample.Classes()), "picture", "pictures"), len(sample.Classes()), shown(dir, ""))
	return nil
}
