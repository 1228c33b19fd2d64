// Package outbox is the part of a run's screens that shows what became of its share links and mails, and orders more of
// them. It is no screen of its own: the live screen and the results hold one each.
package outbox

import (
	"fmt"
	"net/url"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
	"github.com/cultivar-ml/cultivar/tui/internal/screen"
	"github.com/cultivar-ml/cultivar/tui/internal/widget/text"
)

// How often deliveries are looked at while their screen is shown.
const (
	refresh = 2 * time.Second  // something is under way
	seldom  = 15 * time.Second // what is left is tried again later
	most    = 30 * time.Second // the server does not answer: twice as long after each time, up to this
)

// Box is the deliveries of one run. Its screen forwards every message to Update.
type Box struct {
	env    *screen.Env
	owner  screen.Name
	hint   string // where a download starts on this screen, as the start of a sentence
	run    api.Run
	visit  int // counts the runs that were opened: an answer of the visit before is none of this one
	list   []api.Delivery
	asking bool
	timed  bool // a look is due by itself
	busy   bool // an order is under way
	failed error
	misses int // looks in a row without an answer
}

// New makes the box of a screen; hint says how that screen downloads: "Download with d".
func New(env *screen.Env, owner screen.Name, hint string) *Box {
	return &Box{env: env, owner: owner, hint: hint}
}

type loadedMsg struct {
	owner screen.Name
	visit int
	list  []api.Delivery
	err   error
}

type dueMsg struct {
	owner screen.Name
	visit int
}

// orderedMsg is the answer to a share or a retry.
type orderedMsg struct {
	owner screen.Name
	visit int
	said  string
	err   error
}

// Open shows the deliveries of a run from now on.
func (b *Box) Open(run api.Run) tea.Cmd {
	if run.Id != b.run.Id {
		*b = Box{env: b.env, owner: b.owner, hint: b.hint, visit: b.visit + 1}
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
	ctx, c, owner, visit, id := b.env.Ctx, b.env.Client, b.owner, b.visit, b.run.Id
	return func() tea.Msg {
		list, err := c.Deliveries(ctx, id)
		return loadedMsg{owner: owner, visit: visit, list: list, err: err}
	}
}

// Update takes the server's answers; those for another box are ignored.
func (b *Box) Update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case screen.Connected:
		return b.look()
	case loadedMsg:
		if msg.owner == b.owner && msg.visit == b.visit {
			return b.took(msg)
		}
	case dueMsg:
		if msg.owner == b.owner && msg.visit == b.visit {
			b.timed = false
			return b.look()
		}
	case orderedMsg:
		if msg.owner == b.owner {
			return b.ordered(msg)
		}
	}
	return nil
}

// look asks while somebody sees the answer.
func (b *Box) look() tea.Cmd {
	if b.env.Active != b.owner {
		return nil
	}
	return b.load()
}

func (b *Box) ordered(msg orderedMsg) tea.Cmd {
	said := msg.said
	if msg.err != nil {
		said = msg.err.Error()
	}
	toast := screen.Send(screen.Toast{Text: said})
	if msg.visit != b.visit {
		return toast
	}
	b.busy = false
	return tea.Batch(toast, b.load())
}

func (b *Box) took(msg loadedMsg) tea.Cmd {
	b.asking = false
	if api.Code(msg.err) == api.CodeNotFound { // an older server delivers nothing
		msg.err = nil
	}
	if b.failed = msg.err; msg.err != nil {
		b.misses++
		return tea.Batch(screen.Send(screen.Trouble{Err: msg.err}), b.again(b.pause()))
	}
	b.list, b.misses = msg.list, 0
	return b.again(b.pause())
}

// pause is how long the next look can wait; 0: nothing more is to be seen.
func (b *Box) pause() time.Duration {
	code := api.Code(b.failed)
	open := slices.ContainsFunc(b.list, func(d api.Delivery) bool { return !client.Settled(d) })
	switch {
	case code == api.CodeUnauthorized, code == api.CodeForbidden: // asking again does not help, and may lock out
		return 0
	case b.failed != nil:
		return min(refresh<<min(b.misses, 4), most)
	case !open:
		return 0
	case slices.ContainsFunc(b.list, func(d api.Delivery) bool { return !client.Settled(d) && !b.later(d) }):
		return refresh
	}
	return seldom
}

// later tells whether nothing happens to a delivery for a while: it is tried again then, or goes out after a link that is.
func (b *Box) later(d api.Delivery) bool {
	if link := client.Needs(d, b.list); link != nil {
		d = *link
	}
	return d.Next != nil && d.Next.Sub(b.env.Now()) > seldom
}

// again makes a look due, unless one is.
func (b *Box) again(in time.Duration) tea.Cmd {
	if b.timed || in == 0 {
		return nil
	}
	b.timed = true
	owner, visit := b.owner, b.visit
	return tea.Tick(in, func(time.Time) tea.Msg { return dueMsg{owner: owner, visit: visit} })
}

// shares and mails tell what the server can do.
func (b *Box) shares() bool { return b.env.Abilities != nil && b.env.Abilities.Share }
func (b *Box) mails() bool  { return b.env.Abilities != nil && b.env.Abilities.Mail }

// CanShare tells whether a link or a mail can be ordered now.
func (b *Box) CanShare() bool {
	return b.run.State == api.StateSucceeded && b.env.Client != nil && !b.busy && (b.shares() || b.mails())
}

// Share asks for the address, and orders.
func (b *Box) Share() tea.Cmd {
	name := fmt.Sprintf("%s #%d", b.run.Name, b.run.Number)
	a := screen.Ask{
		Title: "Share " + name + "?", Verb: "Share it",
		Text: "The model goes to the server's Dropbox, and a link to it is made. Whoever has the link can download the model.",
	}
	switch {
	case !b.mails():
		a.Verb = "Make the link"
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
	ctx, c, owner, visit, id := b.env.Ctx, b.env.Client, b.owner, b.visit, b.run.Id
	b.busy = true
	want, said := api.ShareCreate{}, "The server makes the link."
	var remember tea.Cmd
	if address != "" {
		want.Email, said = &address, "The server mails "+address+"."
		remember = screen.Send(screen.Mailed{Address: address})
	}
	return tea.Batch(remember, func() tea.Msg {
		_, err := c.Share(ctx, id, want)
		return orderedMsg{owner: owner, visit: visit, said: said, err: err}
	})
}

// stuck are the deliveries that a retry can help.
func (b *Box) stuck() []string {
	var ids []string
	for _, d := range b.list {
		if d.State == api.DeliveryFailed || d.State == api.DeliveryWaiting && d.Next != nil {
			ids = append(ids, d.Id)
		}
	}
	return ids
}

// CanRetry tells whether something failed or waits for its next try.
func (b *Box) CanRetry() bool { return b.env.Client != nil && !b.busy && len(b.stuck()) > 0 }

// Retry makes all of that due now.
func (b *Box) Retry() tea.Cmd {
	ctx, c, owner, visit, id, ids := b.env.Ctx, b.env.Client, b.owner, b.visit, b.run.Id, b.stuck()
	b.busy = true
	return func() tea.Msg {
		for _, d := range ids {
			if _, err := c.RetryDelivery(ctx, id, d); err != nil {
				return orderedMsg{owner: owner, visit: visit, err: err}
			}
		}
		return orderedMsg{owner: owner, visit: visit, said: "The server tries again now."}
	}
}

// URL is the newest share link; empty: there is none. What is no web address, or holds what a shell that it is pasted
// into would act on, is none.
func (b *Box) URL() string {
	for _, d := range slices.Backward(b.list) {
		if d.Kind == api.DeliveryLink && d.State == api.DeliveryDelivered && web(value(d.Url)) && text.Safe(*d.Url) == *d.Url {
			return *d.Url
		}
	}
	return ""
}

// web tells whether a text is the address of a web page.
func web(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http")
}

// CopyURL puts the newest share link on the clipboard.
func (b *Box) CopyURL() tea.Cmd {
	return tea.Batch(tea.SetClipboard(b.URL()), screen.Send(screen.Toast{Text: "Copied " + text.Safe(b.URL())}))
}
