// Package client speaks Cultivar's HTTP API: plain calls, resumable uploads of datasets, resumable downloads of models
// and event streams that survive a lost connection. It keeps no state on disk but the files it is asked to write, prints
// nothing and starts no server.
package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
)

// Options says which server to talk to and as whom.
type Options struct {
	// Server is "https://host", "http://127.0.0.1:8080" or "unix:///abs/path.sock".
	Server string
	// Token is sent as Bearer; empty over a unix socket, where the kernel says who calls.
	Token string
	// Roots are certificates in PEM that are trusted besides the system's; empty: only the system's.
	Roots string
	// HTTP is the HTTP client to use; nil: one made for Server.
	HTTP *http.Client
	// Now is the clock for transfer rates; nil: time.Now.
	Now func() time.Time
}

// Client is one server as seen by one user. It is safe for use by several goroutines at once.
type Client struct {
	api    *api.Client
	http   *http.Client
	base   *url.URL // ends in /api/v1/
	server string   // as people write it
	token  string
	now    func() time.Time
	timing timing
}

// timing holds every duration that matters when a connection misbehaves.
type timing struct {
	call      time.Duration // a plain call, whole
	idle      time.Duration // a transfer without one byte moved
	silence   time.Duration // an event stream without even a comment: the server sends one every 15 s
	patience  time.Duration // a transfer that fails again and again without one more byte accepted
	waitFirst time.Duration // first pause before trying again; doubles up to waitMost
	waitMost  time.Duration
}

func defaultTiming() timing {
	return timing{
		call: 60 * time.Second, idle: 90 * time.Second, silence: 45 * time.Second, patience: 15 * time.Minute,
		waitFirst: 500 * time.Millisecond, waitMost: 15 * time.Second,
	}
}

// New returns a client; it does not connect yet. It fails when Server is not an address of a known form.
func New(o Options) (*Client, error) {
	base, transport, err := parseServer(o.Server)
	if err != nil {
		return nil, err
	}
	if transport.TLSClientConfig.RootCAs, err = trusted(o.Roots); err != nil {
		return nil, err
	}
	c := &Client{base: base, server: o.Server, token: o.Token, now: o.Now, timing: defaultTiming()}
	if c.now == nil {
		c.now = time.Now
	}
	if c.http = o.HTTP; c.http == nil {
		c.http = &http.Client{Transport: transport, CheckRedirect: redirect}
	}
	c.api, err = api.NewClient(base.String(), api.WithHTTPClient(c.http), api.WithRequestEditorFn(c.authorize))
	if err != nil {
		return nil, fmt.Errorf("server address %q: %w", o.Server, err)
	}
	return c, nil
}

// Server is the server's address as people write it.
func (c *Client) Server() string { return c.server }

// apiPath is where the API lies below a server's address.
const apiPath = "/api/v1/"

// parseServer returns the API's base URL and a transport that reaches it.
func parseServer(server string) (*url.URL, *http.Transport, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 4, IdleConnTimeout: 60 * time.Second,
	}
	u, err := url.Parse(server)
	if err != nil {
		return nil, nil, api.Errorf(api.CodeInvalid, "server address %q cannot be read: use https://host, http://127.0.0.1:8080 or unix:///path/to.sock", server)
	}
	switch {
	case u.Scheme == "unix" && strings.HasPrefix(u.Path, "/"):
		path := u.Path
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
		u = &url.URL{Scheme: "http", Host: "cultivar.local", Path: "/"}
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
	default:
		return nil, nil, api.Errorf(api.CodeInvalid, "server address %q is of no known form: use https://host, http://127.0.0.1:8080 or unix:///path/to.sock", server)
	}
	u.Path, u.RawPath, u.RawQuery, u.Fragment = strings.TrimSuffix(u.Path, "/")+apiPath, "", "", ""
	return u, t, nil
}

func (c *Client) authorize(_ context.Context, r *http.Request) error {
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	return nil
}

// send makes a request that the generated client has no good form for: raw bodies, streams and tus.
func (c *Client) send(r *http.Request) (*http.Response, error) {
	if err := c.authorize(r.Context(), r); err != nil {
		return nil, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.linkError(r.Context(), err)
	}
	return resp, nil
}

// url is the address of an API route; elements are escaped.
func (c *Client) url(elems ...string) string {
	for i, e := range elems {
		elems[i] = url.PathEscape(e)
	}
	return c.base.JoinPath(elems...).String()
}

// ErrUnreachable is wrapped by every error that means: no answer came from the server.
var ErrUnreachable = errors.New("server not reachable")

// linkFailure is a request without an answer. It is both an *api.Error, with CodeUnavailable when trying again can help,
// and ErrUnreachable.
type linkFailure struct {
	said  *api.Error
	cause error
}

func (e *linkFailure) Error() string   { return e.said.Message }
func (e *linkFailure) Unwrap() []error { return []error{e.said, ErrUnreachable, e.cause} }

// linkError explains a failed request; the caller's own cancellation stays what it is.
func (c *Client) linkError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		var slow stalled
		if !errors.As(context.Cause(ctx), &slow) {
			return ctx.Err()
		}
		err = slow
	}
	if said := c.distrust(err); said != nil {
		return &linkFailure{cause: err, said: said}
	}
	return &linkFailure{cause: err, said: api.Errorf(api.CodeUnavailable,
		"The server at %s does not answer (%v). Check that it runs and that the network is up, then try again.", c.server, reason(err))}
}

// reason strips what the sentence around it says already: addresses and the names of system calls.
func reason(err error) error {
	var (
		errno syscall.Errno
		name  *net.DNSError
		op    *net.OpError
		u     *url.Error
	)
	switch {
	case errors.As(err, &errno):
		return errno
	case errors.As(err, &name) && name.IsNotFound:
		return fmt.Errorf("no machine is called %s", name.Name)
	case errors.As(err, &op):
		return op.Err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection was cut")
	case errors.As(err, &u):
		return u.Err
	}
	return err
}

// maxJSON bounds an answer that is read whole; a page of 200 runs is under 1 MiB.
const maxJSON = 32 << 20

// answer decodes a JSON answer, or the error in its place.
func answer[T any](ctx context.Context, c *Client, resp *http.Response, err error) (T, error) {
	var v T
	if err != nil {
		return v, c.linkError(ctx, err)
	}
	defer drain(resp.Body)
	if resp.StatusCode >= 300 {
		return v, c.refusal(resp)
	}
	if resp.StatusCode == http.StatusNoContent {
		return v, nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON))
	if err != nil {
		return v, c.linkError(ctx, err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, c.garbled(err)
	}
	return v, nil
}

func (c *Client) garbled(err error) error {
	return api.Errorf(api.CodeInternal, "The server at %s gave an answer that this program cannot read (%v). Are both of the same release? `cultivar --version` tells.", c.server, err)
}

// refusal turns an answer with an error status into an *api.Error.
func (c *Client) refusal(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var e api.Error
	if json.Unmarshal(b, &e) == nil && e.Code.Valid() && e.Message != "" {
		return &e
	}
	// What Go and nginx answer, in plain text, to someone who does not encrypt.
	if text := strings.ToLower(string(b)); strings.Contains(text, "http request") && strings.Contains(text, "https") && resp.StatusCode == http.StatusBadRequest {
		return api.Errorf(api.CodeInvalid, "The server at %s speaks https: write its address with https:// in place of http://.", c.server)
	}
	code := api.CodeOf(resp.StatusCode)
	switch code {
	case api.CodeUnauthorized:
		return api.Errorf(code, "The server at %s does not know you. Sign in with a token from its admin: cultivar login %s", c.server, c.server)
	case api.CodeUnavailable:
		return api.Errorf(code, "The server at %s is busy or restarting (HTTP %d). Try again in a moment.", c.server, resp.StatusCode)
	}
	return api.Errorf(code, "The server at %s answered HTTP %d without saying why. Is this address a Cultivar server?", c.server, resp.StatusCode)
}

// drain lets the connection be used again.
func drain(body io.ReadCloser) {
	_, _ = io.Copy(io.Discard, io.LimitReader(body, 64<<10))
	_ = body.Close()
}

// bounded limits a plain call.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.timing.call, stalled(c.timing.call))
}

// backoff counts failures in a row; the zero value is ready.
type backoff struct{ failures int }

// next returns how long to wait before trying again: doubling, with jitter between half and the whole.
func (b *backoff) next(t timing) time.Duration {
	d := t.waitFirst << min(b.failures, 16)
	if d > t.waitMost || d <= 0 {
		d = t.waitMost
	}
	b.failures++
	return d/2 + rand.N(d/2+1)
}

// pause waits or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// passing tells whether trying the same thing again can help.
func passing(err error) bool {
	return err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) &&
		api.Code(err) == api.CodeUnavailable
}

// stalled is why a request of ours was ended: nothing came for so long.
type stalled time.Duration

func (s stalled) Error() string { return fmt.Sprintf("nothing came for %s", time.Duration(s)) }

// watchdog ends a context when nothing has moved for a while.
type watchdog struct {
	timer *time.Timer
	limit time.Duration
}

// guard returns a context that ends, with stalled as its cause, once kick was not called for limit.
func guard(ctx context.Context, limit time.Duration) (context.Context, *watchdog, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{limit: limit}
	w.timer = time.AfterFunc(limit, func() { cancel(stalled(limit)) })
	return ctx, w, func() { w.timer.Stop(); cancel(context.Canceled) }
}

func (w *watchdog) kick() { w.timer.Reset(w.limit) }

// watched is a reader whose every byte kicks the watchdog.
type watched struct {
	io.Reader
	dog *watchdog
}

func (r watched) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.dog.kick()
	}
	return n, err
}
