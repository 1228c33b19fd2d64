// Command cultivar is the terminal program and the command line of Cultivar. It wires them to the terminal, signals and
// exit codes, and does nothing else.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"charm.land/fang/v2"
	"github.com/charmbracelet/x/term"

	"github.com/cultivar-ml/cultivar/shared/version"
	"github.com/cultivar-ml/cultivar/tui/internal/app"
	"github.com/cultivar-ml/cultivar/tui/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second ctrl+c ends the program at once
	terminal := term.IsTerminal(os.Stdin.Fd()) && term.IsTerminal(os.Stdout.Fd())
	root := cli.New(&cli.Program{
		Out: os.Stdout, Err: os.Stderr, Now: time.Now, Terminal: terminal,
		ErrTerminal: term.IsTerminal(os.Stderr.Fd()) && os.Getenv("TERM") != "dumb",
		Screens: func(ctx context.Context, s cli.Start) error {
			return app.Run(ctx, app.Options{Connect: s.Connect, Folder: s.Folder, NoColor: s.NoColor, ASCII: s.ASCII, Version: version.String()})
		},
	})
	err := fang.Execute(ctx, root, fang.WithVersion(version.String()), fang.WithErrorHandler(complain))
	stop()
	os.Exit(cli.ExitCode(err))
}

// complain prints an error as plain text: what happened, why, what to do.
func complain(w io.Writer, _ fang.Styles, err error) {
	if text := cli.Message(err); text != "" {
		_, _ = fmt.Fprintln(w, text)
	}
}
