package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/tui/internal/home"
)

const shownPerReason = 5 // problems of one kind that text lists by name; JSON has all

// report is what `check --json` prints.
type report struct {
	Name     string                  `json:"name"`
	Digest   string                  `json:"digest"`
	Images   int                     `json:"images"`
	Bytes    int64                   `json:"bytes"`
	Classes  []api.ClassCount        `json:"classes"`
	Problems []manifest.Problem      `json:"problems"`
	Skipped  map[manifest.Reason]int `json:"skipped"`
}

func (c *command) checkVerb() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:     "check FOLDER",
		Short:   "See what is in a folder of photos and what is wrong with it",
		Example: "cultivar check ~/photos/flowers\ncultivar check ~/photos/flowers --strict --json",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := c.scan(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.json {
				err = c.emit("scan", reportOf(m))
			} else {
				c.describe(m)
			}
			if err == nil && strict {
				err = strictly(m)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 6 when there are errors or warnings")
	return cmd
}

func strictly(m *manifest.Manifest) error {
	n := 0
	for _, p := range m.Problems {
		if p.Severity != manifest.Info {
			n++
		}
	}
	if n > 0 {
		return codedError{fmt.Errorf("%s found, and --strict was given", count(n, "problem", "problems")), exitProblems}
	}
	return nil
}

// scan reads a folder and shows how far it is.
func (c *command) scan(ctx context.Context, folder string) (*manifest.Manifest, error) {
	if info, err := os.Stat(folder); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("%s is a file; give the folder that holds one folder per class", shown(folder, ""))
	}
	m := &meter{c: c}
	defer m.end()
	return manifest.Scan(ctx, folder, manifest.ScanOptions{
		Cache: home.ScanCache(folder),
		Progress: func(p manifest.Progress) {
			switch p.Stage {
			case manifest.Hashing:
				m.set("reading photos", p.HashedBytes, p.Bytes, count(p.Images, "image", "images"))
			default:
				m.set("looking through the folder", 0, 0, count(p.Files, "file", "files"))
			}
		},
	})
}

func reportOf(m *manifest.Manifest) report {
	r := report{Name: m.Name, Digest: manifest.Digest(m.Images), Images: len(m.Images), Classes: classCounts(m),
		Problems: m.Problems, Skipped: m.Skipped}
	if r.Problems == nil {
		r.Problems = []manifest.Problem{}
	}
	for _, im := range m.Images {
		r.Bytes += im.Size
	}
	return r
}

func classCounts(m *manifest.Manifest) []api.ClassCount {
	n := map[string]int{}
	for _, im := range m.Images {
		n[im.Class]++
	}
	out := make([]api.ClassCount, 0, len(m.Classes))
	for _, class := range m.Classes {
		out = append(out, api.ClassCount{Name: class, Images: n[class]})
	}
	return out
}

// describe prints the classes and the problems, those of a kind together.
func (c *command) describe(m *manifest.Manifest) {
	r := reportOf(m)
	c.say("%s: %s in %s, %s", shown(m.Name, "folder"), count(r.Images, "image", "images"), count(len(r.Classes), "class", "classes"), size(r.Bytes))
	if len(r.Classes) > 0 {
		t := newTable("class", ">images")
		for _, cl := range r.Classes {
			t.row(shown(cl.Name, ""), humanize.Comma(int64(cl.Images)))
		}
		c.say("\n%s", t)
	}
	c.problems(m.Problems)
}

// problems prints problems grouped by kind, the worst first, as the manifest sorts them.
func (c *command) problems(all []manifest.Problem) {
	if len(all) == 0 {
		c.say("\nNo problems found.")
		return
	}
	for start := 0; start < len(all); {
		end := start
		for end < len(all) && all[end].Reason == all[start].Reason && all[end].Severity == all[start].Severity {
			end++
		}
		group := all[start:end]
		c.say("\n%s: %s (%s)", group[0].Severity, reasonWords(group[0].Reason), humanize.Comma(int64(len(group))))
		for i, p := range group {
			if i == shownPerReason && len(group) > shownPerReason+1 {
				c.say("  … and %d more; --json lists all", len(group)-i)
				break
			}
			c.say("  %s", shown(p.Text, p.Path))
		}
		start = end
	}
}

// reasonWords names a kind of problem, of which there may be many.
func reasonWords(r manifest.Reason) string {
	words := map[manifest.Reason]string{
		manifest.NotAnImage: "files that are no images", manifest.Unsupported: "formats that cannot be trained on",
		manifest.Empty: "empty files", manifest.Damaged: "damaged files", manifest.TooManyPixels: "images with too many pixels",
		manifest.TooLarge: "files that are too large", manifest.TooSmall: "images that are very small",
		manifest.WrongExtension: "names that promise another format", manifest.Rotated: "photos taken with the camera turned",
		manifest.Animated: "animations", manifest.DuplicateIn: "the same image twice in a class",
		manifest.DuplicateLeak: "the same image in two classes", manifest.NearDuplicate: "images that look nearly the same",
		manifest.Hidden: "hidden files", manifest.Stray: "files outside every class folder", manifest.Link: "links and special files",
		manifest.Unreadable: "files that cannot be read", manifest.FewImages: "classes with few images",
		manifest.EmptyClass: "class folders without an image", manifest.Imbalance: "classes of very different size",
		manifest.NoClasses: "no class folders", manifest.OneClass: "only one class", manifest.SplitFolders: "folders for training and testing",
		manifest.BadName: "names with invisible or odd characters", manifest.TooMany: "too many of them",
	}
	if w, ok := words[r]; ok {
		return w
	}
	return strings.ReplaceAll(string(r), "_", " ")
}
