// Package cli is the command line: one verb for each thing the screens can do, as text for people or as JSON for
// scripts. It starts the screens when there is a terminal and no verb, and draws none itself.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

// Program is what the command line works with.
type Program struct {
	Out, Err    io.Writer
	Terminal    bool // input and output are a terminal: the screens can be shown
	ErrTerminal bool // Err is a terminal: progress may be redrawn in place
	Now         func() time.Time
	// In is what - stands for: of `predict` a photo, of `login --token-file` the token.
	In io.Reader
	// Secret asks the person for a word without showing it; nil: nobody can be asked.
	Secret func(ctx context.Context, prompt string) (string, error)
	// Poll is the time between two looks at a delivery; 0: a second.
	Poll time.Duration
	// Screens shows the terminal program on a folder, which may be empty.
	Screens func(ctx context.Context, s Start) error
}

// Start is how the screens are started.
type Start struct {
	Connect func(context.Context) (*client.Client, error)
	Folder  string
	NoColor bool
	ASCII   bool
}

// command is one run of the program: its surroundings and what all verbs share.
type command struct {
	*Program
	server   string
	insecure bool
	json     bool
	quiet    bool
	ascii    bool
}

// New returns the root command.
func New(p *Program) *cobra.Command {
	c := &command{Program: p}
	root := &cobra.Command{
		Use:   "cultivar [FOLDER]",
		Short: "Grow your own image classifier from folders of photos",
		Long: "Grow your own image classifier from folders of photos: one folder per class.\n" +
			"Without a verb, in a terminal, the screens open. Training goes on when you leave.",
		Example: indent("cultivar ~/photos/flowers\ncultivar check ~/photos/flowers\ncultivar train ~/photos/flowers --preset quick"),
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE:    c.screens,
	}
	root.SuggestionsMinimumDistance = 2
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageOf(cmd, err) })
	flags := root.PersistentFlags()
	flags.StringVar(&c.server, "server", "", "address of the server, or own for the one on this machine; `cultivar server` tells which is used")
	flags.BoolVar(&c.insecure, "insecure", false, "allow http to another machine, which others can read and use")
	flags.BoolVarP(&c.quiet, "quiet", "q", false, "no progress, only results")
	root.Flags().BoolVar(&c.ascii, "ascii", os.Getenv("TERM") == "dumb", "draw with plain ASCII characters")
	root.AddGroup(&cobra.Group{ID: "data", Title: "your photos"}, &cobra.Group{ID: "run", Title: "trainings"}, &cobra.Group{ID: "model", Title: "models"}, &cobra.Group{ID: "server", Title: "servers"})
	c.add(root, "data", c.checkVerb(), c.sampleVerb(), c.datasetsVerb())
	c.add(root, "run", c.planVerb(), c.trainVerb(), c.runsVerb(), c.watchVerb(), c.stopVerb(), c.cancelVerb(), c.retryVerb())
	c.add(root, "model", c.resultsVerb(), c.downloadVerb(), c.shareVerb(), c.predictVerb(), c.modelsVerb(), c.basesVerb())
	c.add(root, "server", c.loginVerb(), c.logoutVerb(), c.serverVerb())
	root.AddCommand(c.doctorVerb(), exitCodesTopic())
	root.CompletionOptions.HiddenDefaultCmd = false
	return root
}

// add puts verbs into a group of the help and gives each --json.
func (c *command) add(root *cobra.Command, group string, verbs ...*cobra.Command) {
	for _, v := range verbs {
		v.GroupID = group
		v.Example = indent(v.Example)
		v.Flags().BoolVar(&c.json, "json", false, "print JSON, for scripts")
		run := v.RunE
		v.RunE = func(cmd *cobra.Command, args []string) error { return c.signIn(run(cmd, args)) }
		root.AddCommand(v)
	}
}

// indent sets examples off, as help wants them.
func indent(lines string) string { return "  " + strings.ReplaceAll(lines, "\n", "\n  ") }

// screens opens the terminal program, or says why not.
func (c *command) screens(cmd *cobra.Command, args []string) error {
	var folder string
	if len(args) == 1 {
		folder = args[0]
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			return usageOf(cmd, unknownVerb(cmd, folder))
		}
	}
	if !c.Terminal {
		return usageOf(cmd, fmt.Errorf("the screens need a terminal; in scripts use a verb, such as `cultivar train %s`", shown(folder, "FOLDER")))
	}
	return c.Screens(cmd.Context(), Start{Connect: c.connect, Folder: folder, NoColor: os.Getenv("NO_COLOR") != "", ASCII: c.ascii})
}

func unknownVerb(cmd *cobra.Command, word string) error {
	text := fmt.Sprintf("%s is neither a verb nor a folder", shown(word, ""))
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		text += "; did you mean `cultivar " + strings.Join(near, "` or `cultivar ") + "`?"
	}
	return fmt.Errorf("%s", text)
}

// say prints lines of results.
func (c *command) say(format string, args ...any) {
	_, _ = fmt.Fprintln(c.Out, clean(fmt.Sprintf(format, args...)))
}

// note prints lines that are no result, and nothing with --quiet.
func (c *command) note(format string, args ...any) {
	if !c.quiet {
		_, _ = fmt.Fprintln(c.Err, clean(fmt.Sprintf(format, args...)))
	}
}

// clean makes lines fit for the terminal: errors and states come from the server, and some servers are not one's own.
func clean(lines string) string {
	all := strings.Split(lines, "\n")
	for i, l := range all {
		all[i] = safe.Text(l).String()
	}
	return strings.Join(all, "\n")
}

// emit prints an object as one line of JSON, which says first what it is.
func (c *command) emit(kind string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	head := fmt.Sprintf(`{"message_type":%q`, kind)
	if rest, ok := bytes.CutPrefix(b, []byte("{")); ok && len(rest) > 1 {
		return c.print(head+",", rest)
	}
	return c.print(head, []byte("}"))
}

// emitAll prints a list as one line of JSON.
func (c *command) emitAll(list any) error {
	b, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return c.print("", b)
}

// print writes a line of JSON. What a terminal would act on is escaped there too, which changes nothing of its meaning.
func (c *command) print(head string, b []byte) error {
	var out bytes.Buffer
	out.WriteString(head)
	for _, r := range string(b) {
		switch {
		case r < 0x7f || unicode.IsGraphic(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			_, _ = fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			_, _ = fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	out.WriteByte('\n')
	if _, err := c.Out.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// shown makes a name from outside fit for the terminal; empty becomes instead.
func shown(name, instead string) string {
	if name == "" {
		return instead
	}
	return safe.Text(name).String()
}
