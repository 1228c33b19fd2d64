package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// probe tells whether a request is a health check. Those come from the machine itself or from a load balancer, under any
// name and past the proxy; they tell nothing and change nothing.
func probe(r *http.Request) bool { return r.URL.Path == "/healthz" || r.URL.Path == "/readyz" }

// throughProxy lets only requests through that a trusted proxy sent, and notes whom it sent them for. Without proxies
// every request passes: its connection is encrypted itself or stays on this machine.
func (s *Server) throughProxy(r *http.Request) (*http.Request, error) {
	if len(s.Proxies) == 0 {
		return r, nil
	}
	client := auth.Client(r)
	if !s.trusted(client) {
		return nil, api.Errorf(api.CodeForbidden, "This server is reached through its proxy only. Use its public address, which begins with https://.")
	}
	if strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "http") {
		return nil, api.Errorf(api.CodeForbidden, "This came over http, where others on the way can read your token. Use https://%s instead.", hostOnly(r.Host))
	}
	// Each proxy appended the address it saw. What stands left of the first one that is no proxy of ours, anybody wrote.
	seen := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(seen) {
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			break
		}
		if client = a.Unmap().WithZone(""); !s.trusted(client) {
			break
		}
	}
	return auth.WithClient(r, client), nil
}

func (s *Server) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(s.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}
