package main

import (
	"fmt"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/doctor"
	"github.com/cultivar-ml/cultivar/shared/version"
)

// lockFile is what a running server holds a lock on, in the data folder.
const lockFile = "server.lock"

// doctorCommand looks at the installation. It works beside a running server and changes nothing.
func doctorCommand() *cobra.Command {
	var f settingsFlags
	var asJSON, deep bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what is wrong with this installation, and what to do",
		Long: "Look at settings, folders, database, base models, runner, callback, Dropbox and mail, and say what to do about what is wrong.\n" +
			"It changes nothing and sends nothing, and may run beside the server: as the same account, with the same settings.\n" +
			"The exit code is 1 when a check failed.",
		Example: "  cultivar-server doctor\n" +
			"  sudo -u cultivar cultivar-server doctor --config /etc/cultivar/config.yaml\n" +
			"  kubectl -n cultivar exec deploy/cultivar-server -- /cultivar-server doctor --config /etc/cultivar/config.yaml",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Ended by a key, it still removes its temporary files.
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			all, bad := 0, 0
			var broken error
			tell := func(c doctor.Check) {
				all++
				if c.State == doctor.Failed {
					bad++
				}
				write := c.Print
				if asJSON {
					write = c.PrintJSON
				}
				if err := write(cmd.OutOrStdout()); broken == nil {
					broken = err
				}
			}
			c, sys, err := f.settings()
			if err != nil {
				for _, c := range doctor.Unusable(err) {
					tell(c)
				}
			} else {
				file := f.file
				if file == "" {
					file, _ = f.given.FileIn(sys) // settings has just read it
				}
				doctor.Run(ctx, doctor.Options{
					Config: c, File: file, Database: filepath.Join(c.Data, databaseFile), Lock: filepath.Join(c.Data, lockFile),
					Version: version.String(), Deep: deep,
				}, tell)
			}
			switch {
			case broken != nil:
				return fmt.Errorf("print: %w", broken)
			case ctx.Err() != nil:
				return fmt.Errorf("broken off: %w", ctx.Err())
			case bad > 0:
				return fmt.Errorf("%d of %d checks failed", bad, all)
			}
			return nil
		},
	}
	f.where(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.Flags().BoolVar(&deep, "deep", false, "read base models whole and compare their hashes; takes longer")
	return cmd
}
