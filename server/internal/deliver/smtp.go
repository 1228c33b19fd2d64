package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/cultivar-ml/cultivar/server/internal/config"
)

const (
	smtpTimeout  = time.Minute
	smtpPort     = 587 // submission, RFC 6409
	smtpTLSPort  = 465 // submissions, RFC 8314
	firstRefusal = 500 // replies from here on are for good, RFC 5321, 4.2.1
)

// smtpPost hands mails to a mail server.
type smtpPost struct {
	config config.SMTP
	tls    *tls.Config
}

func newSMTP(c config.SMTP, roots *x509.CertPool) (*smtpPost, error) {
	if c.TLS == "" {
		c.TLS = "starttls"
	}
	if c.Port == 0 {
		c.Port = smtpPort
		if c.TLS == "implicit" {
			c.Port = smtpTLSPort
		}
	}
	switch {
	case c.Host == "":
		return nil, errors.New("smtp.host is missing")
	case c.TLS != "starttls" && c.TLS != "implicit" && c.TLS != "none":
		return nil, fmt.Errorf("smtp.tls is %q, but must be starttls, implicit or none", c.TLS)
	case c.TLS == "none" && c.User != "" && !loopback(c.Host):
		return nil, fmt.Errorf("smtp.tls is none, which would send the password to %s in the clear", c.Host)
	case (c.User == "") != (c.PasswordFile == ""):
		return nil, errors.New("smtp.user and smtp.password_file belong together")
	}
	return &smtpPost{config: c, tls: &tls.Config{ServerName: c.Host, RootCAs: roots, MinVersion: tls.VersionTLS12}}, nil
}

func (p *smtpPost) send(ctx context.Context, l letter) error {
	m, err := message(l)
	if err != nil {
		return &problem{text: "The mail could not be written: " + words(err.Error()), final: true, err: err}
	}
	client, err := p.client()
	if err != nil {
		return err
	}
	if err := client.DialWithContext(ctx); err != nil {
		return dialProblem(err)
	}
	err = client.Send(m)
	_ = client.Close() // the mail is taken or not; how the mail server says good-bye changes nothing
	if err == nil || m.IsDelivered() {
		return nil
	}
	return sendProblem(err)
}

func message(l letter) (*gomail.Msg, error) {
	m := gomail.NewMsg()
	m.FromMailAddress(l.From)
	if err := m.To(l.To); err != nil {
		return nil, err
	}
	m.Subject(l.Subject)
	m.SetMessageIDWithValue(l.ID)
	m.SetDateWithValue(l.Date)
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no vacation notes, please
	m.SetBodyString(gomail.TypeTextPlain, l.Text)
	m.AddAlternativeString(gomail.TypeTextHTML, l.HTML)
	return m, nil
}

func (p *smtpPost) client() (*gomail.Client, error) {
	options := []gomail.Option{gomail.WithPort(p.config.Port), gomail.WithTimeout(smtpTimeout), gomail.WithTLSConfig(p.tls)}
	login := gomail.SMTPAuthAutoDiscover
	switch p.config.TLS {
	case "implicit":
		options = append(options, gomail.WithSSL())
	case "none":
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
		login = gomail.SMTPAuthPlainNoEnc // newSMTP made sure that the password stays on this machine
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if p.config.User != "" {
		password, err := readSecret(p.config.PasswordFile, "password for the mail server")
		if err != nil {
			return nil, err
		}
		options = append(options, gomail.WithSMTPAuth(login), gomail.WithUsername(p.config.User), gomail.WithPassword(string(password)))
	}
	c, err := gomail.NewClient(p.config.Host, options...)
	if err != nil {
		return nil, &problem{text: "This server's mail settings do not work. Ask its admin.", err: err}
	}
	return c, nil
}

// dialProblem says why no connection came about. No mail was sent, and the admin can mend it.
func dialProblem(err error) error {
	var reply *textproto.Error
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &reply) && reply.Code >= firstRefusal:
		return &problem{text: fmt.Sprintf("The mail server does not let this server in: %s. Ask this server's admin.", words(reply.Error())), err: err}
	case errors.As(err, &reply):
		return &problem{text: fmt.Sprintf("The mail server is busy: %s.", words(reply.Error())), passing: true, err: err}
	case errors.As(err, &unknown), errors.As(err, &name):
		return &problem{text: "The mail server's certificate cannot be trusted. Ask this server's admin.", err: err}
	case answered(err):
		return &problem{text: "The mail server does not speak as this server's settings say. Ask this server's admin.", err: err}
	}
	return &problem{text: "The mail server could not be reached.", err: err}
}

// answered tells whether somebody took the connection that came to nothing.
func answered(err error) bool {
	var away *net.OpError
	return !errors.As(err, &away) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// sendProblem says why a mail was not taken, or that nobody knows.
func sendProblem(err error) error {
	var e *gomail.SendError
	if !errors.As(err, &e) {
		return &problem{text: "The connection to the mail server broke.", err: err}
	}
	code := e.ErrorCode()
	switch {
	case e.Reason == gomail.ErrSMTPDataClose && code == 0:
		return &problem{text: "The connection broke when the mail server had the whole mail, so nobody knows whether it took it. It is sent once more.", unknown: true, err: err}
	case e.Reason == gomail.ErrSMTPRcptTo && code >= firstRefusal:
		return &problem{text: "The mail server does not take mail for this address: " + replied(e) + ". Check the address.", final: true, err: err}
	case code >= firstRefusal:
		return &problem{text: "The mail server refused the mail: " + replied(e) + ". Ask this server's admin.", final: true, err: err}
	case code != 0:
		return &problem{text: "The mail server could not take the mail now: " + replied(e) + ".", err: err}
	}
	return &problem{text: "The connection to the mail server broke.", err: err}
}

// replied is what the mail server said, from its code on. The library has it among words of its own.
func replied(e *gomail.SendError) string {
	text := e.Error()
	if i := strings.Index(text, strconv.Itoa(e.ErrorCode())+" "); i >= 0 {
		text = text[i:]
	}
	text, _, _ = strings.Cut(text, ", affected ")
	return strings.TrimRight(words(strings.ReplaceAll(text, `"`, "")), ".")
}
