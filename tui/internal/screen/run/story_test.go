package run

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/theme"
)

func event(id int64, body any, kind runspec.Type) api.Event {
	return api.Event{Id: id, Record: runspec.Record{Seq: id, Time: time.Unix(id, 0), Type: kind, Body: body}}
}

func TestStoryKeepsEachEpochOnce(t *testing.T) {
	g := theme.New(theme.Options{}).Glyphs
	var s story
	ep := func(n, attempt int, loss float64) runspec.Epoch {
		return runspec.Epoch{Phase: runspec.PhaseHead, Epoch: n, Attempt: attempt, ValLoss: runspec.Float(loss)}
	}
	for i, e := range []runspec.Epoch{ep(1, 1, 0.9), ep(2, 1, 0.8), ep(2, 2, 0.7), ep(3, 2, 0.6), ep(2, 1, 0.1)} {
		s.add(event(int64(i+1), e, runspec.TypeEpoch), g)
	}
	s.add(event(3, ep(9, 9, 0), runspec.TypeEpoch), g) // sent again after a reconnect
	if got := s.column(func(e runspec.Epoch) runspec.Float { return e.ValLoss }); len(got) != 3 || got[1] != 0.7 {
		t.Errorf("curve is %v; the later attempt must win, each epoch once", got)
	}
	if b := s.best(); b == nil || b.Epoch != 3 {
		t.Errorf("best is %+v, want epoch 3", b)
	}
}

// TestStoryOfWaiting: the newest reason counts, one told twice is one line, the curves stay as they are, and a reason is
// gone once the run runs.
func TestStoryOfWaiting(t *testing.T) {
	g := theme.New(theme.Options{}).Glyphs
	var s story
	s.add(event(1, runspec.Epoch{Phase: runspec.PhaseHead, Epoch: 1, Attempt: 1, ValLoss: 0.5}, runspec.TypeEpoch), g)
	for i, why := range []string{"one", "two", "two", "three"} {
		s.add(event(int64(i+2), runspec.State{State: "starting", Attempt: 2, Reason: why}, runspec.TypeState), g)
	}
	s.add(event(3, runspec.State{State: "starting", Attempt: 2, Reason: "one"}, runspec.TypeState), g) // sent again
	if s.reason != "three" || len(s.epochs) != 1 {
		t.Errorf("reason %q, %d epochs", s.reason, len(s.epochs))
	}
	told := 0
	for _, l := range s.lines {
		if strings.Contains(l.text, "now starting") {
			told++
		}
	}
	if told != 3 {
		t.Errorf("%d reasons are told, want 3", told)
	}
	s.add(event(9, runspec.State{State: "running", Attempt: 2}, runspec.TypeState), g)
	if s.reason != "" || s.state != api.StateRunning {
		t.Errorf("it is %s for %q", s.state, s.reason)
	}
}

func TestStoryIsSafe(t *testing.T) {
	g := theme.New(theme.Options{}).Glyphs
	var s story
	s.add(event(1, runspec.Log{Level: "info", Text: "\x1b[2Jgone"}, runspec.TypeLog), g)
	s.add(event(2, runspec.Problem{Path: "a\x1b]0;x\x07", Text: "\u202e", Action: "skipped"}, runspec.TypeProblem), g)
	for _, l := range s.lines {
		if strings.ContainsAny(l.text, "\x1b\x07\u202e") {
			t.Errorf("the story lets %q through", l.text)
		}
	}
}

func TestMeaning(t *testing.T) {
	curve := func(n int, f func(i int) runspec.Epoch) []runspec.Epoch {
		out := make([]runspec.Epoch, n)
		for i := range out {
			out[i] = f(i + 1)
			out[i].Epoch = i + 1
		}
		return out
	}
	cases := []struct {
		name    string
		epochs  []runspec.Epoch
		classes int
		want    string
	}{
		{"nothing yet", nil, 3, "An epoch is one pass"},
		{"two points", curve(2, func(i int) runspec.Epoch { return runspec.Epoch{} }), 3, "Too early"},
		{"improving", curve(6, func(i int) runspec.Epoch {
			return runspec.Epoch{TrainAccuracy: 0.8, ValAccuracy: 0.79, ValLoss: runspec.Float(1 / float64(i))}
		}), 3, "still getting better"},
		{"not a number", curve(4, func(i int) runspec.Epoch { return runspec.Epoch{TrainLoss: runspec.Float(math.NaN())} }), 3, "lower learning rate"},
		{"by heart", curve(6, func(i int) runspec.Epoch {
			return runspec.Epoch{TrainAccuracy: 0.99, ValAccuracy: 0.8, ValLoss: runspec.Float(1 / float64(i))}
		}), 3, "overfitting"},
		{"guessing", curve(8, func(i int) runspec.Epoch {
			return runspec.Epoch{TrainAccuracy: 0.34, ValAccuracy: 0.33, ValLoss: 1.1}
		}), 3, "better than guessing"},
		{"flat", curve(9, func(i int) runspec.Epoch {
			return runspec.Epoch{TrainAccuracy: 0.9, ValAccuracy: 0.89, ValLoss: runspec.Float(0.5 + 0.0001*math.Max(0, float64(i-3)))}
		}), 3, "curves are flat"},
		{"rising loss", curve(9, func(i int) runspec.Epoch {
			return runspec.Epoch{TrainAccuracy: 0.9, ValAccuracy: 0.89, ValLoss: runspec.Float(0.5 + 0.05*math.Abs(float64(i-2)))}
		}), 3, "makes it worse"},
		{"jumping", curve(9, func(i int) runspec.Epoch {
			return runspec.Epoch{TrainAccuracy: 0.9, ValAccuracy: 0.89, ValLoss: runspec.Float(1 + 0.4*float64(i%2) - 0.01*float64(i))}
		}), 3, "jumps"},
		{"stopping soon", curve(6, func(i int) runspec.Epoch {
			return runspec.Epoch{TrainAccuracy: 0.9, ValAccuracy: 0.89, ValLoss: runspec.Float(0.5 + 0.01*math.Abs(float64(i-3)))}
		}), 3, "stops by itself after 3 more"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(meaning(c.epochs, 6, c.classes), " "); !strings.Contains(got, c.want) {
				t.Errorf("it says %q, want something with %q", got, c.want)
			}
		})
	}
}
