package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
)

// Exit codes; `cultivar help exit-codes` prints them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitSignIn      = 4
	exitUnreachable = 5
	exitProblems    = 6
	exitTraining    = 7
	exitInterrupted = 130
)

// usageError is a command line that cannot be understood.
type usageError struct {
	error
	verb string
}

func (e usageError) Unwrap() error { return e.error }

func (e usageError) Error() string {
	return fmt.Sprintf("%v\n`%s --help` shows how.", e.error, e.verb)
}

func usageOf(cmd *cobra.Command, err error) error {
	return usageError{err, cmd.CommandPath()}
}

// usage turns the complaint of an argument check into a usageError.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageOf(cmd, fmt.Errorf("%w; the command is `%s`", err, cmd.UseLine()))
		}
		return nil
	}
}

// codedError is an error that has an exit code of its own.
type codedError struct {
	error
	code int
}

func (e codedError) Unwrap() error { return e.error }

// ExitCode is the process's exit code for what a command returned.
func ExitCode(err error) int {
	var (
		usage usageError
		coded codedError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, client.ErrUnreachable):
		return exitUnreachable
	}
	switch api.Code(err) {
	case api.CodeNotFound:
		return exitNotFound
	case api.CodeUnauthorized, api.CodeForbidden:
		return exitSignIn
	case api.CodeUnavailable:
		return exitUnreachable
	}
	return exitFailed
}

// Message is what is said about an error: nothing about none, and nothing about ctrl+c. It is fit for the terminal, for
// much of it comes from servers.
func Message(err error) string {
	if err == nil || errors.Is(err, context.Canceled) {
		return ""
	}
	return clean(strings.TrimSpace(err.Error()))
}

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: strings.Join([]string{
			"  0  all is well",
			"  1  it failed",
			"  2  the command line was not understood",
			"  3  not found",
			"  4  you need to sign in: cultivar login URL",
			"  5  the server is not reachable",
			"  6  the photos have problems, and --strict was given",
			"  7  the training failed or was cancelled",
			"130  ctrl+c",
		}, "\n"),
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), cmd.Long)
			return err
		},
	}
}
