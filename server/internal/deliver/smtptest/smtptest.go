// Package smtptest is a mail server for tests: it speaks SMTP as others do, with TLS and passwords, and puts what it takes
// into a folder, one .eml file a mail. On demand it refuses, is busy, or breaks the connection when it has a whole mail.
package smtptest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Fault is what goes wrong with one mail.
type Fault int

// What can go wrong.
const (
	None   Fault = iota
	HangUp       // the mail is taken, and the connection breaks before the answer
	Vanish       // the connection breaks before the answer, and the mail is not taken
	Busy         // 451
	Refuse       // 554
)

// Options say how the server is spoken to.
type Options struct {
	Dir            string                // existing; mails are put there
	TLS            string                // starttls, implicit, none
	User, Password string                // both empty: nobody logs in
	Fault          func(to string) Fault // asked once a mail; nil: nothing goes wrong. Mail to nobody@… is refused always
}

// Server is a mail server that listens.
type Server struct {
	options Options
	smtp    *smtp.Server
	addr    net.Addr
	pem     []byte
	roots   *x509.CertPool

	mu    sync.Mutex
	taken int
}

// Start listens on an address of this machine, such as 127.0.0.1:0, until Close.
func Start(ctx context.Context, addr string, o Options) (*Server, error) {
	if o.Fault == nil {
		o.Fault = func(string) Fault { return None }
	}
	cert, pem, err := certificate()
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, pem: pem, roots: x509.NewCertPool()}
	s.roots.AppendCertsFromPEM(pem)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s.addr = l.Addr()
	if there, err := Mails(o.Dir); err == nil {
		s.taken = len(there)
	}
	s.smtp = smtp.NewServer(backend{s})
	s.smtp.Domain = "localhost"
	s.smtp.MaxMessageBytes = 1 << 20
	s.smtp.AllowInsecureAuth = o.TLS == "none"
	s.smtp.ErrorLog = quiet{}
	settings := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	switch o.TLS {
	case "implicit":
		l = tls.NewListener(l, settings)
	case "starttls":
		s.smtp.TLSConfig = settings
	case "none":
	default:
		_ = l.Close()
		return nil, fmt.Errorf("tls is %q", o.TLS)
	}
	go func() { _ = s.smtp.Serve(l) }() // it ends by Close
	return s, nil
}

// Addr is where it listens; PEM, its certificate; Roots, who trusts it.
func (s *Server) Addr() *net.TCPAddr { return s.addr.(*net.TCPAddr) }

// PEM is the server's certificate, for SSL_CERT_FILE.
func (s *Server) PEM() []byte { return s.pem }

// Roots trust the server's certificate only.
func (s *Server) Roots() *x509.CertPool { return s.roots }

// Close ends the server and its connections.
func (s *Server) Close() error { return s.smtp.Close() }

// Mails reads the folder, oldest first.
func Mails(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names { // Glob sorts
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		out = append(out, string(b))
	}
	return out, nil
}

func (s *Server) take(mail []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	name := filepath.Join(s.options.Dir, fmt.Sprintf("%06d.eml", s.taken))
	if err := os.WriteFile(name+".part", mail, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".part", name)
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

type backend struct{ server *Server }

// NewSession implements smtp.Backend.
func (b backend) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &session{server: b.server, conn: c, known: b.server.options.User == ""}, nil
}

type session struct {
	server *Server
	conn   *smtp.Conn
	known  bool
	to     string
	from   string
}

// AuthMechanisms implements smtp.AuthSession.
func (s *session) AuthMechanisms() []string {
	if s.server.options.User == "" {
		return nil
	}
	return []string{sasl.Plain}
}

// Auth implements smtp.AuthSession.
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != s.server.options.User || password != s.server.options.Password {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "Bad credentials"}
		}
		s.known = true
		return nil
	}), nil
}

// Mail implements smtp.Session.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if !s.known {
		return smtp.ErrAuthRequired
	}
	s.from = from
	return nil
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "There is nobody of this name"}
	}
	s.to = to
	return nil
}

// Data implements smtp.Session.
func (s *session) Data(r io.Reader) error {
	mail, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	fault := s.server.options.Fault(s.to)
	switch fault {
	case Busy:
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Try later"}
	case Refuse:
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "No"}
	case Vanish:
		_ = s.conn.Conn().Close()
		return errors.New("gone")
	}
	envelope := fmt.Sprintf("X-From: %s\r\nX-To: %s\r\n", s.from, s.to)
	if err := s.server.take(append([]byte(envelope), mail...)); err != nil {
		return err
	}
	if fault == HangUp {
		_ = s.conn.Conn().Close()
	}
	return nil
}

// Reset implements smtp.Session.
func (s *session) Reset() { s.to, s.from = "", "" }

// Logout implements smtp.Session.
func (s *session) Logout() error { return nil }
