package kubernetes_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/cultivar-ml/cultivar/server/internal/config"
	runnerkube "github.com/cultivar-ml/cultivar/server/internal/runner/kubernetes"
)

// pipes is a listener within the process, so that a test's clock need not wait for a network.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// served is a double behind a server, all within a test's bubble of time.
type served struct {
	*double
	t         *testing.T
	transport *http.Transport
}

func serve(t *testing.T, d *double) *served {
	p := newPipes()
	server := &http.Server{Handler: d, ErrorLog: silent()}
	go func() { _ = server.Serve(p) }()
	s := &served{double: d, t: t, transport: &http.Transport{DialContext: p.dial}}
	t.Cleanup(func() {
		s.transport.CloseIdleConnections()
		_ = server.Close()
	})
	return s
}

func (s *served) open(settings config.Kubernetes) *runnerkube.Runner {
	s.t.Helper()
	settings.Namespace, settings.Image, settings.Claim = "ns", "trainer:1", "volume"
	r, err := runnerkube.New(runnerkube.Options{Settings: settings, Volume: "/volume", Access: &rest.Config{Host: "http://api", Transport: s.transport}})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}
