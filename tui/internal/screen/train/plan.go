package train

import (
	"context"
	"fmt"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/manifest"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// forecast is what the server says a training would take.
type forecast struct {
	asked   string // what the answer is for; empty: nothing was asked
	running bool
	plan    *runspec.Plan // nil: no answer yet
	failed  error
}

type planItem struct {
	plan *runspec.Plan
	err  error
}

type planMsg struct {
	feed  *screen.Feed[planItem]
	asked string
	items []planItem
	over  bool
}

// foresee asks what a training would take when something has changed that it depends on. One question is under way at a
// time: what has changed meanwhile is asked when it is answered.
func (m *Model) foresee() tea.Cmd {
	if ok, _ := m.startable(); !ok || m.dataset == nil || m.forecast.running || m.editing {
		return nil
	}
	question := m.question()
	if question == m.forecast.asked {
		return nil
	}
	m.forecast.asked, m.forecast.running = question, true
	ctx, c, set, recipe, profile := m.env.Ctx, m.env.Client, m.dataset.Manifest, m.recipe, m.wish.profile
	return func() tea.Msg {
		feed := screen.StartFeed(ctx, redraw, func(ctx context.Context, emit func(planItem)) {
			for p, err := range c.Plan(ctx, set, recipe, profile) {
				if err != nil {
					emit(planItem{err: err})
					return
				}
				emit(planItem{plan: &p})
			}
		})
		return nextPlan(feed, question)()
	}
}

// question is everything that an answer depends on.
func (m *Model) question() string {
	return fmt.Sprint(manifest.Digest(m.dataset.Manifest.Images), m.recipe, m.wish.profile)
}

func nextPlan(feed *screen.Feed[planItem], asked string) tea.Cmd {
	return func() tea.Msg {
		items, ok := feed.Next()
		return planMsg{feed: feed, asked: asked, items: items, over: !ok}
	}
}

func (m *Model) foreseen(msg planMsg) tea.Cmd {
	for _, it := range msg.items {
		m.forecast.plan, m.forecast.failed = it.plan, it.err
	}
	if msg.over {
		m.forecast.running = false
		return nil
	}
	return nextPlan(msg.feed, msg.asked)
}

// current tells whether the answer is for what is set now.
func (m *Model) current() bool {
	return m.forecast.plan != nil && m.dataset != nil && m.forecast.asked == m.question()
}

// costs is the table of what each preset takes, and the settings where they are none of them.
func (m *Model) costs() []string {
	t := m.env.Theme
	f := m.forecast
	if m.dataset == nil || f.asked == "" {
		return nil
	}
	out := []string{" " + t.Title.Render("Time and disk")}
	switch {
	case f.failed != nil:
		return append(out, wrapped("cannot be foretold: "+text.Safe(f.failed.Error()), 44)...)
	case f.plan == nil:
		return append(out, t.Dim.Render("  asking the server"+t.Glyphs.Ellipsis))
	}
	own := slices.ContainsFunc(m.recipe.Changed(), func(name string) bool { return name != "base" })
	for _, o := range f.plan.Options {
		name, mark := text.Safe(o.Name), " "
		if o.Name == runspec.PlanGiven {
			if !own || !m.current() {
				continue
			}
			name = "yours"
		}
		if name == "yours" || !own && o.Name == string(m.recipe.Preset) {
			mark = t.Accent.Render(t.Glyphs.Active)
		}
		out = append(out, fmt.Sprintf(" %s %s %s  %s", mark, text.Fit(name, 8, t.Glyphs.Ellipsis), text.Right(m.span(o), 8), text.Right(text.Bytes(o.Cost.CacheBytes+o.Cost.FileBytes), 7)))
	}
	if f.plan.Measuring {
		out = append(out, t.Dim.Render("   measuring the machine"+t.Glyphs.Ellipsis))
	}
	return out
}

// span is how long an option takes.
func (m *Model) span(o runspec.PlanOption) string {
	switch {
	case o.Refused != "":
		return m.env.Theme.Glyphs.Dash
	case len(o.Cost.Unknown) > 0 && m.forecast.plan.Measuring:
		return m.env.Theme.Glyphs.Ellipsis
	case len(o.Cost.Unknown) > 0:
		return "unknown"
	}
	return text.Span(time.Duration(float64(o.Cost.Seconds) * float64(time.Second)))
}

// outlook is what the settings take, or why they cannot be trained with; neither while nobody knows.
func (m *Model) outlook() (takes, refused string) {
	if !m.current() || len(m.forecast.plan.Options) == 0 {
		return "", ""
	}
	o := m.forecast.plan.Options[0]
	if o.Refused != "" {
		return "", o.Refused
	}
	if len(o.Cost.Unknown) > 0 {
		return "", ""
	}
	return fmt.Sprintf("%s and %s", m.span(o), text.Bytes(o.Cost.CacheBytes+o.Cost.FileBytes)), ""
}
