package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/deliver"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/httpapi"
	"github.com/cultivar-ml/cultivar/server/internal/ingest"
	"github.com/cultivar-ml/cultivar/server/internal/podtoken"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/runner/kubernetes"
	"github.com/cultivar-ml/cultivar/server/internal/runner/local"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/server/internal/tasks"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// app is the wired server.
type app struct {
	config  config.Config
	tasks   *tasks.Service
	ingest  *ingest.Service
	deliver *deliver.Service
	api     *httpapi.Server
	log     *slog.Logger
	close   func() // ends what build began
}

func build(c config.Config, executable string, db *store.Store, callbackURL string, log *slog.Logger) (*app, error) {
	volume, err := files.OpenVolume(c.Volume)
	if err != nil {
		return nil, err
	}
	a := &app{config: c, log: log}
	a.ingest = ingest.New(ingest.Options{Store: db, Volume: volume, Now: time.Now, Quota: int64(c.Quota), Unpack: []string{executable, "unpack"}})
	a.deliver, err = deliver.New(deliver.Options{
		Store: db, Config: c.Deliver, Log: log, Now: time.Now,
		Artifact: func(ctx context.Context, user, run, name string) (string, runspec.Artifact, error) {
			return a.tasks.ArtifactPath(ctx, user, run, name)
		},
	})
	if err != nil {
		return nil, err
	}
	who, err := authenticator(c, db, log)
	if err != nil {
		return nil, err
	}
	proxies, err := c.TLS.Proxies()
	if err != nil {
		return nil, err
	}
	execute, credentials, closeRunner, err := openRunner(c, executable, log)
	if err != nil {
		return nil, err
	}
	a.close = closeRunner
	abilities := c.Abilities()
	abilities.Share, abilities.Mail = a.deliver.CanShare(), a.deliver.CanMail()
	a.tasks = tasks.New(tasks.Options{
		Store: db, Volume: volume, Runner: execute, Credentials: credentials, Deliveries: a.deliver.Plan, Abilities: abilities,
		ScaleOut: tasks.ScaleOut{Images: c.ScaleOut.Images, Parts: c.ScaleOut.Parts},
		Features: int64(c.Features),
		Bases:    c.Bases, Callback: callbackURL, Log: log, Now: time.Now,
	})
	a.api, err = httpapi.New(httpapi.Options{
		Store: db, Ingest: a.ingest, Tasks: a.tasks, Deliver: a.deliver, Authenticate: who, Hosts: c.Hosts, Proxies: proxies, Log: log, Now: time.Now,
	})
	if err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// openRunner makes what executes trainings, with how its trainers prove who they are; nil credentials are files.
func openRunner(c config.Config, executable string, log *slog.Logger) (runner.Runner, tasks.Credentials, func(), error) {
	if c.Runner != config.RunnerKubernetes {
		r, err := local.New(local.Options{
			Dir: filepath.Join(c.Data, "jobs"), Self: []string{executable, "supervise"}, Trainer: c.Trainer,
			// A prediction or a plan is somebody waiting at a screen: it never queues behind a training.
			Slots: map[runspec.Kind]int{runspec.Train: c.Slots, runspec.Evaluate: 1, runspec.Predict: 1, runspec.Planning: 1},
		})
		return r, nil, func() {}, err
	}
	bases, err := filepath.Rel(c.Volume, c.Bases)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("find the base models on the volume: %w", err)
	}
	r, err := kubernetes.New(kubernetes.Options{Settings: c.Kubernetes, Volume: c.Volume, Bases: bases, Log: log})
	if err != nil {
		return nil, nil, nil, err
	}
	return r, podCredentials(c.Callback, r, log), r.Close, nil
}

// podCredentials checks pods' tokens with the cluster's keys, or with those of a file where the cluster keeps its own back.
func podCredentials(c config.Callback, r *kubernetes.Runner, log *slog.Logger) tasks.Credentials {
	keys, issuer := r.Keys, r.Issuer
	if c.JWKSFile != "" {
		keys = func(context.Context) ([]byte, error) { return os.ReadFile(c.JWKSFile) }
	}
	if c.Issuer != "" {
		issuer = func(context.Context) (string, error) { return c.Issuer, nil }
	}
	return podtoken.New(podtoken.Options{
		Path: kubernetes.TokenPath, Namespace: r.Namespace(), Keys: keys, Issuer: issuer, Now: time.Now, Log: log,
		Audience: func(task string, attempt int) string { return kubernetes.Audience(r.Namespace(), task, attempt) },
	})
}

// authenticator is people's own tokens where others than this account are served; otherwise the kernel's word on a unix
// socket, and the token file on a loopback port.
func authenticator(c config.Config, db *store.Store, log *slog.Logger) (auth.Authenticator, error) {
	if c.Shared() {
		return auth.ByTokens(db, time.Now, log), nil
	}
	if strings.HasPrefix(c.Listen, "unix:") {
		return auth.BySocket(os.Getuid()), nil
	}
	token, err := auth.TokenFile(filepath.Join(c.Data, "token"))
	if err != nil {
		return nil, err
	}
	return auth.ByToken(token, auth.Local(os.Getuid())), nil
}
