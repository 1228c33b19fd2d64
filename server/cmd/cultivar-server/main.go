// Command cultivar-server serves the API of Cultivar, keeps its data and runs the trainers.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/runner/local"
	"github.com/cultivar-ml/cultivar/shared/version"
)

func main() {
	if err := command().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "cultivar-server:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "cultivar-server",
		Short:         "Serve Cultivar: datasets, trainings and their results",
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(serveCommand(), superviseCommand())
	return root
}

func serveCommand() *cobra.Command {
	var c config.Config
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server until it is told to end; trainings go on without it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sys, err := config.ThisSystem()
			if err != nil {
				return err
			}
			resolved, err := c.Resolve(sys)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), resolved, sys.Executable)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Data, "data", "", "folder for everything the server keeps (default: the user's data folder)")
	f.StringVar(&c.Listen, "listen", "", "unix:PATH or 127.0.0.1:PORT (default: a socket in the data folder)")
	f.StringVar(&c.Trainer, "trainer", "", "path of cultivar-trainer (default: beside this program)")
	f.StringVar(&c.Bases, "bases", "", "folder of base models (default: found beside the data or the program)")
	f.DurationVar(&c.IdleExit, "idle-exit", 0, "end after so long without requests and trainings; 0: never")
	f.IntVar(&c.Slots, "slots", 1, "trainings at once")
	return cmd
}

// superviseCommand is the parent of one trainer; the server starts it and people don't.
func superviseCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "supervise JOB",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(_ *cobra.Command, args []string) error { return local.Supervise(args[0]) },
	}
}
