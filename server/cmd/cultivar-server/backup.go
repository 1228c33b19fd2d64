package main

import (
	"errors"
	"fmt"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/backup"
	"github.com/cultivar-ml/cultivar/server/internal/files"
)

// backupCommand copies what a server keeps. It works beside a running server.
func backupCommand() *cobra.Command {
	var f settingsFlags
	var keep int
	var read bool
	cmd := &cobra.Command{
		Use:   "backup FOLDER",
		Short: "Copy the database and all photos and results to a folder",
		Long: "Add a snapshot to a folder: the database as it is now, and the files that it names and that the folder lacks. It checks what it\n" +
			"has copied, and may run beside the server: as the same account, with the same settings. Settings, base models and cached\n" +
			"features are no part of it; trainings that are under way begin anew after a restore.",
		Example: "  cultivar-server backup /mnt/backup/cultivar --keep 14",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			c, _, err := f.settings()
			if err != nil {
				return err
			}
			volume, err := files.OpenVolume(c.Volume)
			if err != nil {
				return err
			}
			r, err := backup.Take(ctx, backup.Options{Database: filepath.Join(c.Data, databaseFile), Volume: volume, To: args[0], Keep: keep, Read: read, Now: time.Now})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "snapshot %s: %d datasets, %d tasks, %d files; %d of them were new (%s)\n",
				r.Snapshot, r.Datasets, r.Tasks, r.Files, r.Copied, humanize.IBytes(uint64(r.Bytes)))
			return err
		},
	}
	f.where(cmd.Flags())
	cmd.Flags().IntVar(&keep, "keep", 0, "remove all snapshots but so many; 0: none")
	cmd.Flags().BoolVar(&read, "read-data", false, "read the whole copy and compare hashes, not only what is new")
	return cmd
}

// restoreCommand makes an empty data folder what it was.
func restoreCommand() *cobra.Command {
	var f settingsFlags
	var name string
	cmd := &cobra.Command{
		Use:     "restore FOLDER",
		Short:   "Fill an empty data folder from a backup, and check all of it",
		Example: "  cultivar-server restore /mnt/backup/cultivar --data /var/lib/cultivar",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			c, _, err := f.settings()
			if err != nil {
				return err
			}
			if err := files.MkdirAll(c.Data); err != nil {
				return err
			}
			lock, free, err := lockData(c.Data)
			if err != nil {
				return err
			}
			if !free {
				return errors.New("a server runs on this data folder: stop it, or restore into another one")
			}
			defer func() { _ = lock.Close() }()
			volume, err := files.OpenVolume(c.Volume)
			if err != nil {
				return err
			}
			r, err := backup.Restore(ctx, args[0], name, filepath.Join(c.Data, databaseFile), volume)
			if err != nil {
				return err
			}
			if err := tellReport(cmd.OutOrStdout(), r.Report); err != nil {
				return fmt.Errorf("print: %w", err)
			}
			if n := len(r.Findings); n > 0 {
				return fmt.Errorf("restored snapshot %s with %d findings", r.Snapshot, n)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "restored snapshot %s\n", r.Snapshot)
			return err
		},
	}
	f.where(cmd.Flags())
	cmd.Flags().StringVar(&name, "snapshot", "", "which snapshot; the newest one when absent")
	return cmd
}
