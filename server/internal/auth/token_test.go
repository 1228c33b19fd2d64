package auth_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
)

func TestTokensForm(t *testing.T) {
	token := auth.NewToken()
	if !auth.WellFormed(token) || len(token) != 52 || !strings.HasPrefix(token, "cv_") || token == auth.NewToken() {
		t.Fatalf("token %q", token)
	}
	for i := range token { // each single mistyped character is noticed
		wrong := []byte(token)
		wrong[i] = 'x'
		if token[i] == 'x' {
			wrong[i] = 'y'
		}
		if auth.WellFormed(string(wrong)) {
			t.Errorf("mistyped at %d: %s passes for %s", i, wrong, token)
		}
	}
	for _, wrong := range []string{"", "cv_", token[1:], token[:51], token + "a", strings.Repeat("é", 26)} {
		if auth.WellFormed(wrong) {
			t.Errorf("%q passes", wrong)
		}
	}
}

func TestScopes(t *testing.T) {
	for text, want := range map[string]string{"read": "read", "train,read": "read train", "admin portal upload": "upload admin portal", "": "", "write": "", "read,root": ""} {
		s, err := auth.ParseScopes(text)
		if s.String() != want || (err == nil) != (want != "") {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
	if s := auth.Read | auth.Train; !s.Has(auth.Read) || s.Has(auth.Upload) || s.Has(0) || s.Has(auth.Train|auth.Admin) || auth.Admin.Has(auth.Read) {
		t.Error("sets")
	}
	if got := auth.Everything.String(); got != "read upload train admin portal" {
		t.Error(got)
	}
}

func TestUserNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"ada": true, "a.b-c_d": true, "0": true, strings.Repeat("a", 63): true,
		"": false, "Ada": false, ".hidden": false, "..": false, "a/b": false, "-x": false, "a b": false, strings.Repeat("a", 64): false,
		"local-0": false, "ada\n": false, "é": false,
	} {
		if err := auth.CheckUser(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

type tokens struct {
	t     *testing.T
	now   time.Time
	store *store.Store
	check auth.Authenticator
}

func newTokens(t *testing.T) *tokens {
	t.Helper()
	f := &tokens{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	var err error
	if f.store, err = store.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"), func() time.Time { return f.now }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.store.Close() })
	f.check = auth.ByTokens(f.store, func() time.Time { return f.now }, slog.New(slog.DiscardHandler))
	return f
}

func (f *tokens) add(user, scopes string) (id, token string) {
	f.t.Helper()
	id, token = auth.NewID(), auth.NewToken()
	_, err := f.store.AddToken(f.t.Context(), store.Token{ID: id, Owner: user, Scopes: scopes, Expires: f.now.Add(time.Hour)}, auth.Hash(token))
	if err != nil {
		f.t.Fatal(err)
	}
	return id, token
}

func (f *tokens) ask(token, from string) (auth.Principal, error) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = from
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return f.check(r)
}

func TestByTokens(t *testing.T) {
	f := newTokens(t)
	id, token := f.add("ada", "read train")
	p, err := f.ask(token, "192.0.2.1:1")
	if err != nil || p != (auth.Principal{User: "ada", Scopes: auth.Read | auth.Train, Token: id}) {
		t.Fatalf("%+v, %v", p, err)
	}
	for name, c := range map[string]struct{ token, want string }{
		"nothing":  {"", "needs a token"},
		"mistyped": {token[:51] + "!", "checksum is wrong"},
		"unknown":  {auth.NewToken(), "does not know the token"},
	} {
		if _, err := f.ask(c.token, "192.0.2.1:1"); api.Code(err) != api.CodeUnauthorized || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.store.RevokeToken(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ask(token, "192.0.2.1:1"); api.Code(err) != api.CodeUnauthorized || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("revoked: %v", err)
	}
	_, other := f.add("bob", "read")
	f.now = f.now.Add(time.Hour)
	if _, err := f.ask(other, "192.0.2.1:1"); api.Code(err) != api.CodeUnauthorized || !strings.Contains(err.Error(), "expired on 2026-03-01") {
		t.Errorf("expired: %v", err)
	}
}

func TestFailuresAreLimited(t *testing.T) {
	f := newTokens(t)
	_, good := f.add("ada", "read")
	fail := func(from string) error {
		_, err := f.ask(auth.NewToken(), from)
		return err
	}
	limited := func(err error) bool {
		var l *auth.Limited
		return errors.As(err, &l) && l.After > 0 && l.After <= time.Minute && api.Code(err) == api.CodeUnavailable
	}
	for i := range 10 {
		if err := fail("192.0.2.1:" + fmt.Sprint(i+1)); limited(err) {
			t.Fatalf("failure %d is refused already", i+1)
		}
	}
	if err := fail("192.0.2.1:99"); !limited(err) {
		t.Errorf("the 11th: %v", err)
	}
	if err := fail("192.0.2.2:1"); limited(err) {
		t.Error("another address is refused")
	}
	if _, err := f.ask(good, "192.0.2.1:1"); err != nil {
		t.Errorf("a good token behind the same address: %v", err)
	}
	for i := range 11 { // one machine has 2^64 addresses of IPv6
		if err := fail(fmt.Sprintf("[2001:db8::%x]:1", i)); limited(err) != (i == 10) {
			t.Errorf("IPv6, failure %d: %v", i+1, err)
		}
	}
	f.now = f.now.Add(time.Minute)
	if err := fail("192.0.2.1:1"); limited(err) {
		t.Error("refused for ever")
	}
}

func TestMemoryOfFailuresIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	f := auth.NewFailures(func() time.Time { return now })
	for i := range 20_000 {
		f.Note(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		if f.Len() > 10_000 {
			t.Fatal(f.Len())
		}
	}
	now = now.Add(time.Minute)
	f.Note(netip.AddrFrom4([4]byte{192, 0, 2, 1}))
	if f.Len() != 1 {
		t.Errorf("%d old ones are kept", f.Len()-1)
	}
}
