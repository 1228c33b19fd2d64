//go:build cluster

package clustertest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/transport/spdy"
)

type conn = io.ReadWriteCloser

// tunnel listens here and joins every connection to one that dial makes: pods come and go under new addresses.
type tunnel struct {
	listener net.Listener
}

func (t *tunnel) url() string { return "http://" + t.listener.Addr().String() }

func listen(t *testing.T, address string, dial func(context.Context) (conn, error)) *tunnel {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
	})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = in.Close() }()
				out, err := dial(ctx)
				if err != nil {
					return
				}
				defer func() { _ = out.Close() }()
				done := make(chan struct{}, 2)
				for _, way := range [][2]conn{{in, out}, {out, in}} {
					go func() {
						_, _ = io.Copy(way[0], way[1])
						done <- struct{}{}
					}()
				}
				select { // one side's end is the end: this carries HTTP only
				case <-done:
				case <-ctx.Done():
				}
			}()
		}
	}()
	return &tunnel{l}
}

// dial connects to a port of the server's pod: directly where this machine is the node, through the API server elsewhere.
func (c *cluster) dial(ctx context.Context, port int) (conn, error) {
	p, ok := c.serverPod(ctx)
	if !ok {
		return nil, fmt.Errorf("there is no server pod")
	}
	if c.bridge != "" {
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(p.Status.PodIP, fmt.Sprint(port)))
	}
	return c.forward(p, port)
}

// forward opens one connection of the port-forward subresource.
func (c *cluster) forward(p corev1.Pod, port int) (conn, error) {
	round, upgrader, err := spdy.RoundTripperFor(c.rest)
	if err != nil {
		return nil, err
	}
	url := c.kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.ns).Name(p.Name).SubResource("portforward").URL()
	link, _, err := spdy.NewDialer(upgrader, &http.Client{Transport: round}, http.MethodPost, url).Dial("portforward.k8s.io")
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	h.Set(corev1.StreamType, corev1.StreamTypeError)
	h.Set(corev1.PortHeader, fmt.Sprint(port))
	h.Set(corev1.PortForwardRequestIDHeader, "1")
	errs, err := link.CreateStream(h)
	if err != nil {
		_ = link.Close()
		return nil, err
	}
	_ = errs.Close()
	h.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := link.CreateStream(h)
	if err != nil {
		_ = link.Close()
		return nil, err
	}
	return forwarded{data, link}, nil
}

type forwarded struct {
	httpstream.Stream
	link httpstream.Connection
}

func (f forwarded) Close() error { return f.link.Close() }
