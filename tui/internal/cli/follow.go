package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// follower tells a run's story from its first event to its end, each epoch once.
type follower struct {
	c      *command
	cl     *client.Client
	run    api.Run
	meter  *meter
	told   map[epochKey]bool
	past   []api.Event // events from before we came, kept until all are here
	result *runspec.Result
	eval   *runspec.Evaluation
	lost   bool    // the connection
	any    bool    // an epoch was told
	best   float64 // lowest validation loss
	reason string  // why it is not running yet, as told last
}

// epochKey names an epoch; after a resume it may come again, and the later one counts.
type epochKey struct {
	phase string
	epoch int
}

// follow tells a run's story until it ends and returns the ended run.
func (c *command) follow(ctx context.Context, cl *client.Client, run api.Run) (*follower, error) {
	f := &follower{c: c, cl: cl, run: run, meter: &meter{c: c}, told: map[epochKey]bool{}}
	defer f.meter.end()
	for e, err := range cl.Events(ctx, run.Id, 0, f.link) {
		if err != nil {
			return f, err
		}
		if err := f.event(e); err != nil {
			return f, err
		}
	}
	if err := ctx.Err(); err != nil {
		return f, err
	}
	if err := f.replay(); err != nil {
		return f, err
	}
	ended, err := cl.Run(ctx, run.Id)
	if err != nil {
		return f, err
	}
	f.run = ended
	return f, nil
}

// event keeps what happened before we came until it is complete, so that of an epoch that was trained twice the later
// one is told; what comes after that is told at once.
func (f *follower) event(e api.Event) error {
	if e.Id > f.run.LastEvent {
		if err := f.replay(); err != nil {
			return err
		}
		return f.tell(e)
	}
	f.past = append(f.past, e)
	if e.Id == f.run.LastEvent {
		return f.replay()
	}
	return nil
}

func (f *follower) replay() error {
	last := map[epochKey]int64{}
	for _, e := range f.past {
		if body, ok := e.Record.Body.(runspec.Epoch); ok {
			last[epochKey{body.Phase, body.Epoch}] = e.Id
		}
	}
	for i, e := range f.past {
		if f.outdated(i) {
			continue
		}
		if body, ok := e.Record.Body.(runspec.Epoch); ok && last[epochKey{body.Phase, body.Epoch}] != e.Id {
			continue
		}
		if err := f.tell(e); err != nil {
			return err
		}
	}
	f.past = nil
	return nil
}

// outdated tells whether a past event is a reason for waiting that a later state has settled. Scripts get it all the same.
func (f *follower) outdated(i int) bool {
	s, ok := f.past[i].Record.Body.(runspec.State)
	return ok && !f.c.json && api.State(s.State) == api.StateStarting && slices.ContainsFunc(f.past[i+1:], func(e api.Event) bool {
		_, ok := e.Record.Body.(runspec.State)
		return ok
	})
}

func (f *follower) tell(e api.Event) error {
	if body, ok := e.Record.Body.(runspec.Epoch); ok {
		key := epochKey{body.Phase, body.Epoch}
		if f.told[key] {
			return nil
		}
		f.told[key] = true
	}
	switch body := e.Record.Body.(type) {
	case runspec.Result:
		f.result = &body
	case runspec.Evaluation:
		f.eval = &body
	}
	if f.c.json {
		return f.c.emit("record", recordEvent{f.run.Id, e.Id, e.Attempt, e.Record})
	}
	f.text(e.Record.Body)
	return nil
}

// recordEvent is a line of --json for each event of the run.
type recordEvent struct {
	Run     string         `json:"run"`
	ID      int64          `json:"id"`
	Attempt int            `json:"attempt"`
	Record  runspec.Record `json:"record"`
}

// text tells one event to a person.
func (f *follower) text(body any) {
	switch b := body.(type) {
	case runspec.State:
		f.state(b)
	case runspec.Phase:
		f.meter.end()
		f.c.note("%s", phaseWords(b.Phase))
	case runspec.Progress:
		f.meter.set(progressWords(b.Phase), int64(b.Done), int64(b.Total), f.pace(b))
	case runspec.Epoch:
		f.epoch(b)
	case runspec.Problem:
		f.meter.end()
		f.c.note("left out or changed: %s", shown(b.Text, b.Path))
	case runspec.Log:
		if b.Level != "info" {
			f.meter.end()
			f.c.note("%s: %s", shown(b.Level, "log"), shown(b.Text, ""))
		}
	}
}

func (f *follower) pace(p runspec.Progress) string {
	text := fmt.Sprintf("%d of %d", p.Done, p.Total)
	if eta := float64(p.ETASeconds); eta >= 1 && eta < 1e6 {
		text += ", about " + span(seconds(eta)) + " left"
	}
	return text
}

func (f *follower) state(s runspec.State) {
	f.meter.end()
	switch api.State(s.State) {
	case api.StateQueued:
		f.c.note("waiting for its turn")
	case api.StateStarting:
		if s.Reason != "" && s.Reason != f.reason {
			f.c.note("starting: %s", shown(s.Reason, ""))
		}
		f.reason = s.Reason
	case api.StateInterrupted:
		f.c.note("interrupted, will go on: %s", shown(s.Reason, "no reason given"))
	case api.StateStopping:
		f.c.note("stopping, the best so far is kept")
	case api.StateRunning:
		if s.Attempt > 1 {
			f.c.note("going on from the last checkpoint (attempt %d)", s.Attempt)
		}
	}
}

func (f *follower) epoch(e runspec.Epoch) {
	f.meter.end()
	mark := ""
	// The trainer keeps the epoch with the lowest validation loss.
	if v := float64(e.ValLoss); !f.any || v < f.best {
		f.any, f.best, mark = true, v, "  best so far"
	}
	f.c.say("epoch %3d  training %7s  validation %7s  validation loss %.3f%s", e.Epoch, percent(float64(e.TrainAccuracy)),
		percent(float64(e.ValAccuracy)), float64(e.ValLoss), mark)
}

func (f *follower) link(l client.Link) {
	switch {
	case l.State == client.Reconnecting:
		f.meter.end()
		if !f.lost {
			f.c.note("connection lost, the training goes on; trying again")
		}
		f.lost = true
	case f.lost:
		f.lost = false
		f.c.note("connected again")
	}
}

func phaseWords(phase string) string {
	switch phase {
	case runspec.PhasePrepare:
		return "preparing: checking photos and splitting them"
	case runspec.PhaseFeatures:
		return "looking at every photo with the base model"
	case runspec.PhaseTeacher:
		return "asking the teacher about every photo"
	case runspec.PhaseHead:
		return "learning to tell the classes apart"
	case runspec.PhaseFinetune:
		return "adapting the base model to your photos"
	case runspec.PhaseEvaluate:
		return "testing on photos it has never seen"
	case runspec.PhaseExport:
		return "writing the model files and checking them"
	}
	return shown(phase, "working")
}

func progressWords(phase string) string {
	switch phase {
	case runspec.PhaseFeatures, runspec.PhaseTeacher:
		return "photos"
	case runspec.PhaseHead, runspec.PhaseFinetune:
		return "epochs"
	case runspec.PhaseExport:
		return "files"
	}
	return shown(phase, "work")
}
