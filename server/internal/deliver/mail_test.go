package deliver_test

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/delivertest"
	"github.com/cultivar-ml/cultivar/server/internal/deliver/smtptest"
	"github.com/cultivar-ml/cultivar/shared/api"
)

var toAda = api.Notify{Email: text("ada@example.org")}

// parse splits a mail into its headers, its plain text and its HTML.
func parse(t testing.TB, raw string) (h mail.Header, plain, html string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("is %q: %v", kind, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for _, into := range []*string{&plain, &html} {
		p, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		*into = strings.ReplaceAll(string(b), "\r\n", "\n")
	}
	return m.Header, plain, html
}

func subject(t testing.TB, h mail.Header) string {
	t.Helper()
	s, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMailOverEveryKindOfConnection(t *testing.T) {
	for _, o := range []smtptest.Options{
		{TLS: "starttls", User: "cultivar", Password: password},
		{TLS: "implicit", User: "cultivar", Password: password},
		{TLS: "none", User: "cultivar", Password: password},
		{TLS: "none"},
		{TLS: "starttls"},
	} {
		t.Run(fmt.Sprintf("%s %t", o.TLS, o.User != ""), func(t *testing.T) {
			w := newWorld(t, settings{mail: o})
			w.ended("r1", api.StateSucceeded, toAda, 10)
			w.settle()
			all := w.rows("r1")
			if len(all) != 2 || all[0].State != api.DeliveryDelivered || all[1].State != api.DeliveryDelivered {
				t.Fatalf("got %+v", all)
			}
			inbox := w.inbox()
			if len(inbox) != 1 {
				t.Fatalf("%d mails came", len(inbox))
			}
			h, plain, html := parse(t, inbox[0])
			if want := "<" + all[1].ID + "@example.org>"; h.Get("Message-ID") != want {
				t.Errorf("Message-ID is %s, want %s", h.Get("Message-ID"), want)
			}
			if h.Get("To") != "<ada@example.org>" || h.Get("From") != `"Cultivar" <cultivar@example.org>` || !strings.Contains(subject(t, h), "tulips & roses") {
				t.Errorf("headers are %v", h)
			}
			if link := w.dropbox.State().Links[0].URL; !strings.Contains(plain, link) || !strings.Contains(html, link) {
				t.Errorf("the link %s is not in it:\n%s\n%s", link, plain, html)
			}
		})
	}
}

func TestPasswordIsNotSentInTheClear(t *testing.T) {
	w := newWorld(t, settings{mail: smtptest.Options{TLS: "none", User: "cultivar", Password: password}, change: func(c *config.Deliver) {
		c.Mail.SMTP.TLS = "starttls" // which the server does not offer
	}})
	w.ended("r1", api.StateFailed, toAda, 0)
	w.step()
	if d := w.rows("r1")[0]; d.State != api.DeliveryWaiting || len(w.inbox()) != 0 {
		t.Fatalf("%s: %s", d.State, d.Reason)
	}
}

func TestMailThatIsNotTaken(t *testing.T) {
	busy := 2
	for _, c := range []struct {
		name     string
		o        smtptest.Options
		to       string
		state    api.DeliveryState
		attempts int
		mails    int
		reason   string
	}{
		{"nobody there", smtptest.Options{}, "nobody@example.org", api.DeliveryFailed, 1, 0, "for this address: 550 5.1.1 There is nobody of this name. Check the address."},
		{"refused", smtptest.Options{Fault: func(string) smtptest.Fault { return smtptest.Refuse }}, "ada@example.org", api.DeliveryFailed, 1, 0, "refused"},
		{"busy for a while", smtptest.Options{Fault: func(string) smtptest.Fault {
			if busy--; busy >= 0 {
				return smtptest.Busy
			}
			return smtptest.None
		}}, "ada@example.org", api.DeliveryDelivered, 3, 1, ""},
		{"wrong password", smtptest.Options{TLS: "starttls", User: "cultivar", Password: "other"}, "ada@example.org", api.DeliveryFailed, 15, 0, "admin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, settings{noDropbox: true, mail: c.o})
			w.ended("r1", api.StateFailed, api.Notify{Email: &c.to}, 0)
			w.settle()
			d := w.rows("r1")[0]
			if d.State != c.state || (d.Attempts > 1) != (c.attempts > 1) || !strings.Contains(d.Reason, c.reason) || len(w.inbox()) != c.mails {
				t.Fatalf("%s after %d attempts with %d mails: %s", d.State, d.Attempts, len(w.inbox()), d.Reason)
			}
			if strings.Contains(d.Reason, password) {
				t.Fatalf("the reason tells the password: %s", d.Reason)
			}
		})
	}
}

// TestBrokenAfterData: where nobody knows whether a mail was taken, it goes out once more 10 minutes later, and no more.
func TestBrokenAfterData(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults []smtptest.Fault
		mails  int
		state  api.DeliveryState
	}{
		{"was taken", []smtptest.Fault{smtptest.HangUp}, 2, api.DeliveryDelivered},
		{"was not", []smtptest.Fault{smtptest.Vanish}, 1, api.DeliveryDelivered},
		{"was taken twice", []smtptest.Fault{smtptest.HangUp, smtptest.HangUp, smtptest.HangUp}, 2, api.DeliveryFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := 0
			w := newWorld(t, settings{noDropbox: true, mail: smtptest.Options{Fault: func(string) smtptest.Fault {
				if n++; n <= len(c.faults) {
					return c.faults[n-1]
				}
				return smtptest.None
			}}})
			w.ended("r1", api.StateFailed, toAda, 0)
			w.step()
			d := w.rows("r1")[0]
			if wait := d.Due.Sub(w.now); d.State != api.DeliveryWaiting || wait != 10*time.Minute || !strings.Contains(d.Reason, "nobody knows") {
				t.Fatalf("%s for %v: %s", d.State, wait, d.Reason)
			}
			w.settle()
			inbox := w.inbox()
			if d = w.rows("r1")[0]; d.State != c.state || len(inbox) != c.mails {
				t.Fatalf("%s with %d mails: %s", d.State, len(inbox), d.Reason)
			}
			for _, m := range inbox {
				if h, _, _ := parse(t, m); h.Get("Message-ID") != "<"+d.ID+"@example.org>" {
					t.Fatalf("Message-ID is %s", h.Get("Message-ID"))
				}
			}
		})
	}
}

// TestMailTellsThatThereIsNoLink: a mail goes out when its link was given up.
func TestMailTellsThatThereIsNoLink(t *testing.T) {
	w := newWorld(t, settings{})
	w.dropbox.Revoke()
	w.ended("r1", api.StateSucceeded, toAda, 10)
	w.settle()
	_, plain, _ := parse(t, w.inbox()[0])
	if !strings.Contains(plain, "No share link could be made") || !strings.Contains(plain, "cultivar download 1") {
		t.Fatal(plain)
	}
}

func TestSettingsNoLongerThere(t *testing.T) {
	w := newWorld(t, settings{})
	w.ended("r1", api.StateSucceeded, api.Notify{Email: text("ada@example.org"), Share: share.Share}, 10)
	// The same outbox, served by a server without Dropbox and mail.
	s, err := bare(w)
	if err != nil {
		t.Fatal(err)
	}
	w.deliver = s
	w.settle()
	for _, d := range w.rows("r1") {
		if d.State != api.DeliveryFailed || !strings.Contains(d.Reason, "no longer") || !strings.Contains(d.Reason, "cultivar download 1") {
			t.Fatalf("%s: %s", d.State, d.Reason)
		}
	}
}

// FuzzNamesStayInTheirPlace: no name makes a header, a line or a tag of its own.
func FuzzNamesStayInTheirPlace(f *testing.F) {
	for _, s := range []string{"tulips", "a\r\nBcc: eve@example.org", "\n\n<script>alert(1)</script>", "\u2028\u202eabc", "=?utf-8?q?=0D=0ABcc:_x?=", strings.Repeat("ä", 300), "\x00\xff\x1b[31m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		w := newWorld(t, settings{noDropbox: true})
		task, err := delivertest.Begin(t.Context(), w.db, "r1", toAda)
		if err != nil {
			t.Fatal(err)
		}
		if err := rename(t, w, task.ID, name); err != nil {
			t.Skip(err)
		}
		if err := delivertest.End(t.Context(), w.db, w.deliver, "r1", api.StateFailed); err != nil {
			t.Fatal(err)
		}
		w.settle()
		inbox := w.inbox()
		if len(inbox) != 1 {
			t.Fatalf("%d mails came: %s", len(inbox), w.rows("r1")[0].Reason)
		}
		h, plain, html := parse(t, inbox[0])
		for k := range h {
			switch k {
			case "From", "To", "Subject", "Date", "Message-Id", "Mime-Version", "Content-Type", "Auto-Submitted", "User-Agent", "X-Mailer", "X-From", "X-To":
			default:
				t.Errorf("there is a header %s", k)
			}
		}
		if strings.ContainsAny(subject(t, h), "\r\n\x00") || strings.Contains(html, "<script") || strings.Count(plain, "\n") != failedLines {
			t.Errorf("the name %q came out of its place:\n%s\n%s", name, subject(t, h), plain)
		}
	})
}
