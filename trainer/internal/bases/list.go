package bases

import (
	"encoding/json"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/trainer/internal/network"
)

// listed is an entry with what can be said of it beside what bases.json says.
type listed struct {
	Entry
	Bytes      int     `json:"bytes"`                  // of its weights as float32
	MsPerImage float64 `json:"ms_per_image,omitempty"` // milliseconds; absent: not measured
	MeasuredOn string  `json:"measured_on,omitempty"`
	Installed  bool    `json:"installed"`
}

func listCommand() *cobra.Command {
	var dir string
	var asJSON, all bool
	c := &cobra.Command{
		Use:   "list --dir DIR [--all] [--json]",
		Short: "List the installed base models, best first",
		Long: "Lists the bases in DIR with their input size, weights, bytes as float32, multiply-adds an image and, once\n" +
			"measured, milliseconds an image. --all lists those that could be installed too, with where from.",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := list(dir, all)
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(c.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(append([]listed{}, list...)) // [] rather than null when empty
			}
			if len(list) == 0 {
				fmt.Fprintf(c.OutOrStdout(), "no base model is installed in %q\n", dir)
				return nil
			}
			return printTable(c, list)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "folder of base models")
	c.Flags().BoolVar(&all, "all", false, "also those that are not installed")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	_ = c.MarkFlagRequired("dir")
	return c
}

// list is what is installed in dir, best first, and with all what else is known.
func list(dir string, all bool) ([]listed, error) {
	catalog, err := Open(dir)
	if err != nil {
		return nil, err
	}
	speeds, err := Speeds(dir)
	if err != nil {
		return nil, err
	}
	var out []listed
	installed := map[string]bool{}
	for _, e := range catalog.Entries {
		s := speeds[e.Name]
		out = append(out, listed{Entry: e, Bytes: 4 * e.Params, MsPerImage: s.MsPerImage, MeasuredOn: s.Machine, Installed: true})
		installed[e.Name] = true
	}
	for _, k := range table() {
		if installed[k.name] || !all {
			continue
		}
		net, err := network.ByName(k.name)
		if err != nil {
			return nil, err
		}
		e, err := figures(k, net)
		if err != nil {
			return nil, err
		}
		if k.url != "" {
			e.Source = k.url
		}
		e.SourceSHA256, e.Unverified = k.sha256, k.sha256 == ""
		out = append(out, listed{Entry: e, Bytes: 4 * e.Params})
	}
	return out, nil
}

func printTable(c *cobra.Command, list []listed) error {
	table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tPIXELS\tWEIGHTS\tSIZE\tMULTIPLY-ADDS\tMS AN IMAGE\tIMAGENET TOP-1\tSOURCE")
	var notes []string
	machines := map[string]bool{}
	for _, l := range list {
		ms := "–"
		if l.MsPerImage > 0 {
			ms = fmt.Sprintf("%.1f", l.MsPerImage)
			if !machines[l.MeasuredOn] {
				machines[l.MeasuredOn] = true
				notes = append(notes, fmt.Sprintf("Milliseconds an image: all cores of %s, decoding not counted.", plain(l.MeasuredOn)))
			}
		}
		source := plain(l.Source)
		if l.Unverified {
			source += " (unverified: no hash of it is published)"
		}
		if !l.Installed {
			source = "not installed: " + source
		}
		fmt.Fprintf(table, "%s\t%d\t%.1f M\t%.1f MB\t%.0f M\t%s\t%.1f %%\t%s\n", l.Name, l.Size,
			float64(l.Params)/1e6, float64(l.Bytes)/1e6, float64(l.MACs)/1e6, ms, l.ImageNetTop1, source)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, note := range notes {
		fmt.Fprintln(c.OutOrStdout(), note)
	}
	return nil
}

// plain quotes a text only if it holds what a terminal would act on: a source may be the name of a user's file.
func plain(text string) string {
	if quoted := strconv.Quote(text); quoted != `"`+text+`"` {
		return quoted
	}
	return text
}
