package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/files"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
)

const tokenPrefix = "cv_"

// userForm is what a user may be called: the name is a folder's on the volume.
var userForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// CheckUser tells whether a person may have this name. Names of this machine's accounts are not for others.
func CheckUser(name string) error {
	if !userForm.MatchString(name) {
		return fmt.Errorf("a user cannot be called %q: use 1 to 63 of a-z, 0-9, dot, dash and underscore, beginning with a letter or digit", name)
	}
	if strings.HasPrefix(name, localPrefix) {
		return fmt.Errorf("a user cannot be called %q: names that begin with %s are those of the server's own machine", name, localPrefix)
	}
	return nil
}

// NewToken returns a secret of 256 bits as text: the prefix, the secret and a checksum by which a mistyped one is known.
func NewToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24; the process ends instead
	text := tokenPrefix + base64.RawURLEncoding.EncodeToString(b[:])
	return text + checksum(text)
}

func checksum(text string) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], crc32.ChecksumIEEE([]byte(text)))
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// WellFormed tells whether a text can be a token: its length, prefix and checksum are right.
func WellFormed(token string) bool {
	const secret, sum = 43, 6 // characters of 32 and 4 bytes
	if len(token) != len(tokenPrefix)+secret+sum || !strings.HasPrefix(token, tokenPrefix) {
		return false
	}
	text := token[:len(token)-sum]
	return token[len(text):] == checksum(text)
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

// ByTokens authenticates people by the tokens of a store. It asks the store for each request, so that a revoked token ends
// at once. More than 10 wrong tokens a minute from one address are answered with *Limited.
func ByTokens(tokens *store.Store, now func() time.Time, log *slog.Logger) Authenticator {
	failed := newFailures(now)
	refuse := func(r *http.Request, format string, args ...any) error {
		if wait := failed.note(Client(r)); wait > 0 {
			return &Limited{After: wait, Answer: api.Errorf(api.CodeUnavailable,
				"Too many wrong tokens came from your address. Wait %d seconds, and check the token your program sends.", int(wait.Seconds())+1)}
		}
		return api.Errorf(api.CodeUnauthorized, format, args...)
	}
	return func(r *http.Request) (Principal, error) {
		token := Bearer(r)
		switch {
		case token == "":
			return Principal{}, api.Errorf(api.CodeUnauthorized, "This server needs a token: get one from its admin, and log in with: cultivar login")
		case !WellFormed(token):
			return Principal{}, refuse(r, "The token is not complete or mistyped: its checksum is wrong. Copy the whole of it, from cv_ on.")
		}
		t, err := tokens.TokenByHash(r.Context(), Hash(token))
		switch {
		case errors.Is(err, store.ErrNotFound):
			return Principal{}, refuse(r, "This server does not know the token. Check that it was made for this server, or get a new one from its admin.")
		case err != nil:
			return Principal{}, err
		case t.Revoked != nil:
			return Principal{}, refuse(r, "The token was revoked. Get a new one from the server's admin.")
		case !now().Before(t.Expires):
			return Principal{}, refuse(r, "The token expired on %s. Get a new one from the server's admin.", t.Expires.Format(time.DateOnly))
		}
		scopes, err := ParseScopes(t.Scopes)
		if err != nil {
			return Principal{}, fmt.Errorf("scopes of token %s: %w", t.ID, err)
		}
		if err := tokens.UseToken(r.Context(), t); err != nil {
			log.WarnContext(r.Context(), "a token's last use is not noted", "token", t.ID, "error", err)
		}
		return Principal{User: t.Owner, Scopes: scopes, Token: t.ID}, nil
	}
}
