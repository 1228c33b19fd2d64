// Command cultivar is the terminal program and the command line of Cultivar. It wires them to the terminal, signals and
// exit codes, and does nothing else.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"charm.land/fang/v2"
	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/version"
	"github.com/cultivar-ml/cultivar/tui/internal/app"
	"github.com/cultivar-ml/cultivar/tui/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second ctrl+c ends the program at once
	terminal := term.IsTerminal(os.Stdin.Fd()) && term.IsTerminal(os.Stdout.Fd())
	root := cli.New(&cli.Program{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Now: time.Now, Terminal: terminal, Secret: asker(),
		ErrTerminal: term.IsTerminal(os.Stderr.Fd()) && os.Getenv("TERM") != "dumb",
		Screens: func(ctx context.Context, s cli.Start) error {
			return app.Run(ctx, app.Options{Connect: s.Connect, Folder: s.Folder, NoColor: s.NoColor, ASCII: s.ASCII, Version: version.String()})
		},
	})
	root.Version = version.String()
	err := execute(ctx, root, os.Args[1:])
	stop()
	if text := cli.Message(err); text != "" {
		fmt.Fprintln(os.Stderr, text)
	}
	os.Exit(cli.ExitCode(err))
}

// execute runs the command line. Only help and manual go through fang, which draws them: it asks the terminal for its
// colours first, also to print an error, and a terminal that does not answer would hold that up for seconds.
func execute(ctx context.Context, root *cobra.Command, args []string) error {
	asked := len(args) > 0 && (args[0] == "help" || args[0] == "man") || slices.Contains(args, "--help") || slices.Contains(args, "-h")
	if asked && os.Getenv("TERM") != "dumb" {
		return fang.Execute(ctx, root, fang.WithVersion(root.Version), fang.WithErrorHandler(func(io.Writer, fang.Styles, error) {}))
	}
	root.SilenceUsage, root.SilenceErrors = true, true
	return root.ExecuteContext(ctx)
}

// asker asks on the terminal for a word that is not shown; nil without a terminal to ask on.
func asker() func(context.Context, string) (string, error) {
	in := os.Stdin.Fd()
	if !term.IsTerminal(in) || !term.IsTerminal(os.Stderr.Fd()) {
		return nil
	}
	return func(ctx context.Context, prompt string) (string, error) {
		before, err := term.GetState(in)
		if err != nil {
			return "", err
		}
		fmt.Fprint(os.Stderr, prompt)
		defer fmt.Fprintln(os.Stderr)
		type answer struct {
			word []byte
			err  error
		}
		answers := make(chan answer, 1)
		go func() {
			word, err := term.ReadPassword(in)
			answers <- answer{word, err}
		}()
		select {
		case a := <-answers:
			return string(a.word), a.err
		case <-ctx.Done(): // the reader still waits, so the echo has to be given back here
			_ = term.Restore(in, before)
			return "", ctx.Err()
		}
	}
}
