// Package tasks decides what happens to runs and predictions: it queues them, starts an attempt when there is room,
// stores what the trainer reports, judges how an attempt ended and tries again or publishes the result. It executes
// nothing itself (package runner does) and serves no HTTP.
package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/runner"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// Options are what a Service works with.
type Options struct {
	Store  *store.Store
	Volume *files.Volume
	Runner runner.Runner
	// Credentials of executors; nil: FileCredentials.
	Credentials Credentials
	// Deliveries are what is due to people when a task ends so; nil: nothing ever.
	Deliveries func(t store.Task, to api.State, artifacts []runspec.Artifact) []store.Delivery
	ScaleOut   ScaleOut
	// Features is how many bytes of features are kept of a user of whom nothing executes; 0: all. A training may add as much.
	Features int64
	// Abilities are what people may ask of this server.
	Abilities api.Abilities
	Bases     string // absolute path of the folder with bases.json; need not exist
	Callback  string // URL of the callback listener, such as http://127.0.0.1:4711; empty: trainers only write their spool
	Log       *slog.Logger
	Now       func() time.Time
	Tick      time.Duration // between two looks at everything; 0: one second
}

// Service is the tasks of one server. Its methods may be called from any goroutine; Run, once.
type Service struct {
	store    *store.Store
	volume   *files.Volume
	runner   runner.Runner
	bases    string
	callback string
	log      *slog.Logger

	credentials Credentials
	deliveries  func(store.Task, api.State, []runspec.Artifact) []store.Delivery
	abilities   api.Abilities
	scaleOut    ScaleOut
	features    int64
	free        func() (free, total uint64, err error) // bytes of the volume's disk
	now         func() time.Time
	tick        time.Duration

	broker broker
	poke   chan struct{}

	mu     sync.Mutex
	spools map[string]int64     // how far each executor's spool was read, by its path
	heard  map[string]time.Time // when each task's executor last called
}

// New returns a Service.
func New(o Options) *Service {
	if o.Tick == 0 {
		o.Tick = time.Second
	}
	if o.Credentials == nil {
		o.Credentials = FileCredentials{Store: o.Store, Volume: o.Volume}
	}
	if o.Deliveries == nil {
		o.Deliveries = func(store.Task, api.State, []runspec.Artifact) []store.Delivery { return nil }
	}
	return &Service{
		credentials: o.Credentials, deliveries: o.Deliveries, abilities: o.Abilities, scaleOut: o.ScaleOut, features: o.Features, free: o.Volume.Free,
		store: o.Store, volume: o.Volume, runner: o.Runner, bases: o.Bases, callback: o.Callback,
		log: o.Log, now: o.Now, tick: o.Tick,
		poke: make(chan struct{}, 1), spools: map[string]int64{}, heard: map[string]time.Time{},
	}
}

// asked is the recipe that a request means, if it can be followed: the given one or quick's.
func (s *Service) asked(given *runspec.Recipe) (runspec.Recipe, error) {
	recipe := runspec.Default(runspec.Quick)
	if given != nil {
		recipe = *given
	}
	if err := recipe.Validate(); err != nil {
		return recipe, invalidRecipe(err)
	}
	return recipe, s.checkBase(recipe.Base)
}

// CreateRun queues a training.
func (s *Service) CreateRun(ctx context.Context, user string, c api.RunCreate) (store.Task, error) {
	recipe, err := s.asked(c.Recipe)
	if err != nil {
		return store.Task{}, err
	}
	if err := s.checkWishes(c); err != nil {
		return store.Task{}, err
	}
	if err := s.resolveStart(ctx, user, &recipe); err != nil {
		return store.Task{}, err
	}
	d, err := s.trainable(ctx, user, c.Dataset)
	if err != nil {
		return store.Task{}, err
	}
	classes := classNames(d)
	if err := s.settleTeacher(ctx, user, &recipe, classes); err != nil {
		return store.Task{}, err
	}
	t := store.Task{
		ID: auth.NewID(), Owner: user, Kind: runspec.Train, Name: d.Name,
		Dataset: d.ID, DatasetName: d.Name, Digest: d.Digest, Classes: classes, Recipe: recipe,
	}
	if c.Profile != nil {
		t.Profile = *c.Profile
	}
	if c.Notify != nil {
		t.Notify = *c.Notify
	}
	if c.Name != nil && strings.TrimSpace(*c.Name) != "" {
		t.Name = strings.TrimSpace(*c.Name)
		if len(t.Name) > 200 {
			return store.Task{}, invalidField("name", "may have at most 200 bytes")
		}
	}
	return s.add(ctx, t)
}

// classNames are a dataset's classes in label order.
func classNames(d store.Dataset) []string {
	var names []string
	for _, class := range d.Classes {
		names = append(names, class.Name)
	}
	return names
}

// trainable is a dataset that can be trained on.
func (s *Service) trainable(ctx context.Context, user, id string) (store.Dataset, error) {
	d, err := s.store.Dataset(ctx, user, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Dataset{}, api.Errorf(api.CodeNotFound, "There is no dataset %q.", id)
	}
	if err != nil {
		return store.Dataset{}, err
	}
	if d.State != api.DatasetReady {
		return store.Dataset{}, api.Errorf(api.CodeConflict, "The dataset %q has not arrived completely. Send its images and its manifest first.", d.Name)
	}
	if len(d.Classes) < manifest.MinClasses {
		return store.Dataset{}, api.Errorf(api.CodeInvalid, "The dataset %q has %d class, but telling things apart needs at least %d. Put the photos of each class into a folder of its own.", d.Name, len(d.Classes), manifest.MinClasses)
	}
	return d, nil
}

func (s *Service) add(ctx context.Context, t store.Task) (store.Task, error) {
	t, err := s.store.AddTask(ctx, t)
	if errors.Is(err, store.ErrNotFound) {
		return store.Task{}, api.Errorf(api.CodeNotFound, "What this works on has just been deleted.")
	}
	if err != nil {
		return store.Task{}, err
	}
	failpoint.Hit("task.added")
	s.Poke()
	return t, nil
}

func invalidRecipe(err error) error {
	var f *runspec.FieldError
	if errors.As(err, &f) {
		e := api.Errorf(api.CodeInvalid, "The recipe has a wrong value: %s.", f.Text)
		e.Fields = &map[string]string{"recipe." + f.Field: f.Text}
		return e
	}
	return api.Errorf(api.CodeInvalid, "The recipe cannot be used: %v.", err)
}

func invalidField(name, what string) error {
	e := api.Errorf(api.CodeInvalid, "%s %s.", name, what)
	e.Fields = &map[string]string{name: what}
	return e
}

func (s *Service) checkBase(name string) error {
	bases, err := s.Bases()
	if err != nil {
		return err
	}
	if len(bases) == 0 {
		return api.Errorf(api.CodeConflict, "No base model is installed on the server, so there is nothing to start from. Install one with: cultivar-trainer bases")
	}
	var names []string
	for _, b := range bases {
		if b.Name == name || name == "" {
			return nil
		}
		names = append(names, b.Name)
	}
	text := fmt.Sprintf("is %q, but the installed base models are: %s", name, strings.Join(names, ", "))
	e := api.Errorf(api.CodeInvalid, "The recipe's base %s.", text)
	e.Fields = &map[string]string{"recipe.base": "base " + text}
	return e
}

// Retry queues a new run with the dataset and recipe of an ended one.
func (s *Service) Retry(ctx context.Context, user, id string) (store.Task, error) {
	t, err := s.store.Run(ctx, user, id)
	if err != nil {
		return store.Task{}, err
	}
	if !Terminal(t.State) {
		return store.Task{}, api.Errorf(api.CodeConflict, "Run #%d is %s; only an ended run can be tried again.", t.Number, t.State)
	}
	if _, err := s.store.Dataset(ctx, user, t.Dataset); errors.Is(err, store.ErrNotFound) {
		return store.Task{}, api.Errorf(api.CodeConflict, "The dataset %q of run #%d was deleted. Send it again and start a new run.", t.DatasetName, t.Number)
	} else if err != nil {
		return store.Task{}, err
	}
	return s.add(ctx, store.Task{
		ID: auth.NewID(), Owner: user, Kind: runspec.Train, Name: t.Name, Dataset: t.Dataset, DatasetName: t.DatasetName,
		Digest: t.Digest, Classes: t.Classes, Recipe: t.Recipe, RetryOf: t.ID, Profile: t.Profile, Notify: t.Notify,
	})
}

// Stop asks a run to finish now and keep the best so far. A run that has not begun has nothing to keep and is cancelled.
func (s *Service) Stop(ctx context.Context, user, id string) (store.Task, error) {
	return s.end(ctx, user, id, s.store.AskStop, func(t store.Task) error {
		switch {
		case t.State == api.StateQueued && t.Attempt == 0:
			return s.change(ctx, store.Change{Task: t.ID, From: t.State, To: api.StateCancelled, Reason: "Stopped before it began."})
		case t.State == api.StateRunning:
			if err := s.raiseStop(t); err != nil {
				return err
			}
			return s.change(ctx, store.Change{Task: t.ID, From: t.State, To: api.StateStopping, Reason: "Finishing with the best so far."})
		}
		return nil // the supervisor sees the wish when it starts, or again when it runs
	})
}

// Cancel gives a run up and keeps nothing.
func (s *Service) Cancel(ctx context.Context, user, id string) (store.Task, error) {
	return s.end(ctx, user, id, s.store.AskCancel, func(t store.Task) error {
		if executing(t.State) {
			return nil // the supervisor ends the processes first
		}
		return s.change(ctx, store.Change{Task: t.ID, From: t.State, To: api.StateCancelled, Reason: cancelled})
	})
}

func (s *Service) end(ctx context.Context, user, id string, ask func(context.Context, string, string) error, act func(store.Task) error) (store.Task, error) {
	if _, err := s.store.Run(ctx, user, id); err != nil {
		return store.Task{}, err
	}
	err := ask(ctx, user, id)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return store.Task{}, err
	}
	t, e := s.store.Run(ctx, user, id)
	if e != nil {
		return store.Task{}, e
	}
	if err != nil {
		return store.Task{}, api.Errorf(api.CodeConflict, "Run #%d has ended already: it %s.", t.Number, ended(t.State))
	}
	if err := act(t); err != nil && !errors.Is(err, store.ErrConflict) {
		return store.Task{}, err
	}
	s.Poke()
	return s.store.Run(ctx, user, id)
}

func ended(s api.State) string {
	if s == api.StateCancelled {
		return "was cancelled"
	}
	return string(s)
}

// Delete forgets an ended run with its files.
func (s *Service) Delete(ctx context.Context, user, id string) error {
	ids, err := s.store.DeleteRun(ctx, user, id)
	if errors.Is(err, store.ErrConflict) {
		return api.Errorf(api.CodeConflict, "The run, or a prediction with it, has not ended. Cancel it first, or wait for it.")
	}
	if err != nil {
		return err
	}
	failpoint.Hit("task.deleted")
	var errs []error
	for _, task := range ids {
		errs = append(errs, s.volume.Remove(runspec.TaskDir(user, task)))
	}
	return errors.Join(errs...)
}

// Positions tells each queued run's place in the fair queue, from 1, by its id.
func (s *Service) Positions(ctx context.Context) (map[string]int, error) {
	active, err := s.store.Active(ctx)
	if err != nil {
		return nil, err
	}
	starts, err := s.store.LastStarts(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for i, t := range fair(active, runspec.Train, starts) {
		out[t.ID] = i + 1
	}
	return out, nil
}

// Idle tells that no task is waiting or executing.
func (s *Service) Idle(ctx context.Context) (bool, error) {
	active, err := s.store.Active(ctx)
	return len(active) == 0, err
}

// Poke makes the supervisor look at everything soon.
func (s *Service) Poke() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// Watch is called before reading a task's events: its channel closes when there are newer ones. Done must be called.
func (s *Service) Watch(task string) (changed func() <-chan struct{}, done func()) {
	sub := s.broker.subscribe(task)
	return sub.changed, sub.close
}

// change is the only way a task's state changes: by the table, compared and set, told to the watchers.
func (s *Service) change(ctx context.Context, c store.Change) error {
	if !Allowed(c.From, c.To) {
		return fmt.Errorf("change task %s: %s does not follow %s", c.Task, c.To, c.From)
	}
	if c.Terminal = Terminal(c.To); c.Terminal {
		t, err := s.store.ActiveTask(ctx, c.Task)
		if err != nil {
			return err
		}
		var artifacts []runspec.Artifact
		if c.Outcome != nil {
			artifacts = c.Outcome.Artifacts
		}
		c.Deliveries = s.deliveries(t, c.To, artifacts)
	}
	if err := s.store.Change(ctx, c); err != nil {
		return err
	}
	s.broker.wake(c.Task)
	return nil
}
