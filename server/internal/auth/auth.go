// Package auth says who calls. It knows three ways: a unix socket, where the kernel names the peer; a loopback port with a
// token that only the owner can read; and tokens of people, where others connect too. A caller has scopes, which say what
// kind of thing it may do at all; it decides nothing about whose: store methods take the user and see only that user's
// rows.
package auth

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/cultivar-ml/cultivar/shared/api"
)

// Principal is who a request comes from.
type Principal struct {
	User   string
	Scopes Scope
	Token  string // id of the token that was shown, for logs; empty when there was none
}

const localPrefix = "local-"

// Local is the principal of an account of this machine. The server is its own, so it may do everything.
func Local(uid int) Principal {
	return Principal{User: localPrefix + strconv.Itoa(uid), Scopes: Everything}
}

// Authenticator tells a request's principal; the error is an *api.Error.
type Authenticator func(*http.Request) (Principal, error)

type contextKey int

const (
	principalKey contextKey = iota
	peerKey
)

// With returns a context that carries p.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey, p)
}

// From returns the principal of a request that passed an Authenticator; ok is false for any other.
func From(ctx context.Context) (p Principal, ok bool) {
	p, ok = ctx.Value(principalKey).(Principal)
	return p, ok
}

// NewID returns a random name of 128 bits: 26 characters, a-z and 2-7.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24; the process ends instead
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

// BySocket authenticates callers over a unix socket by what the kernel says of them: only the server's own account.
func BySocket(uid int) Authenticator {
	return func(r *http.Request) (Principal, error) {
		peer, ok := r.Context().Value(peerKey).(int)
		if !ok {
			return Principal{}, api.Errorf(api.CodeUnauthorized, "The system did not say who calls; connect over the server's unix socket.")
		}
		if peer != uid {
			return Principal{}, api.Errorf(api.CodeForbidden, "This server belongs to another account of this machine; start your own with: cultivar")
		}
		return Local(uid), nil
	}
}

// ConnContext notes a unix connection's peer for BySocket; it is http.Server's field of that name.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	uid, err := peerUID(unixConn)
	if err != nil {
		return ctx // BySocket refuses a caller without a name
	}
	return context.WithValue(ctx, peerKey, uid)
}
