package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/failpoint"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

const mailTimeout = 2 * time.Minute

// post is a way to hand over a mail.
type post interface {
	// send hands a letter over, once. Its error is a *problem, which is unknown when the letter may have been taken.
	// It may be called from one goroutine at a time.
	send(ctx context.Context, l letter) error
	// check tries all of that but the mail, and says in words what works. Its error is a *problem.
	check(ctx context.Context) (works string, err error)
	// remedy is what an admin can do about an error of check.
	remedy(err error) string
}

// letter is a mail. None of its lines has a line break in it.
type letter struct {
	Delivery   string // its id
	ID         string // Message-ID, without angle brackets
	From       *mail.Address
	To         string
	Subject    string
	Text, HTML string
	Date       time.Time
}

// mailer tells people by mail how a run ended.
type mailer struct {
	store     *store.Store
	post      post
	from      *mail.Address
	publicURL string
	shares    bool
	now       func() time.Time
}

func newMailer(o Options) (*mailer, error) {
	c := *o.Config.Mail
	from, err := mailbox(c.From)
	if err != nil {
		return nil, err
	}
	m := &mailer{store: o.Store, from: from, publicURL: o.Config.PublicURL, shares: o.Config.Dropbox != nil, now: o.Now}
	switch {
	case (c.SMTP == nil) == (c.SendGridFile == ""):
		return nil, errors.New("one of smtp and sendgrid_key_file is needed, and not both")
	case c.SMTP != nil:
		m.post, err = newSMTP(*c.SMTP, o.Roots)
	default:
		m.post = newSendGrid(c, o.Roots)
	}
	return m, err
}

// posting is a mail's progress.
type posting struct {
	misses
	About  bool `json:"about,omitempty"`  // it is about to be handed over; found after a crash: it may have been
	Unsure int  `json:"unsure,omitempty"` // how often nobody could tell whether it was taken
}

// send hands the mail over. What is about to happen is kept first: after a crash, the row comes again when its lease has
// ended, 10 minutes later, and the mail goes out once more.
func (m *mailer) send(ctx context.Context, h *held) error {
	var p posting
	_ = json.Unmarshal([]byte(h.Progress), &p) // what is no JSON is no progress
	l, err := m.letter(ctx, h.Delivery)
	if err != nil {
		return err
	}
	p.About = true
	if err := h.keep(ctx, p, unsureFor); err != nil {
		return err
	}
	failpoint.Hit("deliver.mail.about")
	// A server that ends waits for the answer: to break off would leave it unknown.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mailTimeout)
	defer cancel()
	if err = m.post.send(ctx, l); err == nil {
		failpoint.Hit("deliver.mail.sent")
		h.Reason = ""
		return nil
	}
	found := *asProblem(err)
	p.About = false
	if found.unknown {
		found.after = unsureFor
		if p.Unsure++; p.Unsure > 1 {
			found.final = true
			found.text = "The connection broke twice when the mail server had the whole mail. It has probably arrived; if not, have it sent again."
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	h.Progress = string(b)
	return &found
}

func (m *mailer) letter(ctx context.Context, d store.Delivery) (letter, error) {
	t, err := m.store.ActiveTask(ctx, d.Task)
	if err != nil {
		return letter{}, asProblem(err)
	}
	published, err := m.store.Artifacts(ctx, d.Owner, d.Task)
	if err != nil {
		return letter{}, asProblem(err)
	}
	var link *store.Delivery
	if d.Needs != "" {
		l, err := m.store.DeliveryByKey(ctx, d.Needs)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return letter{}, asProblem(err)
		}
		if err == nil {
			link = &l
		}
	}
	var all []runspec.Artifact
	for _, a := range published {
		all = append(all, a.Artifact)
	}
	story := m.story(t, all, d, link)
	text, html, err := story.render()
	if err != nil {
		return letter{}, asProblem(fmt.Errorf("write mail: %w", err))
	}
	return letter{
		Delivery: d.ID, ID: d.ID + "@" + domain(m.from.Address), From: m.from, To: d.Target,
		Subject: story.subject(), Text: text, HTML: html, Date: m.now(),
	}, nil
}

func domain(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

// loopback tells that a host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
