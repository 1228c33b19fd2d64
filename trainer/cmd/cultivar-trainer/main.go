// Command cultivar-trainer trains, evaluates and runs image classifiers. The server starts one process of it for each
// attempt of a task; it is as useful by hand on a finished model.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/shared/safe"
	"github.com/cultivar-ml/cultivar/shared/version"
	"github.com/cultivar-ml/cultivar/trainer/internal/attempt"
	"github.com/cultivar-ml/cultivar/trainer/internal/bases"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// heapSpare is by how much of what is in use the memory may grow before it is collected, in percent: what there is are a few
// large arrays without pointers, which cost little to collect and much to have twice.
const heapSpare = 25

// run returns the process' exit code.
func run(args []string) int {
	debug.SetGCPercent(heapSpare)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-terminate
		cancel(attempt.ErrInterrupted)
		signal.Stop(terminate) // a second one ends the process at once
	}()
	root := command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cultivar-trainer:", safe.Text(err.Error()))
	}
	var usage usageError
	if errors.As(err, &usage) {
		return 2
	}
	return attempt.ExitCode(err)
}

// usageError is a command line that is not understood.
type usageError struct{ error }

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "cultivar-trainer",
		Short:         "Train, evaluate and run image classifiers",
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(trainCommand(), featuresCommand(), evaluateCommand(), predictCommand(), planCommand(), bases.Command(quietTensorFlow))
	return root
}
