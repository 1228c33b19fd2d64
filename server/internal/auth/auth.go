// Package auth says who calls. It knows two ways: a unix socket, where the kernel names the peer, and a loopback port
// with a token that only the owner can read. It decides nothing about what a caller may do with a thing: store methods
// take the user and see only that user's rows.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// Principal is who a request comes from.
type Principal struct{ User string }

// Local is the principal of an account of this machine.
func Local(uid int) Principal { return Principal{User: fmt.Sprintf("local-%d", uid)} }

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

// NewToken returns a secret of 256 bits as text.
func NewToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return "cv_" + base64.RawURLEncoding.EncodeToString(b[:])
}

// Hash is what is stored of a token: hex SHA-256. A token has 256 random bits, so no salt is needed.
func Hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Matches compares a token with a stored hash in constant time.
func Matches(token, hash string) bool {
	return token != "" && subtle.ConstantTimeCompare([]byte(Hash(token)), []byte(hash)) == 1
}

// Bearer returns the token of the Authorization header, empty when there is none.
func Bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// TokenFile returns the token kept in the file, and makes both at first use. Only the owner can read the file.
func TokenFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		token := NewToken()
		if err := files.WriteBytes(path, files.FileMode, []byte(token+"\n")); err != nil {
			return "", fmt.Errorf("make the token file: %w", err)
		}
		return token, nil
	}
	if err != nil {
		return "", fmt.Errorf("read the token file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < 32 {
		return "", fmt.Errorf("the token file %s is damaged: remove it, and the next start makes a new one", path)
	}
	return token, nil
}

// ByToken authenticates callers that show token as principal p.
func ByToken(token string, p Principal) Authenticator {
	hash := Hash(token)
	return func(r *http.Request) (Principal, error) {
		if !Matches(Bearer(r), hash) {
			return Principal{}, api.Errorf(api.CodeUnauthorized,
				"This server needs its token: send the content of the file \"token\" in its data folder as Authorization: Bearer …")
		}
		return p, nil
	}
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
