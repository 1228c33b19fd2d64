package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/version"
)

const (
	databaseFile = "cultivar.db" // in the data folder
	// headerTimeout ends connections that never say what they want.
	headerTimeout = 10 * time.Second
	// shutdownPatience is how long requests may take to end after the server was told to.
	shutdownPatience = 15 * time.Second
	// cleanEvery is how often expired uploads are looked for.
	cleanEvery = 10 * time.Minute
)

// serve runs the server until ctx ends, a signal comes or it has been idle for long enough.
func serve(ctx context.Context, c config.Config, executable string) (err error) {
	if err := files.MkdirAll(c.Data); err != nil {
		return err
	}
	lock, free, err := lockData(c.Data)
	if err != nil {
		return err
	}
	if !free && c.Shared() {
		return fmt.Errorf("another server is running on %s: one folder has one server", c.Data)
	}
	if !free { // a program that found no server started this one, and another was faster
		fmt.Fprintf(os.Stderr, "A server is already running on %s; nothing to do.\n", c.Data)
		return nil
	}
	defer func() { _ = lock.Close() }()
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	db, err := store.Open(ctx, filepath.Join(c.Data, databaseFile), time.Now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	callback, callbackURL, err := listenCallback(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { _ = callback.Close() }()
	app, err := build(c, executable, db, callbackURL, log)
	if err != nil {
		return err
	}
	defer app.close()
	front, err := listen(ctx, c)
	if err != nil {
		return err
	}
	defer func() { _ = front.Close() }()
	log.InfoContext(ctx, "serving", "version", version.String(), "listen", c.Listen, "data", c.Data, "volume", c.Volume, "runner", c.Runner, "bases", c.Bases)
	return app.run(ctx, stop, front, callback)
}

// lockData takes the data folder for this process; free is false when another server has it. The file stays, for
// removing it would let two servers lock two files of the same name.
func lockData(dir string) (lock *os.File, free bool, err error) {
	lock, err = os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, files.FileMode)
	if err != nil {
		return nil, false, fmt.Errorf("lock the data folder: %w", err)
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return lock, true, nil
	}
	_ = lock.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("lock the data folder: %w", err)
}

func (a *app) run(ctx context.Context, stop context.CancelFunc, front, callback net.Listener) error {
	servers := []*http.Server{
		{Handler: a.api, ReadHeaderTimeout: headerTimeout, ConnContext: auth.ConnContext, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelWarn)},
		{Handler: a.api.Callback(), ReadHeaderTimeout: headerTimeout, ReadTimeout: time.Minute, WriteTimeout: time.Minute},
	}
	failed := make(chan error, len(servers))
	var work sync.WaitGroup
	for i, l := range []net.Listener{front, callback} {
		work.Go(func() {
			if err := servers[i].Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
				stop()
			}
		})
	}
	work.Go(func() { a.tasks.Run(ctx) })
	work.Go(func() { a.deliver.Run(ctx) })
	work.Go(func() { a.housekeep(ctx, stop) })
	<-ctx.Done()
	a.api.Close()
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownPatience)
	defer cancel()
	var errs []error
	for _, s := range servers {
		if s.Shutdown(patience) != nil { // somebody is slow; what is acknowledged is durable, so nothing is lost
			errs = append(errs, s.Close())
		}
	}
	work.Wait()
	close(failed)
	for err := range failed {
		errs = append(errs, err)
	}
	a.log.InfoContext(patience, "ended; trainings go on")
	return errors.Join(errs...)
}

// housekeep gives up expired uploads, removes what nobody can use, and ends the server when it has been idle for long enough.
func (a *app) housekeep(ctx context.Context, stop context.CancelFunc) {
	clean := time.NewTicker(cleanEvery)
	defer clean.Stop()
	look := time.NewTicker(idleLook(time.Duration(a.config.IdleExit)))
	defer look.Stop()
	a.clean(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-clean.C:
			a.clean(ctx)
		case <-look.C:
			if a.idle(ctx) {
				a.log.InfoContext(ctx, "idle for long enough", "idle_exit", a.config.IdleExit.String())
				stop()
				return
			}
		}
	}
}

func (a *app) clean(ctx context.Context) {
	if err := a.ingest.Clean(ctx); err != nil && ctx.Err() == nil {
		a.log.ErrorContext(ctx, "give up expired uploads", "error", err)
	}
	bytes, err := a.ingest.Collect(ctx)
	if err != nil && ctx.Err() == nil {
		a.log.ErrorContext(ctx, "remove what nobody can use", "error", err)
	}
	if bytes > 0 {
		a.log.InfoContext(ctx, "removed what nobody can use", "bytes", bytes)
	}
}

// idleLook is how often to look whether the server is idle: a tenth of the time, but not all the time.
func idleLook(exit time.Duration) time.Duration {
	return min(max(exit/10, 50*time.Millisecond), time.Minute)
}

func (a *app) idle(ctx context.Context) bool {
	if a.config.IdleExit <= 0 {
		return false
	}
	since, quiet := a.api.IdleSince()
	if !quiet || time.Since(since) < time.Duration(a.config.IdleExit) {
		return false
	}
	if none, err := a.tasks.Idle(ctx); err != nil || !none {
		return false
	}
	none, err := a.deliver.Idle(ctx)
	return err == nil && none
}
