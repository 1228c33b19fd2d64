package deliver

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/auth"
	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/check"
	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/files"
	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/sharing"
	"golang.org/x/oauth2"
)

// What a Finding can be about.
const (
	Dropbox = "Dropbox"
	Mail    = "mail"
)

// Finding is how one way to people was found, in words for the server's admin that hold no secret.
type Finding struct {
	What    string
	Text    string
	Remedy  string // what to do; empty: all works
	Passing bool   // it may pass by itself
}

// Check tries what deliveries need, without delivering anything: nothing is put into the account and no mail is sent. What
// is not set up has no finding.
func (s *Service) Check(ctx context.Context) []Finding {
	var out []Finding
	if s.links != nil {
		works, err := s.links.check(ctx)
		out = append(out, s.finding(Dropbox, works, err, s.links.remedy))
	}
	if s.mails != nil {
		works, err := s.mails.post.check(ctx)
		out = append(out, s.finding(Mail, works, err, s.mails.post.remedy))
	}
	return out
}

func (s *Service) finding(what, works string, err error, remedy func(error) string) Finding {
	f := Finding{What: what, Text: works}
	if err != nil {
		p := asProblem(err)
		f.Text, f.Remedy = forAdmin(p), remedy(err)
		if f.Passing = p.passing; f.Passing {
			f.Remedy = "Nothing, unless it lasts: the server tries each delivery again for a day."
		}
	}
	for _, hidden := range s.secrets() {
		f.Text, f.Remedy = strings.ReplaceAll(f.Text, hidden, redacted), strings.ReplaceAll(f.Remedy, hidden, redacted)
	}
	return f
}

// secrets are the texts that no finding may hold, whoever repeats them.
func (s *Service) secrets() []string {
	var paths, out []string
	if s.links != nil {
		paths = append(paths, s.links.config.AppSecretFile, s.links.config.RefreshTokenFile)
	}
	if s.mails != nil {
		switch p := s.mails.post.(type) {
		case *smtpPost:
			paths = append(paths, p.config.PasswordFile)
		case *sendGridPost:
			paths = append(paths, p.keyFile)
		}
	}
	for _, p := range paths {
		if v, err := readSecret(p, ""); err == nil { // one that cannot be read was not used either
			out = append(out, string(v))
		}
	}
	return out
}

// forAdmin turns a problem's sentences, which send people to the admin, into the admin's: with the cause instead.
func forAdmin(p *problem) string {
	text := p.text
	for _, ask := range []string{askAdmin, "Ask this server's admin.", "Ask its admin."} {
		text = strings.TrimSpace(strings.TrimSuffix(text, ask))
	}
	var reply *textproto.Error
	var token *oauth2.RetrieveError
	var lacking missing
	if p.err == nil || errors.As(p.err, &reply) || errors.As(p.err, &token) || errors.As(p.err, &lacking) {
		return text // it has the other side's words already
	}
	return strings.TrimRight(text, ".") + ": " + words(cause(p.err).Error())
}

// cause is an error without the requests that it is wrapped in, whose addresses say nothing.
func cause(err error) error {
	var request *url.Error
	for errors.As(err, &request) {
		err = request.Err
	}
	return err
}

// secretRemedy is what to do about a secret that cannot be read; empty: that is not what is wrong.
func secretRemedy(err error) string {
	var file *fs.PathError
	if !errors.As(err, &file) {
		return ""
	}
	return fmt.Sprintf("Put the secret and nothing else into %s, readable by the account that the server runs as; on Kubernetes, into the Secret cultivar-deliver. No restart is needed.", file.Path)
}

// missing are rights that an account's permission lacks.
type missing []string

// Error implements error.
func (m missing) Error() string { return "missing: " + strings.Join(m, ", ") }

// check asks Dropbox to repeat a word, and for things that don't exist, to see whether it would do them: which rights a
// permission has, Dropbox tells only by refusing.
func (l *linker) check(ctx context.Context) (string, error) {
	a, err := connect(ctx, l.config, l.roots)
	if err != nil {
		return "", err
	}
	const word = "cultivar"
	res, err := a.echo.UserContext(ctx, &check.EchoArg{Query: word})
	if err == nil && res.Result != word {
		return "", &problem{text: "What answers in Dropbox's place is something else.", final: true}
	}
	if _, err := lacks(err); err != nil { // the echo's own right is not needed for links
		return "", dropboxProblem(err)
	}
	nowhere := path.Join(l.config.Folder, "doctor-"+rand.Text())
	var lacking missing
	for _, ask := range []func() error{
		func() error {
			_, err := a.files.GetMetadataContext(ctx, files.NewGetMetadataArg(nowhere))
			return err
		},
		func() error {
			arg := files.NewUploadSessionAppendArg(files.NewUploadSessionCursor("doctor-"+rand.Text(), 0))
			return a.files.UploadSessionAppendV2Context(ctx, arg, strings.NewReader(""))
		},
		func() error {
			_, err := a.sharing.CreateSharedLinkWithSettingsContext(ctx, sharing.NewCreateSharedLinkWithSettingsArg(nowhere))
			return err
		},
		func() error {
			_, err := a.sharing.ListSharedLinksContext(ctx, &sharing.ListSharedLinksArg{Path: nowhere, DirectOnly: true})
			return err
		},
	} {
		right, err := lacks(ask())
		if err != nil {
			return "", dropboxProblem(err)
		}
		if right != "" && !slices.Contains(lacking, right) {
			lacking = append(lacking, right)
		}
	}
	if len(lacking) > 0 {
		text := "Dropbox lets this server into the account, but not do what links need: it lacks " + words(strings.Join(lacking, " and ")) + "."
		return "", &problem{text: text, final: true, err: lacking}
	}
	return fmt.Sprintf("the account answers and refuses nothing that links need; nothing was put into %s", words(l.config.Folder)), nil
}

// lacks tells from the answer to a question about nothing which right was missing; an error says that it was not answered.
func lacks(err error) (right string, _ error) {
	var denied auth.AuthAPIError
	var bad auth.BadRequest
	switch {
	case errors.As(err, &denied) && denied.AuthError != nil && denied.AuthError.MissingScope != nil:
		return denied.AuthError.MissingScope.RequiredScope, nil
	case refusal(err) != "", errors.As(err, &bad): // it would have been done, were there something to do it to
		return "", nil
	}
	return "", err
}

func (l *linker) remedy(err error) string {
	const console = "https://www.dropbox.com/developers/apps"
	var lacking missing
	var token *oauth2.RetrieveError
	var denied auth.AuthAPIError
	switch {
	case secretRemedy(err) != "":
		return secretRemedy(err)
	case errors.As(err, &lacking):
		return fmt.Sprintf("Tick %s under Permissions of the app at %s, then make a new refresh token, since one keeps the rights that it was made with, and put it into %s.", words(strings.Join(lacking, " and ")), console, l.config.RefreshTokenFile)
	case errors.As(err, &token) && token.ErrorCode == "invalid_grant", errors.As(err, &denied):
		return fmt.Sprintf("Make a new refresh token for the app and put it into %s. No restart is needed.", l.config.RefreshTokenFile)
	case errors.As(err, &token):
		return fmt.Sprintf("Compare deliver.dropbox.app_key, and the secret in %s, with the app's page at %s.", l.config.AppSecretFile, console)
	}
	if l.config.APIURL != "" {
		return fmt.Sprintf("See what is at %s, which deliver.dropbox.api_url names, or leave that setting out.", l.config.APIURL)
	}
	return "Let this machine reach api.dropboxapi.com and content.dropboxapi.com on port 443; HTTPS_PROXY names a proxy, where one is needed."
}

func (p *smtpPost) addr() string { return net.JoinHostPort(p.config.Host, strconv.Itoa(p.config.Port)) }

func (p *smtpPost) check(ctx context.Context) (string, error) {
	client, err := p.client()
	if err != nil {
		return "", err
	}
	if err := client.DialWithContext(ctx); err != nil {
		return "", dialProblem(err)
	}
	if err := client.Close(); err != nil {
		return "", &problem{text: "The connection to the mail server broke.", err: err}
	}
	text := words(p.addr()) + " answers"
	if p.config.TLS != "none" {
		text += ", encrypted,"
	}
	if p.config.User != "" {
		text += " and takes the login of " + words(p.config.User)
	} else {
		text += " and asks for no login"
	}
	return text + "; no mail was sent", nil
}

func (p *smtpPost) remedy(err error) string {
	var reply *textproto.Error
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case secretRemedy(err) != "":
		return secretRemedy(err)
	case errors.As(err, &reply) && p.config.User != "":
		return fmt.Sprintf("Compare deliver.mail.smtp.user, and the password in %s, with what the mail server knows.", p.config.PasswordFile)
	case errors.As(err, &reply):
		return "Set deliver.mail.smtp.user and password_file, or have whoever runs the mail server let this machine in."
	case errors.As(err, &unknown), errors.As(err, &name):
		return "Set deliver.mail.smtp.host to the name in the certificate; where its issuer is your own, name a file with the issuer's certificate in SSL_CERT_FILE."
	case answered(err):
		return "Set deliver.mail.smtp.tls and port to what the mail server speaks: starttls on 587, implicit on 465; and user only where it takes logins."
	}
	return fmt.Sprintf("Check deliver.mail.smtp.host and port, and let this machine reach %s; many networks block port 25.", p.addr())
}

// check asks SendGrid what the key may do: https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions.
func (p *sendGridPost) check(ctx context.Context) (string, error) {
	key, err := readSecret(p.keyFile, "SendGrid key")
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(p.url, sendPath)+"/v3/scopes", nil)
	if err != nil {
		return "", &problem{text: "This server's mail settings do not work. Ask its admin.", err: err}
	}
	req.Header.Set("Authorization", "Bearer "+string(key))
	res, err := p.client.Do(req)
	if err != nil {
		return "", &problem{text: "SendGrid could not be reached.", err: err}
	}
	defer func() { _ = res.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", &problem{text: "SendGrid's answer was lost.", err: err}
	}
	var may struct {
		Scopes []string `json:"scopes"`
	}
	switch res.StatusCode {
	case http.StatusOK:
		err = json.Unmarshal(said, &may)
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed:
		err = errors.New(res.Status)
	default:
		return "", sendGridProblem(res, said)
	}
	if err != nil {
		return "", &problem{text: "What answers in SendGrid's place is something else.", err: err}
	}
	if !slices.Contains(may.Scopes, sendScope) {
		return "", &problem{text: "SendGrid knows the key, but does not let it send mail.", final: true, err: missing{sendScope}}
	}
	return "SendGrid takes the key and lets it send; no mail was sent", nil
}

// sendScope is the right to send.
const sendScope = "mail.send"

func (p *sendGridPost) remedy(err error) string {
	if secretRemedy(err) != "" {
		return secretRemedy(err)
	}
	if final := asProblem(err).final; final {
		return fmt.Sprintf("Make a key that may send mail (%s) at https://app.sendgrid.com/settings/api_keys and put it into %s.", sendScope, p.keyFile)
	}
	if root := strings.TrimSuffix(p.url, sendPath); root != sendGridURL {
		return fmt.Sprintf("See what is at %s, which deliver.mail.sendgrid_url names, or leave that setting out.", root)
	}
	return "Let this machine reach api.sendgrid.com on port 443; HTTPS_PROXY names a proxy, where one is needed."
}
