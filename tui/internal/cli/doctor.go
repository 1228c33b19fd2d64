package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/shared/version"
	"github.com/cultivar-ml/cultivar/tui/internal/local"
)

// finding is one thing that doctor looked at.
type finding struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Says string `json:"says"`
}

func (c *command) doctorVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor", Short: "Find out why something does not work", Args: usage(cobra.NoArgs), Example: indent("cultivar doctor"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings, cause := c.examine(cmd.Context())
			for _, f := range findings {
				mark := "ok  "
				if !f.OK {
					mark = "FAIL"
				}
				if c.json {
					if err := c.emit("finding", f); err != nil {
						return err
					}
					continue
				}
				c.say("%s  %s: %s", mark, f.Name, f.Says)
			}
			return cause
		},
	}
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON, for scripts")
	return cmd
}

// examine looks at what trainings need, in the order in which one thing needs the one before, and stops where that makes
// no sense any more. The error is that of the first thing that fails.
func (c *command) examine(ctx context.Context) ([]finding, error) {
	out := []finding{{"this program", true, version.String()}}
	fail := func(name string, err error) ([]finding, error) {
		err = c.signIn(err)
		return append(out, finding{name, false, shown(strings.ReplaceAll(err.Error(), "\n", " "), "")}), codedError{fmt.Errorf("%s needs attention", name), ExitCode(err)}
	}
	where := "server"
	to, err := c.target()
	if err != nil {
		return fail(where, err)
	}
	if to.source == byOwn {
		where = "server on this machine"
		dir, err := local.DataDir()
		if err == nil {
			err = tryWrite(nearestFolder(dir))
		}
		if err != nil {
			return fail("data folder", err)
		}
		out = append(out, finding{"data folder", true, shown(dir, "")})
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return fail(where, err)
	}
	v, err := cl.Version(ctx)
	if err != nil {
		return fail(where, err)
	}
	said := "release " + shown(v.Version, "unknown")
	if to.source != byOwn {
		said = shown(to.Server.Server, "") + ", " + said
	}
	out = append(out, finding{where, true, said})
	if v.SpecVersion < runspec.Version-1 || v.SpecVersion > runspec.Version+1 {
		return fail("releases", fmt.Errorf("the server speaks format %d and this program %d: install the same release of both", v.SpecVersion, runspec.Version))
	}
	bases, err := cl.Bases(ctx)
	if err == nil && len(bases) == 0 {
		err = fmt.Errorf("none is installed; `cultivar-trainer bases` installs them")
	}
	if err != nil {
		return fail("base models", err)
	}
	for _, b := range bases {
		out = append(out, finding{"base model", true, shown(b.Title, b.Name)})
	}
	return out, nil
}

// nearestFolder is the folder itself, or the one that it will be made in.
func nearestFolder(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return dir
		}
		dir = up
	}
}
