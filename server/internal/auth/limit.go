package auth

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/cultivar-ml/cultivar/shared/api"
)

const (
	// maxFailures is how many wrong tokens an address may show in failureWindow before it is told to wait.
	maxFailures   = 10
	failureWindow = time.Minute
	// maxAddresses bounds the memory of who failed, about 100 bytes each.
	maxAddresses = 10_000
)

// Limited refuses a caller that failed too often.
type Limited struct {
	Answer *api.Error    // for people
	After  time.Duration // when to try again
}

// Error implements error.
func (l *Limited) Error() string { return l.Answer.Message }

// Unwrap returns the answer for people.
func (l *Limited) Unwrap() error { return l.Answer }

// failures counts wrong tokens by address. Tokens have 256 random bits, so this is not what keeps them from being guessed:
// it keeps a misconfigured program from filling logs. Therefore a good token is not held up by what others behind the
// same address do.
type failures struct {
	now func() time.Time
	mu  sync.Mutex
	by  map[netip.Prefix]window
}

type window struct {
	began time.Time
	count int
}

func newFailures(now func() time.Time) *failures {
	return &failures{now: now, by: map[netip.Prefix]window{}}
}

// note counts a failure and returns how long to wait, 0 for not at all.
func (f *failures) note(a netip.Addr) time.Duration {
	key := network(a)
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.by[key]
	if !ok || now.Sub(w.began) >= failureWindow {
		if !ok && len(f.by) >= maxAddresses {
			f.forget(now)
		}
		w = window{began: now}
	}
	w.count++
	f.by[key] = w
	if w.count > maxFailures {
		return failureWindow - now.Sub(w.began)
	}
	return 0
}

// forget makes room: old windows go, and when all are young, any one.
func (f *failures) forget(now time.Time) {
	for k, w := range f.by {
		if now.Sub(w.began) >= failureWindow {
			delete(f.by, k)
		}
	}
	for k := range f.by {
		if len(f.by) < maxAddresses {
			return
		}
		delete(f.by, k)
	}
}

// network is what one caller has of addresses: a single IPv4 address, 2^64 of IPv6.
func network(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero prefix for no address, as over a unix socket
	return p
}

type clientKey struct{}

// WithClient notes the address that a request comes from, when a trusted proxy told it.
func WithClient(r *http.Request, a netip.Addr) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), clientKey{}, a))
}

// Client is the address that a request comes from: as noted by WithClient, else the peer's. The zero address stands for a
// unix socket's.
func Client(r *http.Request) netip.Addr {
	if a, ok := r.Context().Value(clientKey{}).(netip.Addr); ok {
		return a
	}
	p, _ := netip.ParseAddrPort(r.RemoteAddr)
	return p.Addr().Unmap().WithZone("")
}
