package outbox

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// Lines draws the deliveries in at most so many lines of w cells, the newest last; none for a run that has nothing to do
// with them.
func (b *Box) Lines(w, most int) []string {
	t := b.env.Theme
	if len(b.list) == 0 {
		return b.empty(w)
	}
	away := b.away(w)
	most -= len(away)
	var groups [][]string
	for _, d := range b.list {
		groups = append(groups, b.one(d, w, max(2, most/3)))
	}
	lines, hidden := 0, 0
	for i, g := range slices.Backward(groups) {
		room := most - lines
		if i > 0 {
			room-- // for the line that tells of older ones
		}
		if len(g) > room && i < len(groups)-1 {
			hidden = i + 1
			break
		}
		lines += len(g)
	}
	var out []string
	if hidden > 0 {
		out = append(out, t.Dim.Render(fmt.Sprintf("   %s: cultivar share %d --status", text.Some(hidden, "older one", "older ones"), b.run.Number)))
	}
	for _, g := range groups[hidden:] {
		out = append(out, g...)
	}
	return append(out[:min(len(out), most)], away...)
}

// away says why what is shown may be out of date, in two lines at most.
func (b *Box) away(w int) []string {
	t := b.env.Theme
	if b.failed == nil {
		return nil
	}
	var out []string
	for _, l := range b.few(t.Glyphs.Warn+" As it was before: "+text.Safe(b.failed.Error()), w-2, 2) {
		out = append(out, " "+t.Warn.Render(l))
	}
	return out
}

// few wraps a text into at most so many lines.
func (b *Box) few(words string, w, most int) []string {
	lines := text.Wrap(words, w)
	if len(lines) > most {
		lines[most-1] = text.Cut(lines[most-1]+" "+lines[most], w, b.env.Theme.Glyphs.Ellipsis)
		lines = lines[:most]
	}
	return lines
}

// empty says what can be done when nothing was delivered.
func (b *Box) empty(w int) []string {
	t := b.env.Theme
	if b.run.State != api.StateSucceeded {
		return nil
	}
	words := fmt.Sprintf("%s, or: cultivar download %d", b.hint, b.run.Number)
	switch {
	case b.failed != nil:
		words = t.Warn.Render(t.Glyphs.Warn + " " + text.Safe(b.failed.Error()))
	case b.shares() && b.mails():
		words = t.Accent.Render("s") + " makes a share link, and mails it when you like. " + words
	case b.shares():
		words = t.Accent.Render("s") + " makes a share link. " + words
	case b.mails():
		words = t.Accent.Render("s") + " mails the result. " + words
	}
	var out []string
	for _, l := range text.Wrap(words, w-2) {
		out = append(out, " "+l)
	}
	return out
}

// one draws a delivery: what and how it stands, then its link or what went wrong.
func (b *Box) one(d api.Delivery, w, most int) []string {
	t := b.env.Theme
	glyph, style := b.mark(d)
	kind := "link"
	if d.Kind == api.DeliveryEmail {
		kind = "mail"
	}
	more := text.Safe(value(d.Target))
	if when := b.when(d); more != "" && when != "" {
		more += ", " + when
	} else {
		more += when
	}
	out := []string{" " + style.Render(glyph) + " " + kind + "  " + style.Render(text.Fit(text.Safe(string(d.State)), 9, "")) + "  " + text.Cut(more, w-22, t.Glyphs.Ellipsis)}
	if link := value(d.Url); link != "" && d.Kind == api.DeliveryLink {
		out = append(out, linked(link, w-4)...)
	}
	if reason := value(d.Reason); reason != "" && d.State != api.DeliverySending { // then it is that of the try before
		for _, l := range b.few(text.Safe(reason), w-4, most) {
			out = append(out, "   "+t.Dim.Render(l))
		}
	}
	return out
}

// when says until when a delivery lasts, or when it goes on.
func (b *Box) when(d api.Delivery) string {
	switch {
	case d.Next != nil && d.State == api.DeliveryWaiting:
		return "next try " + b.moment(*d.Next)
	case d.Expires != nil && d.State == api.DeliveryDelivered:
		return "until " + b.moment(*d.Expires)
	case client.Needs(d, b.list) != nil:
		return "goes out after the link"
	}
	return ""
}

// mark is a state's glyph and colour; the word stands beside it.
func (b *Box) mark(d api.Delivery) (string, lipgloss.Style) {
	t := b.env.Theme
	switch d.State {
	case api.DeliveryDelivered:
		return t.Glyphs.Check, t.Good
	case api.DeliveryFailed:
		return t.Glyphs.Cross, t.Bad
	case api.DeliverySending:
		return t.Glyphs.Active, t.Accent
	case api.DeliveryWaiting:
	}
	return t.Glyphs.Wait, t.Warn
}

// linked is an address as text in whole, over as many lines as it takes, each of which a terminal may make clickable.
func linked(address string, w int) []string {
	before, after := "", ""
	if u, err := url.Parse(address); err == nil && web(address) {
		before, after = ansi.SetHyperlink(u.String(), "id=share"), ansi.ResetHyperlink()
	}
	var out []string
	for _, l := range strings.Split(ansi.Hardwrap(text.Safe(address), max(8, w), true), "\n") {
		out = append(out, "   "+before+l+after)
	}
	return out
}

// moment is a time of day, with the day when it is another one.
func (b *Box) moment(at time.Time) string {
	at = at.Local()
	if at.Format(time.DateOnly) == b.env.Now().Local().Format(time.DateOnly) {
		return at.Format("15:04")
	}
	return at.Format("2006-01-02 15:04")
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
