package client_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/client"
)

func versioned() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(api.Version{Version: "1.2.3"})
	})
}

// TestCertificates: a server is believed when the system or the given roots vouch for it, and the refusal says what to do.
func TestCertificates(t *testing.T) {
	srv := httptest.NewTLSServer(versioned())
	t.Cleanup(srv.Close)
	roots := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	for name, tc := range map[string]struct{ server, roots, says string }{
		"given roots":    {srv.URL, roots, ""},
		"unknown":        {srv.URL, "", "--ca FILE"},
		"another name":   {"https://localhost:" + port, roots, "made out for another name"},
		"not TLS":        {"https" + strings.TrimPrefix(plainServer(t), "http"), "", "does not speak https"},
		"no roots in it": {srv.URL, "hello", "BEGIN CERTIFICATE"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := client.New(client.Options{Server: tc.server, Roots: tc.roots})
			if err == nil {
				_, err = c.Version(t.Context())
			}
			if tc.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) || api.Code(err) == api.CodeUnavailable {
				t.Errorf("it says %v (%s)", err, api.Code(err))
			}
			if tc.roots != "hello" && !errors.Is(err, client.ErrUnreachable) {
				t.Errorf("%v is not ErrUnreachable", err)
			}
		})
	}
}

func plainServer(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(versioned())
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestTokenStaysEncrypted: a server behind https cannot lead the client, and with it the token, to plain http.
func TestTokenStaysEncrypted(t *testing.T) {
	told := make(chan string, 1)
	plain := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.Header.Get("Authorization") }))
	t.Cleanup(plain.Close)
	srv := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/api/v1/abilities", http.StatusFound))
	t.Cleanup(srv.Close)
	roots := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	c, err := client.New(client.Options{Server: srv.URL, Token: "cv_secret", Roots: roots})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Abilities(t.Context()); err == nil || !strings.Contains(err.Error(), "without encryption") {
		t.Errorf("it says %v", err)
	}
	select {
	case token := <-told:
		t.Errorf("the plain server was asked with %q", token)
	default:
	}
}

// TestRedirectToAnotherMachine: what answers on a forwarded port cannot lead photos to another machine in the clear.
func TestRedirectToAnotherMachine(t *testing.T) {
	asked := make(chan string, 4)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Host
		_ = json.NewEncoder(w).Encode(api.Version{Version: "1.2.3"})
	}))
	t.Cleanup(other.Close)
	here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/moved") {
			http.Redirect(w, r, "/moved"+r.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1), http.StatusTemporaryRedirect)
	}))
	t.Cleanup(here.Close)
	c, err := client.New(client.Options{Server: here.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Version(t.Context()); err == nil || !strings.Contains(err.Error(), "without encryption") || api.Code(err) == api.CodeUnavailable {
		t.Errorf("it says %v (%s)", err, api.Code(err))
	}
	if len(asked) != 0 {
		t.Errorf("%s was asked", <-asked)
	}
}

// failing is a transport on which nothing arrives.
type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

// TestWhyNoAnswerCame: why no answer came is told in words, and a server that wants https is recognised.
func TestWhyNoAnswerCame(t *testing.T) {
	srv := httptest.NewUnstartedServer(versioned())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	dial := func(err error) *http.Client {
		return &http.Client{Transport: failing{&net.OpError{Op: "dial", Net: "tcp", Err: err}}}
	}
	for name, tc := range map[string]struct {
		server    string
		http      *http.Client
		says, not string
	}{
		"no such name": {"https://nowhere.invalid", dial(&net.DNSError{Err: "no such host", Name: "nowhere.invalid", Server: "10.0.0.1:53", IsNotFound: true}), "no machine is called nowhere.invalid", "lookup"},
		"too slow":     {"https://10.1.2.3", dial(errors.New("i/o timeout")), "(i/o timeout)", "dial"},
		"nobody there": {"https://127.0.0.1:1", nil, "connection refused", "dial"},
		"https":        {"http" + strings.TrimPrefix(srv.URL, "https"), nil, "speaks https", "HTTP 400"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := client.New(client.Options{Server: tc.server, HTTP: tc.http})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = c.Version(t.Context()); err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), tc.not) {
				t.Errorf("it says %v", err)
			}
		})
	}
}

// behind puts a handler behind a proxy that serves it below a prefix and strips that, as an ingress does.
func behind(t *testing.T, h http.Handler, prefix string) string {
	t.Helper()
	inner := httptest.NewServer(h)
	t.Cleanup(func() { inner.CloseClientConnections(); inner.Close() })
	to, err := url.Parse(inner.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.StripPrefix(prefix, httputil.NewSingleHostReverseProxy(to)))
	t.Cleanup(func() { proxy.CloseClientConnections(); proxy.Close() })
	return proxy.URL + prefix
}

// TestPrefix: everything works against a server that lies below a path: plain calls, upload, events and download.
func TestPrefix(t *testing.T) {
	p := newPortal(t)
	tale := &story{total: 5, state: api.StateRunning, perConn: func(_ int, from int64, w *eventWriter) { w.send(from+1, w.total) }}
	goods := &shelf{data: []byte(strings.Repeat("model", 1000))}
	mux := http.NewServeMux()
	mux.Handle("/", p)
	mux.Handle("/api/v1/tasks/", tale)
	mux.Handle("/api/v1/runs/r/artifacts/model.h5", goods)
	for _, end := range []string{"", "/"} {
		c, err := client.New(client.Options{Server: behind(t, mux, "/team/cultivar") + end, Token: "cv_test"})
		if err != nil {
			t.Fatal(err)
		}
		c.Hurry(time.Second, patience)
		root, m := folder(t, 20)
		if set, err := c.Upload(t.Context(), root, m, client.UploadOptions{}); err != nil || set.State != api.DatasetReady {
			t.Errorf("upload: %+v, %v", set, err)
		}
		if ids, err := collect(t, c, 0, nil); err != nil || !slices.Equal(ids, upTo(1, 5)) {
			t.Errorf("events %v, %v", ids, err)
		}
		if err := c.Download(t.Context(), "r", goods.artifact(), filepath.Join(t.TempDir(), "m.h5"), nil); err != nil {
			t.Errorf("download: %v", err)
		}
	}
}

// severing is a load balancer that ends every connection after a while, whatever is under way on it.
func severing(t *testing.T, to string, after time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				back, err := net.Dial("tcp", to)
				if err != nil {
					_ = conn.Close()
					return
				}
				end := func() { _ = conn.Close(); _ = back.Close() }
				time.AfterFunc(after, end)
				go func() { _, _ = io.Copy(back, conn); end() }()
				_, _ = io.Copy(conn, back)
				end()
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// TestEventsThroughASeveringProxy: a balancer that ends each stream after 30 ms costs no event and repeats none.
func TestEventsThroughASeveringProxy(t *testing.T) {
	const total = 60
	s := &story{total: total, state: api.StateRunning}
	s.perConn = func(_ int, from int64, w *eventWriter) {
		tick := time.NewTicker(2 * time.Millisecond) // events come while the run goes on
		defer tick.Stop()
		for id := from + 1; id <= total; id++ {
			<-tick.C
			w.send(id, id)
		}
	}
	srv := httptest.NewServer(s)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	c, err := client.New(client.Options{Server: severing(t, srv.Listener.Addr().String(), 30*time.Millisecond), Token: "cv_test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var ids []int64
	for e, err := range c.Hurry(time.Second, patience).Events(ctx, "t", 0, nil) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.Id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(ids, upTo(1, total)) || s.conns < 2 {
		t.Errorf("%d connections gave %v", s.conns, ids)
	}
}
