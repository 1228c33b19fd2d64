// Command worker works through the outbox of a database until nothing is left to do, for tests that kill it. Its clock
// runs faster than others, from a moment that all workers on a database share.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/deliver"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/delivertest"
	"github.com/cultivar-ml/cultivar/server/internal/store"
)

const lookEvery = 5 * time.Millisecond // on the usual clock

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir := flag.String("dir", "", "folder with the database, the models, and the files secret and token")
	dropbox := flag.String("dropbox", "", "URL of the double")
	smtp := flag.Int("smtp", 0, "port of the mail server")
	since := flag.Int64("since", 0, "when the clock began to run faster, in ms since 1970")
	speed := flag.Int64("speed", 1, "how much faster")
	flag.Parse()

	from := time.UnixMilli(*since)
	now := func() time.Time { return from.Add(time.Since(from) * time.Duration(*speed)) }
	db, err := store.Open(ctx, filepath.Join(*dir, "db"), now)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	s, err := deliver.New(deliver.Options{
		Store: db, Artifact: delivertest.Finder(db, *dir), Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Now: now, Block: 1000,
		After: func(d time.Duration) <-chan time.Time { return time.After(d / time.Duration(*speed)) },
		Config: config.Deliver{
			Dropbox: &config.Dropbox{AppKey: "key", AppSecretFile: filepath.Join(*dir, "secret"), RefreshTokenFile: filepath.Join(*dir, "token"), APIURL: *dropbox},
			Mail:    &config.Mail{From: "cultivar@example.org", SMTP: &config.SMTP{Host: "127.0.0.1", Port: *smtp, TLS: "none"}},
		},
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		s.Run(ctx)
		close(done)
	}()
	for idle := false; !idle; time.Sleep(lookEvery) {
		if idle, err = s.Idle(ctx); err != nil {
			break
		}
	}
	stop()
	<-done
	return err
}
