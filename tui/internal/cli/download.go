package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/home"
)

// downloadOptions say which files of a run to fetch and where they go.
type downloadOptions struct {
	name   string // of one artifact
	format string // of a model
	all    bool
	output string // a folder, a file, or - for standard output
	force  bool   // replace what is there
}

// companions are what comes home beside the models: without the labels a model's answers mean nothing, and the report says
// how far to trust them. Samples of use and the model card are for fewer people; they come with --all or by name.
var companions = []string{runspec.FormatLabels, runspec.FormatReport}

func (c *command) downloadVerb() *cobra.Command {
	var o downloadOptions
	cmd := &cobra.Command{
		Use: "download RUN [FILE]", Short: "Take a finished model home",
		Long: "Take a finished model home: the model files, the labels and the report, a page to open in a browser; or one file by its\n" +
			"name or format. usage.md has code that uses the model, model-card.md what others should know of it.\n" +
			"A download that was cut goes on where it was. Files are never replaced unless --force is given.",
		Example: "cultivar download latest\ncultivar download 14 --format h5 --output ~/models\ncultivar download 14 usage.md\ncultivar download 14 labels.txt -o -",
	}
	flags := cmd.Flags()
	flags.StringVar(&o.format, "format", "", "only the model of this format, such as h5 or savedmodel")
	flags.BoolVar(&o.all, "all", false, "every file of the run: samples of use, model card, evaluation and split too")
	flags.StringVarP(&o.output, "output", "o", ".", "folder or file to write to; - is standard output")
	flags.BoolVar(&o.force, "force", false, "replace files of the same name")
	args := func(cmd *cobra.Command, args []string) error {
		if chosen := len(args) == 2; o.format != "" && o.all || chosen && (o.all || o.format != "") {
			return errors.New("a file name, --format and --all exclude each other")
		}
		return cobra.RangeArgs(1, 2)(cmd, args)
	}
	return c.onRun(cmd, args, func(ctx context.Context, cl *client.Client, run api.Run, rest []string) error {
		if len(rest) == 1 {
			o.name = rest[0]
		}
		if err := succeeded(run); err != nil {
			return err
		}
		if o.output == "-" {
			return c.pipe(ctx, cl, run, o)
		}
		files, err := c.takeHome(ctx, cl, run, o)
		if err == nil && c.json {
			err = c.emit("download", struct {
				Run   string   `json:"run"`
				Files []string `json:"files"`
			}{run.Id, files})
		}
		return err
	})
}

// choose picks artifacts of a run.
func choose(all []runspec.Artifact, run api.Run, o downloadOptions) ([]runspec.Artifact, error) {
	var out []runspec.Artifact
	var names []string
	for _, a := range all {
		names = append(names, a.Name)
		wanted := o.all || a.Name == o.name
		if o.name == "" && !o.all {
			isModel := a.Agreement != nil || a.Accuracy != nil || a.Format == "h5" || a.Format == "savedmodel"
			wanted = isModel && (o.format == "" || a.Format == o.format) || o.format == "" && slices.Contains(companions, a.Format)
		}
		if wanted {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		what := "model files"
		switch {
		case o.name != "":
			what = "file " + shown(o.name, "")
		case o.format != "":
			what = "model of format " + shown(o.format, "")
		}
		return nil, api.Errorf(api.CodeNotFound, "Run #%d has no %s. It has: %s.", run.Number, what, shown(strings.Join(names, ", "), "nothing"))
	}
	// Models come first. Index gives -1 for them.
	slices.SortStableFunc(out, func(a, b runspec.Artifact) int {
		return cmp.Compare(slices.Index(companions, a.Format), slices.Index(companions, b.Format))
	})
	return out, nil
}

// pipe writes one file, of several the first model, to standard output.
func (c *command) pipe(ctx context.Context, cl *client.Client, run api.Run, o downloadOptions) error {
	all, err := cl.Artifacts(ctx, run.Id)
	if err != nil {
		return err
	}
	chosen, err := choose(all, run, o)
	if err != nil {
		return err
	}
	r, err := cl.OpenArtifact(ctx, run.Id, chosen[0].Name)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(c.Out, sum), r)
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("write %s to standard output: %w", chosen[0].Name, err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != chosen[0].SHA256 {
		return fmt.Errorf("%s arrived altered: do not use what was written", chosen[0].Name)
	}
	return nil
}

// takeHome downloads files of a run and returns their paths.
func (c *command) takeHome(ctx context.Context, cl *client.Client, run api.Run, o downloadOptions) ([]string, error) {
	all, err := cl.Artifacts(ctx, run.Id)
	if err != nil {
		return nil, err
	}
	chosen, err := choose(all, run, o)
	if err != nil {
		return nil, err
	}
	paths, err := places(chosen, run, o)
	if err != nil {
		return nil, err
	}
	for i, a := range chosen {
		if err := c.fetch(ctx, cl, run.Id, a, paths[i]); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

func (c *command) fetch(ctx context.Context, cl *client.Client, run string, a runspec.Artifact, path string) error {
	if home.Same(path, a) {
		if !c.json {
			c.say("%s is here already.", shown(path, ""))
		}
		return nil
	}
	m := &meter{c: c}
	err := cl.Download(ctx, run, a, path, func(done, total int64) {
		m.set("downloading "+shown(filepath.Base(path), ""), done, total, fmt.Sprintf("%s of %s", size(done), size(total)))
	})
	m.end()
	if err != nil {
		return err
	}
	if !c.json {
		c.say("Saved %s (%s)%s", shown(path, ""), size(a.Bytes), modelNote(a))
	}
	return nil
}

// modelNote says how a model file compares with the trained model. Its own accuracy is left to the screens: it is
// measured on fewer photos than the model's, and two numbers side by side would only puzzle.
func modelNote(a runspec.Artifact) string {
	text := ""
	if a.Agreement != nil {
		text += ", answers like the trained model on " + percent(float64(*a.Agreement)) + " of the photos checked"
	}
	if a.MsPerImage != nil {
		text += fmt.Sprintf(", %.1f ms a photo", float64(*a.MsPerImage))
	}
	return text
}

// places decides where artifacts go. Files that are there stay, unless they are the very same or force is set: then all
// get the same number after their names.
func places(chosen []runspec.Artifact, run api.Run, o downloadOptions) ([]string, error) {
	info, err := os.Stat(o.output)
	isDir := err == nil && info.IsDir()
	if !isDir && (len(chosen) > 1 || strings.HasSuffix(o.output, string(filepath.Separator))) {
		return nil, fmt.Errorf("%s is no folder, and %s to be written: make it first", shown(o.output, ""), count(len(chosen), "file is", "files are"))
	}
	if !isDir {
		if err == nil && !o.force && !home.Same(o.output, chosen[0]) {
			return nil, fmt.Errorf("%s exists: give another name, or --force to replace it", shown(o.output, ""))
		}
		return []string{o.output}, nil
	}
	return home.Places(o.output, run, chosen, o.force), nil
}

// writable refuses an output folder early: hours of training should not end with "no such folder".
func writable(dir string, unused bool) error {
	if unused {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return fmt.Errorf("%s is no folder to write the model files into: make it first, or give another with --output", shown(dir, ""))
	}
	if err := tryWrite(dir); err != nil {
		return fmt.Errorf("the model files cannot be written into %s (%w): give another folder with --output", shown(dir, ""), err)
	}
	return nil
}

// tryWrite makes a file in a folder and removes it again.
func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".cultivar-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
