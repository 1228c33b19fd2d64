// Package outbox is the part of a run's screens that shows what became of its share links and mails, and orders more of
// them. It is no screen of its own: the live screen and the results hold one each.
package outbox

import (
	"fmt"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// refresh is how often deliveries under way are looked at while their screen is shown.
const refresh = 2 * time.Second

// Box is the deliveries of one run. Its screen forwards every message to Update.
type Box struct {
	env    *screen.Env
	owner  screen.Name
	hint   string // where a download starts on this screen, as the start of a sentence
	run    api.Run
	list   []api.Delivery
	loaded bool
	asking bool
	timed  bool // a look is due by itself
	failed error
}

// New makes the box of a screen; hint says how that screen downloads: "Download with d".
func New(env *screen.Env, owner screen.Name, hint string) *Box {
	return &Box{env: env, owner: owner, hint: hint}
}

type loadedMsg struct {
	owner screen.Name
	run   string
	list  []api.Delivery
	err   error
}

type dueMsg struct {
	owner screen.Name
	run   string
}

// orderedMsg is the answer to a share or a retry.
type orderedMsg struct {
	owner screen.Name
	run   string
	said  string
	err   error
}

// Open shows the deliveries of a run from now on.
func (b *Box) Open(run api.Run) tea.Cmd {
	if run.Id != b.run.Id {
		*b = Box{env: b.env, owner: b.owner, hint: b.hint}
	}
	b.run = run
	return b.load()
}

// Shown looks again, since nothing is asked while the screen is hidden.
func (b *Box) Shown() tea.Cmd { return b.load() }

func (b *Box) load() tea.Cmd {
	if b.env.Client == nil || b.asking || !screen.Terminal(b.run.State) {
		return nil
	}
	b.asking = true
	ctx, c, owner, id := b.env.Ctx, b.env.Client, b.owner, b.run.Id
	return func() tea.Msg {
		list, err := c.Deliveries(ctx, id)
		return loadedMsg{owner: owner, run: id, list: list, err: err}
	}
}

// Update takes the server's answers; those for another box are ignored.
func (b *Box) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case loadedMsg:
		if msg.owner == b.owner && msg.run == b.run.Id {
			return b.took(msg)
		}
	case dueMsg:
		if msg.owner == b.owner && msg.run == b.run.Id {
			b.timed = false
			if b.env.Active == b.owner {
				return b.load()
			}
		}
	case orderedMsg:
		if msg.owner != b.owner {
			return nil
		}
		if msg.err != nil {
			return screen.Send(screen.Toast{Text: msg.err.Error()})
		}
		toast := screen.Send(screen.Toast{Text: msg.said})
		if msg.run != b.run.Id {
			return toast
		}
		return tea.Batch(toast, b.load())
	}
	return nil
}

func (b *Box) took(msg loadedMsg) tea.Cmd {
	b.asking = false
	if api.Code(msg.err) == api.CodeNotFound { // an older server delivers nothing
		msg.err = nil
	}
	if b.failed = msg.err; msg.err == nil {
		b.list, b.loaded = msg.list, true
	}
	if b.timed || !slices.ContainsFunc(b.list, func(d api.Delivery) bool { return !client.Settled(d) }) {
		return nil
	}
	b.timed = true
	owner, id := b.owner, b.run.Id
	return tea.Tick(refresh, func(time.Time) tea.Msg { return dueMsg{owner: owner, run: id} })
}

// shares and mails tell what the server can do.
func (b *Box) shares() bool { return b.env.Abilities != nil && b.env.Abilities.Share }
func (b *Box) mails() bool  { return b.env.Abilities != nil && b.env.Abilities.Mail }

// CanShare tells whether a link or a mail can be ordered now.
func (b *Box) CanShare() bool {
	return b.run.State == api.StateSucceeded && b.env.Client != nil && (b.shares() || b.mails())
}

// Share asks for the address, and orders.
func (b *Box) Share() tea.Cmd {
	name := fmt.Sprintf("%s #%d", b.run.Name, b.run.Number)
	a := screen.Ask{
		Title: "Share " + name + "?", Verb: "Make the link",
		Text: "The model goes to the server's Dropbox, and a link to it is made. Whoever has the link can download the model.",
	}
	switch {
	case !b.mails():
		a.Yes = func() tea.Cmd { return b.order("") }
		return screen.Send(a)
	case !b.shares():
		a.Title, a.Verb = "Mail the result of "+name+"?", "Send the mail"
		a.Text = "The server makes no share links, so the mail tells the result and how to download the model."
	}
	a.Field = &screen.Field{Label: "Mail it to", Value: b.address(), Give: b.order, Wrong: func(s string) string {
		if s == "" && b.shares() {
			return ""
		}
		if err := client.CheckAddress(s); err != nil {
			return err.Error()
		}
		return ""
	}}
	if b.shares() {
		a.Text += " Leave the address empty to make the link only."
	}
	return screen.Send(a)
}

// address is what the field for one begins with: the one used last.
func (b *Box) address() string {
	for _, d := range slices.Backward(b.list) {
		if d.Kind == api.DeliveryEmail && typable(value(d.Target)) {
			return *d.Target
		}
	}
	if b.env.Mail != "" {
		return b.env.Mail
	}
	if n := b.run.Notify; n != nil && typable(value(n.Email)) {
		return *n.Email
	}
	return ""
}

// typable tells whether a server's text may stand in a field: it is an address, and safe to be shown as it is.
func typable(s string) bool { return client.CheckAddress(s) == nil && text.Safe(s) == s }

func (b *Box) order(address string) tea.Cmd {
	ctx, c, owner, id := b.env.Ctx, b.env.Client, b.owner, b.run.Id
	want, said := api.ShareCreate{}, "The server makes the link."
	var remember tea.Cmd
	if address != "" {
		want.Email, said = &address, "The server mails "+address+"."
		remember = screen.Send(screen.Mailed{Address: address})
	}
	return tea.Batch(remember, func() tea.Msg {
		_, err := c.Share(ctx, id, want)
		return orderedMsg{owner: owner, run: id, said: said, err: err}
	})
}

// again are the deliveries that a retry can help.
func (b *Box) again() []string {
	var ids []string
	for _, d := range b.list {
		if d.State == api.DeliveryFailed || d.State == api.DeliveryWaiting && d.Next != nil {
			ids = append(ids, d.Id)
		}
	}
	return ids
}

// CanRetry tells whether something failed or waits for its next try.
func (b *Box) CanRetry() bool { return b.env.Client != nil && len(b.again()) > 0 }

// Retry makes all of that due now.
func (b *Box) Retry() tea.Cmd {
	ctx, c, owner, id, ids := b.env.Ctx, b.env.Client, b.owner, b.run.Id, b.again()
	return func() tea.Msg {
		for _, d := range ids {
			if _, err := c.RetryDelivery(ctx, id, d); err != nil {
				return orderedMsg{owner: owner, run: id, err: err}
			}
		}
		return orderedMsg{owner: owner, run: id, said: "The server tries again now."}
	}
}

// URL is the newest share link; empty: there is none.
func (b *Box) URL() string {
	for _, d := range slices.Backward(b.list) {
		if d.Kind == api.DeliveryLink && d.State == api.DeliveryDelivered && d.Url != nil {
			return *d.Url
		}
	}
	return ""
}

// CopyURL puts the newest share link on the clipboard.
func (b *Box) CopyURL() tea.Cmd {
	return tea.Batch(tea.SetClipboard(b.URL()), screen.Send(screen.Toast{Text: "Copied " + text.Safe(b.URL())}))
}
