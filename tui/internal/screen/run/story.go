package run

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/theme"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// phases in their order, as people read them.
var phases = []struct{ id, short, doing string }{
	{runspec.PhasePrepare, "prepare", "reading the list of photos"},
	{runspec.PhaseFeatures, "photos", "the base model looks at every photo once"},
	{runspec.PhaseTeacher, "teacher", "asking the teacher about every photo"},
	{runspec.PhaseHead, "training", "learning your classes"},
	{runspec.PhaseFinetune, "tuning", "adapting the base model to your photos"},
	{runspec.PhaseEvaluate, "test", "testing on photos it has never seen"},
	{runspec.PhaseExport, "files", "writing and checking the model files"},
}

// maxLines bounds the log kept in memory; the server keeps all of it.
const maxLines = 2000

// logLine is one sentence of the story.
type logLine struct {
	at    time.Time
	level string
	text  string // safe to print
}

// story is what the events of a run have told so far.
type story struct {
	state     api.State
	reason    string
	attempt   int
	phase     string
	progress  runspec.Progress
	began     time.Time // of the first record
	newest    time.Time // of the last record
	epochs    []runspec.Epoch
	total     int // epochs planned
	system    *runspec.System
	skipped   int
	lines     []logLine
	result    *runspec.Result
	evaluated *runspec.Evaluation
	lastEvent int64
}

// add tells the story one event further. Events come in order; one that came before is ignored.
func (s *story) add(e api.Event, g theme.Glyphs) {
	if e.Id <= s.lastEvent {
		return
	}
	s.lastEvent = e.Id
	r := e.Record
	if !r.Time.IsZero() {
		if s.began.IsZero() {
			s.began = r.Time
		}
		s.newest = r.Time
	}
	switch b := r.Body.(type) {
	case runspec.Phase:
		s.phase, s.progress = b.Phase, runspec.Progress{Phase: b.Phase, Total: b.Total}
		if b.Phase == runspec.PhaseHead {
			s.total = b.Total
		}
	case runspec.Progress:
		s.phase, s.progress = b.Phase, b
	case runspec.Epoch:
		s.epoch(b, r.Time, g)
	case runspec.System:
		s.system = &b
	case runspec.Problem:
		s.problem(b, r.Time)
	case runspec.Log:
		s.log(r.Time, b.Level, b.Text)
	case runspec.Evaluation:
		s.evaluated = &b
		s.log(r.Time, "info", fmt.Sprintf("%s: accuracy %s on %s", b.Split, text.Percent(float64(b.Accuracy), g), text.Some(b.Images, "image", "images")))
	case runspec.Artifact:
		s.log(r.Time, "info", fmt.Sprintf("wrote %s (%s)", b.Name, text.Bytes(b.Bytes)))
	case runspec.Result:
		s.result = &b
	case runspec.State:
		s.changed(b, r.Time)
	}
}

func (s *story) changed(b runspec.State, at time.Time) {
	if b.Attempt > 1 && b.Attempt > s.attempt {
		s.log(at, "warning", fmt.Sprintf("attempt %d: goes on from the last checkpoint", b.Attempt))
	}
	same := s.state == api.State(b.State) && s.reason == b.Reason
	s.state, s.reason, s.attempt = api.State(b.State), b.Reason, b.Attempt
	if same {
		return
	}
	line := "now " + b.State
	if b.Reason != "" {
		line += ": " + b.Reason
	}
	s.log(at, "info", line)
}

func (s *story) problem(b runspec.Problem, at time.Time) {
	if b.Action == runspec.ActionSkipped {
		s.skipped++
	}
	s.log(at, "warning", fmt.Sprintf("%s %s: %s", b.Action, b.Path, b.Text))
}

// epoch keys the curves by phase and epoch; a later attempt replaces what an earlier one said.
func (s *story) epoch(b runspec.Epoch, at time.Time, g theme.Glyphs) {
	i := slices.IndexFunc(s.epochs, func(e runspec.Epoch) bool { return e.Phase == b.Phase && e.Epoch == b.Epoch })
	if i >= 0 {
		if b.Attempt >= s.epochs[i].Attempt {
			s.epochs[i] = b
		}
		return
	}
	s.epochs = append(s.epochs, b)
	slices.SortStableFunc(s.epochs, func(a, b runspec.Epoch) int {
		return cmp.Or(cmp.Compare(order(a.Phase), order(b.Phase)), cmp.Compare(a.Epoch, b.Epoch))
	})
	line := fmt.Sprintf("epoch %d: validation accuracy %s, loss %s", b.Epoch, text.Percent(float64(b.ValAccuracy), g), number(b.ValLoss))
	if best := s.best(); best != nil && *best == b {
		line += "  " + g.Star + " best so far"
	}
	s.log(at, "info", line)
}

func order(phase string) int {
	for i, p := range phases {
		if p.id == phase {
			return i
		}
	}
	return len(phases)
}

func (s *story) log(at time.Time, level, words string) {
	s.lines = append(s.lines, logLine{at: at, level: level, text: text.Safe(words)})
	if len(s.lines) > maxLines {
		s.lines = s.lines[len(s.lines)-maxLines:]
	}
}

// best is the epoch that would be kept: the one with the lowest validation loss; nil before the first.
func (s *story) best() *runspec.Epoch {
	var best *runspec.Epoch
	for i := range s.epochs {
		v := float64(s.epochs[i].ValLoss)
		if math.IsNaN(v) {
			continue
		}
		if best == nil || v < float64(best.ValLoss) {
			best = &s.epochs[i]
		}
	}
	return best
}

// last is the newest epoch; nil before the first.
func (s *story) last() *runspec.Epoch {
	if len(s.epochs) == 0 {
		return nil
	}
	return &s.epochs[len(s.epochs)-1]
}

// column takes one number of every epoch.
func (s *story) column(get func(runspec.Epoch) runspec.Float) []float64 {
	out := make([]float64, len(s.epochs))
	for i, e := range s.epochs {
		out[i] = float64(get(e))
	}
	return out
}

// share is how far the current phase is, 0…1; false: not known.
func (s *story) share() (float64, bool) {
	if s.phase == runspec.PhaseHead && s.total > 0 && len(s.epochs) > 0 {
		return float64(s.last().Epoch) / float64(s.total), true
	}
	if s.progress.Total > 0 {
		return float64(s.progress.Done) / float64(s.progress.Total), true
	}
	return 0, false
}
