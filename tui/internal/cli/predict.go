package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const shownScores = 3

// predictionLine is a line of --json.
type predictionLine struct {
	Path   string          `json:"path"`
	Top    []runspec.Score `json:"top"`
	Unsure bool            `json:"unsure,omitempty"`
	Error  string          `json:"error,omitempty"`
}

func (c *command) predictVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "predict RUN IMAGE|FOLDER|-…", Short: "Try a model on photos",
		Long: "Says what the model sees on photos; - is one photo from standard input. Of a photo that may show none of its classes it says\n" +
			"that it is unsure: the likeliest class lies below the threshold that came with the model.",
		Example: "cultivar predict latest photo.jpg\ncultivar predict 14 ~/photos/new --json\ncurl -s https://example.org/photo.jpg | cultivar predict latest -",
	}
	return c.onRun(cmd, cobra.MinimumNArgs(2), func(ctx context.Context, cl *client.Client, run api.Run, rest []string) error {
		if err := succeeded(run); err != nil {
			return err
		}
		received, err := receive(rest, c.In)
		if err != nil {
			return err
		}
		if received != "" {
			defer func() { _ = os.Remove(received) }()
		}
		files, err := photos(rest, received)
		if err != nil {
			return err
		}
		return c.predict(ctx, cl, run, files, received)
	})
}

// fromInput is the argument that stands for a photo from standard input.
const fromInput = "-"

// receive puts the photo from standard input into a file, if args ask for it, and returns its path.
func receive(args []string, in io.Reader) (string, error) {
	if !slices.Contains(args, fromInput) {
		return "", nil
	}
	f, err := os.CreateTemp("", "cultivar-photo-")
	if err != nil {
		return "", fmt.Errorf("read the photo from standard input: %w", err)
	}
	_, err = io.Copy(f, io.LimitReader(in, manifest.MaxFileBytes+1)) // what is longer is refused as any file is
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("read the photo from standard input: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// predict prints an answer for each file in the order given, each as soon as those before it are there. received is the file
// of the photo from standard input.
func (c *command) predict(ctx context.Context, cl *client.Client, run api.Run, files []string, received string) error {
	answers := make(map[int]runspec.Prediction, len(files))
	next, failed := 0, 0
	for p, err := range cl.Predict(ctx, run.Id, files) {
		if err != nil {
			return err
		}
		answers[p.Index] = p
		for ; ; next++ {
			a, ok := answers[next]
			if !ok {
				break
			}
			delete(answers, next)
			if a.Error != "" {
				failed++
			}
			path := files[next]
			if path == received {
				path = fromInput
			}
			if err := c.prediction(path, a); err != nil {
				return err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if missing := len(files) - next; missing > 0 {
		return fmt.Errorf("%s got no answer; try again", count(missing, "photo", "photos"))
	}
	if failed > 0 && failed == len(files) {
		return fmt.Errorf("none of the photos could be read")
	}
	return nil
}

func (c *command) prediction(path string, p runspec.Prediction) error {
	if c.json {
		line := predictionLine{Path: path, Top: p.Top, Unsure: p.Unsure, Error: p.Error}
		if line.Top == nil {
			line.Top = []runspec.Score{}
		}
		return c.emit("prediction", line)
	}
	if p.Error != "" {
		c.say("%s: %s", shown(path, ""), shown(p.Error, "cannot be read"))
		return nil
	}
	parts := make([]string, 0, shownScores)
	for _, s := range p.Top[:min(shownScores, len(p.Top))] {
		parts = append(parts, shown(s.Label, "unnamed")+" "+percent(float64(s.Probability)))
	}
	unsure := ""
	if p.Unsure {
		unsure = "unsure; "
	}
	c.say("%s: %s%s", shown(path, ""), unsure, strings.Join(parts, ", "))
	return nil
}

// photos lists the files that arguments mean: files themselves, what lies in folders unless it is hidden, and received for
// the photo from standard input.
func photos(args []string, received string) ([]string, error) {
	var out []string
	for _, arg := range args {
		if arg == fromInput {
			arg = received
		}
		info, err := os.Stat(arg)
		if err != nil {
			return nil, api.Errorf(api.CodeNotFound, "There is no photo %s: check its name.", shown(arg, ""))
		}
		if !info.IsDir() {
			out = append(out, arg)
			continue
		}
		err = filepath.WalkDir(arg, func(path string, d fs.DirEntry, err error) error {
			hidden := path != arg && strings.HasPrefix(d.Name(), ".")
			switch {
			case err != nil:
				return err
			case hidden && d.IsDir():
				return filepath.SkipDir
			case d.Type().IsRegular() && !hidden:
				out = append(out, path)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("look for photos in %s: %w", shown(arg, ""), err)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("there are no photos in %s", shown(strings.Join(args, ", "), ""))
	}
	return out, nil
}
