package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox"
	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/auth"
	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/check"
	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/files"
	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/sharing"
	"golang.org/x/oauth2"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	"github.com/cultivar-ml/cultivar/shared/safe"
)

const (
	requestTimeout = 4 * time.Minute // shorter than a lease; 8 MiB need 34 kB/s
	longestWord    = 200             // cells of a provider's text within a reason
	askAdmin       = "Ask this server's admin to connect it to Dropbox again."
)

// account is a Dropbox account, seen through an access token that is good for some hours.
type account struct {
	files   files.ContextClient
	sharing sharing.ContextClient
	echo    check.ContextClient
}

// connect reads the account's secrets and makes clients with them. The first call of a client fetches an access token.
//
// With an APIURL, the hosts are folders of it: <url>/api/2/…, <url>/content/2/…, <url>/notify/2/… and
// <url>/api/oauth2/token.
func connect(ctx context.Context, c config.Dropbox, roots *x509.CertPool) (account, error) {
	key, err := readSecret(c.AppSecretFile, "Dropbox app secret")
	if err != nil {
		return account{}, err
	}
	refresh, err := readSecret(c.RefreshTokenFile, "Dropbox refresh token")
	if err != nil {
		return account{}, err
	}
	base := &http.Client{Transport: limits{transport(roots)}, Timeout: requestTimeout, CheckRedirect: stay}
	app := oauth2.Config{ClientID: c.AppKey, ClientSecret: string(key), Endpoint: dropbox.OAuthEndpoint("")}
	app.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	settings := dropbox.Config{}
	if c.APIURL != "" {
		root := strings.TrimSuffix(c.APIURL, "/")
		app.Endpoint.TokenURL = root + "/api/oauth2/token"
		settings.URLGenerator = func(host, namespace, route string) string {
			return fmt.Sprintf("%s/%s/2/%s/%s", root, host, namespace, route)
		}
	}
	source := app.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, base), &oauth2.Token{RefreshToken: string(refresh)})
	settings.Client = &http.Client{Transport: &oauth2.Transport{Source: source, Base: base.Transport}, Timeout: requestTimeout, CheckRedirect: stay}
	return account{files: files.NewContext(settings), sharing: sharing.NewContext(settings), echo: check.NewContext(settings)}, nil
}

// stay follows no redirection: what is sent is for the host that was configured.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func transport(roots *x509.CertPool) *http.Transport {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 30 * time.Second, ResponseHeaderTimeout: 2 * time.Minute,
	}
	if roots != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return t
}

// limits makes problems of the answers "too many requests" and "out of order", whose body may be anything and whose
// header says how long to wait.
type limits struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l limits) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.base.RoundTrip(r)
	if err != nil || (res.StatusCode != http.StatusTooManyRequests && res.StatusCode < http.StatusInternalServerError) {
		return res, err
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<12)) // only for the time to wait, which the header tells too
	p := &problem{text: "Dropbox has a problem of its own.", passing: true, after: retryAfter(res.Header, body), err: fmt.Errorf("%s %s: %s", r.Method, r.URL.Path, res.Status)}
	if res.StatusCode == http.StatusTooManyRequests {
		p.text = "Dropbox asks to wait, because it was asked too often."
	}
	return nil, p
}

func retryAfter(h http.Header, body []byte) time.Duration {
	if n, err := strconv.Atoi(h.Get("Retry-After")); err == nil && n > 0 {
		return time.Duration(min(n, int(lastWait/time.Second))) * time.Second
	}
	var e auth.RateLimitAPIError
	if json.Unmarshal(body, &e) == nil && e.RateLimitError != nil {
		return time.Duration(min(e.RateLimitError.RetryAfter, uint64(lastWait/time.Second))) * time.Second
	}
	return 0
}

// dropboxProblem says in words what a call of Dropbox failed with.
func dropboxProblem(err error) error {
	var p *problem
	if errors.As(err, &p) || err == nil {
		return err
	}
	var token *oauth2.RetrieveError
	var denied auth.AuthAPIError
	var access auth.AccessAPIError
	var bad auth.BadRequest
	switch {
	case errors.As(err, &token) && token.ErrorCode == "invalid_grant":
		return &problem{text: "Dropbox no longer lets this server into the account: its permission was withdrawn. " + askAdmin, final: true, err: err}
	case errors.As(err, &token) && (token.ErrorCode == "invalid_client" || token.ErrorCode == "unauthorized_client" || token.ErrorCode == "invalid_client_id"):
		return &problem{text: "Dropbox does not know this server's app key and secret. " + askAdmin, final: true, err: err}
	case errors.As(err, &denied):
		return &problem{text: "Dropbox does not let this server into the account: " + words(denied.ErrorSummary) + ". " + askAdmin, final: !tokenExpired(denied), err: err}
	case errors.As(err, &access):
		return &problem{text: "Dropbox does not allow this server to do that: " + words(access.ErrorSummary) + ". " + askAdmin, final: true, err: err}
	case errors.As(err, &bad):
		return &problem{text: "Dropbox did not understand this server: " + words(bad.ErrorSummary) + ".", err: err}
	case refusal(err) != "":
		return &problem{text: "Dropbox refused: " + words(refusal(err)) + ".", err: err}
	}
	return &problem{text: "Dropbox could not be reached, or its answer was lost.", err: err}
}

// tokenExpired is an access token's usual end; the next attempt has a new one.
func tokenExpired(e auth.AuthAPIError) bool {
	return e.AuthError != nil && e.AuthError.Tag == auth.AuthErrorExpiredAccessToken
}

// refusal is the summary in an error of one of the calls in use.
func refusal(err error) string {
	var meta files.GetMetadataAPIError
	var start files.UploadSessionStartAPIError
	var more files.UploadSessionAppendV2APIError
	var finish files.UploadSessionFinishAPIError
	var share sharing.CreateSharedLinkWithSettingsAPIError
	var list sharing.ListSharedLinksAPIError
	switch {
	case errors.As(err, &meta):
		return meta.ErrorSummary
	case errors.As(err, &start):
		return start.ErrorSummary
	case errors.As(err, &more):
		return more.ErrorSummary
	case errors.As(err, &finish):
		return finish.ErrorSummary
	case errors.As(err, &share):
		return share.ErrorSummary
	case errors.As(err, &list):
		return list.ErrorSummary
	}
	return ""
}

// words makes another program's text fit for a reason.
func words(s string) string { return safe.Text(strings.TrimSpace(s)).Cut(longestWord).String() }
