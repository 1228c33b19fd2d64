// Command cultivar-server serves the API of Cultivar, keeps its data and runs the trainers.
package main

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/confine"
	"github.com/cultivar-ml/cultivar/server/internal/runner/local"
	"github.com/cultivar-ml/cultivar/server/internal/unpack"
	"github.com/cultivar-ml/cultivar/shared/pack"
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
	root.AddCommand(serveCommand(), tokenCommand(), configCommand(), doctorCommand(), fsckCommand(), backupCommand(), restoreCommand(), superviseCommand(), unpackCommand())
	return root
}

func serveCommand() *cobra.Command {
	var f settingsFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server until it is told to end; trainings go on without it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, sys, err := f.settings()
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c, sys.Executable)
		},
	}
	f.where(cmd.Flags())
	flags := cmd.Flags()
	flags.StringVar(&f.given.Listen, "listen", "", "unix:PATH or HOST:PORT (default: a socket in the data folder)")
	flags.StringVar(&f.given.Trainer, "trainer", "", "path of cultivar-trainer (default: beside this program)")
	flags.StringVar(&f.given.Bases, "bases", "", "folder of base models (default: found beside the data or the program)")
	flags.DurationVar((*time.Duration)(&f.given.IdleExit), "idle-exit", 0, "end after so long without requests and trainings; 0: never")
	flags.IntVar(&f.given.Slots, "slots", 0, "trainings at once (default 1)")
	return cmd
}

// configCommand shows what the server would run with: the file, the flags, and the defaults for the rest.
func configCommand() *cobra.Command {
	var f settingsFlags
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the settings that are in force, as a settings file",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := f.settings()
			if err != nil {
				return err
			}
			b, err := c.YAML()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(b)
			return err
		},
	}
	f.where(cmd.Flags())
	return cmd
}

// settingsFlags say which settings are meant: a file's, with what flags give in their place.
type settingsFlags struct {
	file  string
	given config.Config
}

// where adds the flags that every command has which works on a server's data.
func (s *settingsFlags) where(f *pflag.FlagSet) {
	f.StringVar(&s.file, "config", "", "settings file (default: config.yaml in the data folder, where there is one)")
	f.StringVar(&s.given.Data, "data", "", "folder for everything the server keeps (default: the user's data folder)")
}

func (s *settingsFlags) settings() (config.Config, config.System, error) {
	sys, err := config.ThisSystem()
	if err != nil {
		return config.Config{}, sys, err
	}
	file := s.file
	if file == "" {
		if file, err = s.given.FileIn(sys); err != nil {
			return config.Config{}, sys, err
		}
	}
	var c config.Config
	if file != "" {
		if c, err = config.Load(file); err != nil {
			return c, sys, err
		}
	}
	c.Data = cmp.Or(s.given.Data, c.Data)
	c.Listen = cmp.Or(s.given.Listen, c.Listen)
	c.Trainer = cmp.Or(s.given.Trainer, c.Trainer)
	c.Bases = cmp.Or(s.given.Bases, c.Bases)
	c.IdleExit = cmp.Or(s.given.IdleExit, c.IdleExit)
	c.Slots = cmp.Or(s.given.Slots, c.Slots)
	c, err = c.Resolve(sys)
	return c, sys, err
}

// unpackCommand looks through a zip file that somebody sent; the server starts it and people don't.
func unpackCommand() *cobra.Command {
	var name, into string
	cmd := &cobra.Command{
		Use:    "unpack",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := confine.Apply(confine.Limits{Memory: 2 << 30, CPU: time.Hour, File: pack.MaxBytes + 1}); err != nil {
				return err
			}
			return unpack.Run(cmd.Context(), os.Stdin, name, into, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what the dataset is called")
	cmd.Flags().StringVar(&into, "into", "", "folder for what is made")
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
