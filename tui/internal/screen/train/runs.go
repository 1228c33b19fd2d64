package train

import (
	"fmt"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// runsLoadedMsg has the newest runs.
type runsLoadedMsg struct{ runs []api.Run }

// namesRun tells whether a field's value is a run.
func namesRun(f runspec.Field) bool { return f.Name == "start_from" || f.Name == "distill_teacher" }

// loadRuns asks which runs can be named. Without an answer they are typed.
func (m *Model) loadRuns() tea.Cmd {
	if m.env.Client == nil {
		return nil
	}
	ctx, c := m.env.Ctx, m.env.Client
	return func() tea.Msg {
		page, err := c.Runs(ctx, "")
		if err != nil {
			return nil
		}
		return runsLoadedMsg{page.Runs}
	}
}

// takeRuns keeps those that have succeeded.
func (m *Model) takeRuns(all []api.Run) {
	m.runs = nil
	for _, r := range all {
		if r.State == api.StateSucceeded {
			m.runs = append(m.runs, r)
		}
	}
}

// stepRun goes to the next run for a field, or from the last one to none.
func (m *Model) stepRun(f runspec.Field, by int) {
	values := []string{""}
	at := 0
	for i, r := range m.runs {
		values = append(values, strconv.Itoa(r.Number))
		if isRun(r, f.Get(m.recipe)) {
			at = i + 1
		}
	}
	_ = f.Set(&m.recipe, values[(at+by+len(values))%len(values)]) // any number can be one
}

// isRun tells whether a word means a run, as the server understands it.
func isRun(r api.Run, word string) bool {
	return word != "" && (word == r.Id || strings.TrimPrefix(word, "#") == strconv.Itoa(r.Number))
}

// runHelp says which run a field names, and how to choose one.
func (m *Model) runHelp(f runspec.Field) []string {
	var said []string
	for _, r := range m.runs {
		if !isRun(r, f.Get(m.recipe)) {
			continue
		}
		s := fmt.Sprintf("#%d %s", r.Number, text.Safe(r.Name))
		if r.TestAccuracy != nil {
			s += fmt.Sprintf(": right on %.1f %% of its test photos", 100**r.TestAccuracy)
		}
		said = append(said, s+".")
	}
	if len(m.runs) > 0 {
		return append(said, "Left and right go through your finished runs; enter takes a number.")
	}
	return append(said, "Enter takes a run's number.")
}
