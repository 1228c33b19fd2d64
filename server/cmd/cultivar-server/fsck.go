package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/fsck"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

// fsckCommand holds the data against what the server promises. It works beside a running server and changes nothing.
func fsckCommand() *cobra.Command {
	var f settingsFlags
	var asJSON, read bool
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Check that nothing is lost, doubled or mixed up in the database and on the volume",
		Long: "Check that what was acknowledged is there: images, datasets, results, events; that ends are final; and that nothing of one user's\n" +
			"is in another's hands. It changes nothing, and may run beside the server: as the same account, with the same settings.\n" +
			"The exit code is 1 when something is wrong.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			c, _, err := f.settings()
			if err != nil {
				return err
			}
			r, err := check(ctx, c, read)
			if err != nil {
				return err
			}
			tell := tellReport
			if asJSON {
				tell = tellReportJSON
			}
			if err := tell(cmd.OutOrStdout(), r); err != nil {
				return fmt.Errorf("print: %w", err)
			}
			if n := len(r.Findings); n > 0 {
				return fmt.Errorf("%d findings", n)
			}
			return nil
		},
	}
	f.where(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.Flags().BoolVar(&read, "read-data", false, "read every image and file and compare their hashes; takes longer")
	return cmd
}

// check opens what a server of these settings works on, and looks through it.
func check(ctx context.Context, c config.Config, read bool) (fsck.Report, error) {
	db, err := store.View(ctx, filepath.Join(c.Data, databaseFile))
	if err != nil {
		return fsck.Report{}, err
	}
	defer func() { _ = db.Close() }()
	volume, err := files.OpenVolume(c.Volume)
	if err != nil {
		return fsck.Report{}, err
	}
	lock, free, err := lockData(c.Data)
	if err != nil {
		return fsck.Report{}, err
	}
	if free {
		defer func() { _ = lock.Close() }()
	}
	return fsck.Run(ctx, fsck.Options{Store: db, Volume: volume, Read: read, Live: !free})
}

func tellReport(w io.Writer, r fsck.Report) error {
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(w, "%s  %s: %s\n", f.Invariant, safe.Text(f.What), safe.Text(f.Text)); err != nil {
			return err
		}
	}
	var room int64
	for _, s := range r.Strays {
		room += s.Bytes
	}
	if len(r.Strays) > 0 {
		if _, err := fmt.Fprintf(w, "%d files and folders with %s are named by nothing, as a crash leaves them; the server removes them when they are a day old\n", len(r.Strays), humanize.IBytes(uint64(room))); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "checked %d packs, %d datasets, %d tasks, %d files\n", r.Packs, r.Datasets, r.Tasks, r.Files)
	return err
}

func tellReportJSON(w io.Writer, r fsck.Report) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for _, f := range r.Findings {
		if err := e.Encode(map[string]string{"message_type": "finding", "invariant": f.Invariant, "what": f.What, "text": f.Text}); err != nil {
			return err
		}
	}
	for _, s := range r.Strays {
		if err := e.Encode(map[string]any{"message_type": "stray", "name": s.Name, "bytes": s.Bytes}); err != nil {
			return err
		}
	}
	return e.Encode(map[string]any{"message_type": "checked", "packs": r.Packs, "datasets": r.Datasets, "tasks": r.Tasks, "files": r.Files})
}
