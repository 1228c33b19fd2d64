package run

import (
	"fmt"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/chart"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/frame"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// narrow is the width below which the numbers stand in a line instead of a pane.
const narrow = 76

// wide is the width from which the top line has room for more than a word about the connection.
const wide = 100

// View draws the screen.
func (m *Model) View() []string {
	if m.run.Id == "" {
		return m.notice("No run is open.", "Choose one under 3 Runs, or train a folder of photos: 1 Data.")
	}
	if m.failed != nil && len(m.story.lines) == 0 {
		return m.notice(text.Safe(m.failed.Error()), "esc goes back. "+m.remedy())
	}
	t := m.env.Theme
	out := m.head()
	if lines := m.box.Lines(m.w, max(4, m.h/4+1)); len(lines) > 0 && !m.active() {
		out = append(append(out, frame.Rule(t, m.w, "delivery", "")), lines...)
	}
	out = append(out, frame.Rule(t, m.w, "", ""))
	below := frame.Rule(t, m.w, "story", m.scrolled())
	story := m.storyHeight()
	body := m.h - len(out) - 1 - story
	if body >= 6 {
		if m.w >= narrow {
			at := m.w - m.side() - 1
			out[len(out)-1], below = frame.Tee(t, out[len(out)-1], at, true), frame.Tee(t, below, at, false)
		}
		out = append(out, m.body(body)...)
	} else {
		story += max(0, body)
	}
	out = append(out, below)
	return append(out, m.tail(story)...)
}

func (m *Model) notice(lines ...string) []string {
	out := make([]string, m.h/3)
	for _, l := range lines {
		for _, part := range text.Wrap(l, max(10, m.w-4)) {
			out = append(out, "  "+part)
		}
	}
	return out
}

func (m *Model) storyHeight() int {
	switch {
	case m.tall:
		return max(4, m.h-5)
	case m.h < 26:
		return 4
	}
	return min(12, m.h/4)
}

func (m *Model) scrolled() string {
	if m.up == 0 {
		return ""
	}
	return fmt.Sprintf("%d newer lines, G goes there", m.up)
}

// head says which phase it is in and how far.
func (m *Model) head() []string {
	t := m.env.Theme
	g := t.Glyphs
	var b strings.Builder
	now := order(m.story.phase)
	if m.story.phase == "" {
		now = -1
	}
	for i, p := range phases {
		if p.id == runspec.PhaseFinetune && m.run.Recipe.FinetuneEpochs == 0 || p.id == runspec.PhaseTeacher && m.run.Recipe.Teacher == "" {
			continue
		}
		glyph, style := g.Wait, t.Dim
		switch {
		case m.state() == api.StateSucceeded || i < now:
			glyph, style = g.Check, t.Good
		case i == now && m.state() == api.StateFailed:
			glyph, style = g.Cross, t.Bad
		case i == now:
			glyph, style = g.Active, t.Accent
		}
		b.WriteString(" " + style.Render(glyph+" "+p.short) + " ")
	}
	out := append([]string{text.Spread(b.String(), m.times()+" ", m.w, g.Ellipsis)}, m.progress()...)
	if m.failed != nil {
		out = append(out, m.said(t.Warn.Render(g.Warn+" No longer followed:")+" "+text.Safe(m.failed.Error())+" "+m.remedy())...)
	}
	return out
}

// remedy is what helps when the run cannot be followed.
func (m *Model) remedy() string {
	switch api.Code(m.failed) {
	case api.CodeNotFound, api.CodeForbidden:
		return ""
	case api.CodeUnauthorized:
		return "Sign in again in another terminal with `cultivar login`, then press R."
	}
	return "R tries to connect again."
}

func (m *Model) times() string {
	s := &m.story
	if s.began.IsZero() {
		return ""
	}
	out := text.Span(max(s.newest.Sub(s.began), m.env.Now().Sub(s.began))) + " so far"
	if !m.active() {
		return "took " + text.Span(s.newest.Sub(s.began))
	}
	if left := text.Left(float64(s.progress.ETASeconds)); left != "" {
		out += " " + m.env.Theme.Glyphs.Dot + " " + left
	}
	return out
}

// progress is the line with the bar, or the state in words when nothing moves.
func (m *Model) progress() []string {
	t := m.env.Theme
	g := t.Glyphs
	switch m.state() {
	case api.StateSucceeded:
		return m.said(t.Good.Render(g.Check+" Finished.") + " " + m.headline())
	case api.StateFailed:
		return m.said(t.Bad.Render(g.Cross+" Failed:") + " " + text.Safe(m.reason()))
	case api.StateCancelled:
		return m.said(t.Warn.Render(g.Cross+" Cancelled.") + " " + text.Safe(m.reason()))
	case api.StateStarting:
		if why := m.reason(); why != "" {
			return m.said(t.Warn.Render(g.Wait+" Starting.") + " " + text.Safe(why))
		}
	case api.StateQueued:
		return m.said(t.Dim.Render(g.Wait + " Waiting in the queue" + m.place()))
	case api.StateInterrupted:
		return m.said(t.Warn.Render(g.Warn+" Interrupted; it goes on from the last checkpoint.") + " " + text.Safe(m.reason()))
	}
	return []string{m.bar()}
}

// said is a sentence in as many lines as it takes, half the screen at most.
func (m *Model) said(words string) []string {
	var out []string
	for _, l := range text.Wrap(words, m.w-3) {
		out = append(out, " "+l)
	}
	return out[:min(len(out), max(4, m.h/2))]
}

// bar is how far the phase is.
func (m *Model) bar() string {
	t := m.env.Theme
	g := t.Glyphs
	words := m.doing()
	if m.busy != "" || m.state() == api.StateStopping {
		words = "stopping, the best epoch is kept"
		if m.busy == "cancelling" {
			words = "cancelling"
		}
	}
	share, ok := m.story.share()
	if !ok {
		return " " + words
	}
	return " " + t.Accent.Render(text.Bar(g, share, max(10, m.w/3), g.Empty)) + fmt.Sprintf(" %3.0f %%  ", 100*share) + words
}

func (m *Model) reason() string {
	if m.story.reason != "" || m.state() == api.StateStarting && m.story.state != "" {
		return m.story.reason // a reason for waiting that the list told may be an older one
	}
	if m.run.Reason != nil {
		return *m.run.Reason
	}
	return ""
}

func (m *Model) place() string {
	if m.run.QueuePosition == nil {
		return ""
	}
	return fmt.Sprintf(", place %d", *m.run.QueuePosition)
}

func (m *Model) headline() string {
	g := m.env.Theme.Glyphs
	if ev := m.story.evaluated; ev != nil {
		return fmt.Sprintf("%s of the %s photos are right. n shows the results.", text.Percent(float64(ev.Accuracy), g), ev.Split)
	}
	return "n shows the results."
}

func (m *Model) doing() string {
	s := &m.story
	for _, p := range phases {
		if p.id != s.phase {
			continue
		}
		switch {
		case p.id == runspec.PhaseHead && s.last() != nil:
			return fmt.Sprintf("epoch %d of at most %d", s.last().Epoch, s.total)
		case p.id == runspec.PhaseFinetune && s.progress.Done > 0:
			return fmt.Sprintf("%s, epoch %d of at most %d", p.doing, s.progress.Done, s.progress.Total)
		case s.progress.Total > 0 && (p.id == runspec.PhaseFeatures || p.id == runspec.PhaseTeacher):
			what := "photos"
			if m.run.Recipe.Views > 1 {
				what = "views of photos"
			}
			return fmt.Sprintf("%s of %s %s, %.0f a second", text.Count(s.progress.Done), text.Count(s.progress.Total), what, float64(s.progress.Rate))
		}
		return p.doing
	}
	return "starting"
}

// body holds the curves and, where there is room, the numbers beside them.
func (m *Model) body(h int) []string {
	t := m.env.Theme
	if m.w < narrow {
		lines := m.charts(m.w, h-2)
		lines = append(lines, m.brief())
		return append(lines, " "+meaning(m.story.epochs, m.run.Recipe.Patience, m.classes)[0])
	}
	side := m.side()
	return frame.Columns(t, h, []int{m.w - side - 1, side}, m.charts(m.w-side-1, h), m.numbers(side, h))
}

// side is the width of the pane with the numbers.
func (m *Model) side() int { return min(44, max(30, m.w*3/10)) }

func (m *Model) charts(w, h int) []string {
	t := m.env.Theme
	s := &m.story
	points := max(10, min(s.total, 2*len(s.epochs)))
	if !m.active() {
		points = 0
	}
	pair := func(train, val func(runspec.Epoch) runspec.Float) []chart.Series {
		return []chart.Series{
			{Name: "training", Y: s.column(train), Style: t.Series[0], Mark: '*'},
			{Name: "validation", Y: s.column(val), Style: t.Series[1], Dashed: true, Mark: 'o'},
		}
	}
	up := (h + 1) / 2
	acc := chart.Chart{Theme: t, Title: " accuracy", Width: w, Height: up, Percent: true, MinX: points, Legend: true,
		Series: pair(func(e runspec.Epoch) runspec.Float { return e.TrainAccuracy }, func(e runspec.Epoch) runspec.Float { return e.ValAccuracy })}
	loss := chart.Chart{Theme: t, Title: " loss", Width: w, Height: h - up, Log: m.log, MinX: points,
		Series: pair(func(e runspec.Epoch) runspec.Float { return e.TrainLoss }, func(e runspec.Epoch) runspec.Float { return e.ValLoss })}
	return append(acc.Lines(), loss.Lines()...)
}

// brief is the numbers in one line.
func (m *Model) brief() string {
	last, best := m.story.last(), m.story.best()
	if last == nil || best == nil {
		return ""
	}
	g := m.env.Theme.Glyphs
	return fmt.Sprintf(" validation %s now, %s at best (epoch %d)", text.Percent(float64(last.ValAccuracy), g), text.Percent(float64(best.ValAccuracy), g), best.Epoch)
}

// numbers is the pane with the figures and what they mean.
func (m *Model) numbers(w, h int) []string {
	t := m.env.Theme
	g := t.Glyphs
	out := []string{t.Dim.Render(text.Right("now", w-10) + text.Right(m.bestCaption(), 9))}
	if last, best := m.story.last(), m.story.best(); last != nil {
		row := func(name, now, then string) {
			out = append(out, " "+t.Dim.Render(text.Fit(name, w-19, g.Ellipsis))+text.Right(now, 8)+" "+t.Good.Render(text.Right(then, 9)))
		}
		bestAcc, bestLoss := "", ""
		if best != nil {
			bestAcc, bestLoss = text.Percent(float64(best.ValAccuracy), g), number(best.ValLoss)
		}
		row("val acc", text.Percent(float64(last.ValAccuracy), g), bestAcc)
		row("val loss", number(last.ValLoss), bestLoss)
		row("train acc", text.Percent(float64(last.TrainAccuracy), g), "")
		row("train loss", number(last.TrainLoss), "")
		row("learn rate", fmt.Sprintf("%.1e", float64(last.LearningRate)), "")
	}
	if s := m.story.system; s != nil {
		out = append(out, " "+t.Dim.Render(fmt.Sprintf("%.1f cores, %s memory", float64(s.CPU), text.Bytes(s.RSSBytes))))
	}
	if m.story.skipped > 0 {
		out = append(out, " "+t.Warn.Render(g.Warn+" "+text.Some(m.story.skipped, "photo", "photos")+" left out"))
	}
	out = append(out, frame.Rule(t, w, "what does it mean?", ""))
	for _, s := range meaning(m.story.epochs, m.run.Recipe.Patience, m.classes) {
		for _, line := range text.Wrap(s, w-2) {
			out = append(out, " "+line)
		}
	}
	if words := m.later(); words != "" {
		out = append(out, "")
		for _, line := range text.Wrap(words, w-2) {
			out = append(out, " "+line)
		}
	}
	if m.active() && len(out)+3 <= h {
		out = append(out, "")
		for _, line := range text.Wrap("You may quit or lose the connection: training goes on.", w-2) {
			out = append(out, " "+t.Dim.Render(line))
		}
	}
	return out
}

// later says what will be done with the result when the run has ended.
func (m *Model) later() string {
	n := m.run.Notify
	if n == nil || !m.active() {
		return ""
	}
	mail, link := n.Email != nil && *n.Email != "", n.Share != nil && *n.Share
	switch {
	case mail && link:
		return "When it ends, a share link is made and mailed to " + text.Safe(*n.Email) + "."
	case mail:
		return "When it ends, the result is mailed to " + text.Safe(*n.Email) + "."
	case link:
		return "When it ends, a share link is made."
	}
	return ""
}

func (m *Model) bestCaption() string {
	if best := m.story.best(); best != nil {
		return fmt.Sprintf("best@%d", best.Epoch)
	}
	return "best"
}

func number(v runspec.Float) string {
	f := float64(v)
	switch {
	case f != f:
		return "NaN"
	case f != 0 && f < 0.01:
		return fmt.Sprintf("%.1e", f)
	}
	return fmt.Sprintf("%.3f", f)
}

// tail is the newest lines of the story, or older ones after scrolling.
func (m *Model) tail(h int) []string {
	t := m.env.Theme
	lines := m.story.lines
	end := max(0, len(lines)-m.up)
	from := max(0, end-h)
	var out []string
	for _, l := range lines[from:end] {
		words := l.text
		switch l.level {
		case "warning":
			words = t.Warn.Render(t.Glyphs.Warn) + " " + words
		case "error":
			words = t.Bad.Render(t.Glyphs.Cross) + " " + words
		}
		out = append(out, " "+t.Dim.Render(l.at.Local().Format("15:04:05"))+" "+words)
	}
	if len(out) == 0 {
		out = append(out, t.Dim.Render(" nothing yet"))
	}
	return out
}
