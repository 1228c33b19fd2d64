package podtoken_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cultivar-ml/cultivar/server/internal/podtoken"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/server/internal/tasks"
	"github.com/cultivar-ml/cultivar/shared/api"
)

const (
	issuer = "https://kubernetes.default.svc.cluster.local"
	pod    = "7b1e2f0a-0000-4000-8000-000000000001"
)

var _ tasks.Credentials = (*podtoken.Credentials)(nil)

// cluster signs tokens, and gives its keys, as an API server does.
type cluster struct {
	t      testing.TB
	now    time.Time
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
	public []jose.JSONWebKey
	asked  int
	away   error
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	var err error
	if c.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if c.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	c.public = []jose.JSONWebKey{
		{Key: c.rsa.Public(), KeyID: "rsa", Algorithm: "RS256", Use: "sig"},
		{Key: c.ec.Public(), KeyID: "ec", Algorithm: "ES256", Use: "sig"},
	}
	return c
}

func (c *cluster) credentials() *podtoken.Credentials {
	return podtoken.New(podtoken.Options{
		Path: "/var/run/secrets/cultivar/token", Namespace: "ns", Now: func() time.Time { return c.now },
		Audience: func(task string, attempt int) string { return fmt.Sprintf("cultivar/ns/%s/%d", task, attempt) },
		Issuer:   func(context.Context) (string, error) { return issuer, nil },
		Keys: func(context.Context) ([]byte, error) {
			c.asked++
			if c.away != nil {
				return nil, c.away
			}
			return json.Marshal(jose.JSONWebKeySet{Keys: c.public})
		},
	})
}

// said is what Kubernetes puts into a token of the pod for attempt 1 of task "t".
func (c *cluster) said() map[string]any {
	return map[string]any{
		"iss": issuer, "aud": []string{"cultivar/ns/t/1"}, "sub": "system:serviceaccount:ns:cultivar-trainer",
		"exp": c.now.Add(time.Hour).Unix(), "iat": c.now.Unix(), "nbf": c.now.Unix(),
		"kubernetes.io": map[string]any{"namespace": "ns", "pod": map[string]any{"name": "cv-t-1-x", "uid": pod}},
	}
}

func (c *cluster) sign(alg jose.SignatureAlgorithm, key any, kid string, claims any) string {
	c.t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		c.t.Fatal(err)
	}
	return text
}

func (c *cluster) token() string { return c.sign(jose.RS256, c.rsa, "rsa", c.said()) }

func attempt() store.Attempt { return store.Attempt{Task: "t", Attempt: 1} }

func by(token, executor string) tasks.Caller {
	return tasks.Caller{Task: "t", Attempt: 1, Token: token, Executor: executor}
}

func TestCheck(t *testing.T) {
	c := newCluster(t)
	creds := c.credentials()
	with := func(change func(map[string]any)) string {
		said := c.said()
		change(said)
		return c.sign(jose.RS256, c.rsa, "rsa", said)
	}
	unsigned := func() string {
		body, _ := json.Marshal(c.said())
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"rsa"}`)) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
	}
	der, err := x509.MarshalPKIXPublicKey(c.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := c.token()
	for _, tc := range []struct {
		name, token, executor string
		ok                    bool
	}{
		{"RSA", good, pod, true},
		{"ECDSA", c.sign(jose.ES256, c.ec, "ec", c.said()), pod, true},
		{"clocks differ a little", with(func(s map[string]any) { s["exp"] = c.now.Add(-20 * time.Second).Unix() }), pod, true},
		{"another task's audience", with(func(s map[string]any) { s["aud"] = "cultivar/ns/other/1" }), pod, false},
		{"another attempt's audience", with(func(s map[string]any) { s["aud"] = "cultivar/ns/t/2" }), pod, false},
		{"another namespace's audience", with(func(s map[string]any) { s["aud"] = "cultivar/other/t/1" }), pod, false},
		{"several audiences", with(func(s map[string]any) { s["aud"] = []string{"cultivar/ns/t/1", "https://api"} }), pod, false},
		{"no audience", with(func(s map[string]any) { delete(s, "aud") }), pod, false},
		{"another pod calls", good, "7b1e2f0a-0000-4000-8000-000000000002", false},
		{"nobody in particular calls", good, "", false},
		{"no pod", with(func(s map[string]any) { delete(s, "kubernetes.io") }), pod, false},
		{"no pod, nobody calls", with(func(s map[string]any) { delete(s, "kubernetes.io") }), "", false},
		{"another namespace", with(func(s map[string]any) {
			s["kubernetes.io"] = map[string]any{"namespace": "other", "pod": map[string]any{"uid": pod}}
		}), pod, false},
		{"expired", with(func(s map[string]any) { s["exp"] = c.now.Add(-time.Minute).Unix() }), pod, false},
		{"never expires", with(func(s map[string]any) { delete(s, "exp") }), pod, false},
		{"not yet valid", with(func(s map[string]any) { s["nbf"] = c.now.Add(time.Minute).Unix() }), pod, false},
		{"wrong issuer", with(func(s map[string]any) { s["iss"] = "https://evil.example" }), pod, false},
		{"no issuer", with(func(s map[string]any) { delete(s, "iss") }), pod, false},
		{"somebody else's key under a known name", c.sign(jose.RS256, stranger, "rsa", c.said()), pod, false},
		{"key of an unknown name", c.sign(jose.RS256, c.rsa, "other", c.said()), pod, false},
		{"key without a name", c.sign(jose.RS256, c.rsa, "", c.said()), pod, false},
		{"another algorithm of the same key", c.sign(jose.RS512, c.rsa, "rsa", c.said()), pod, false},
		{"unsigned", unsigned(), pod, false},
		{"public key as a password", c.sign(jose.HS256, der, "rsa", c.said()), pod, false},
		{"signature cut", good[:len(good)-4], pod, false},
		{"nothing", "", pod, false},
		{"garbage", "a.b.c", pod, false},
		{"huge", strings.Repeat("a", 1<<20), pod, false},
		{"a file's token", "cv_abc", pod, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if ok, err := creds.Check(t.Context(), by(tc.token, tc.executor), attempt()); ok != tc.ok || err != nil {
				t.Errorf("ok %v, %v", ok, err)
			}
		})
	}
}

func TestComesTooLate(t *testing.T) {
	c := newCluster(t)
	creds := c.credentials()
	a := attempt()
	a.Executor = pod
	if ok, err := creds.Check(t.Context(), by(c.token(), pod), a); !ok || err != nil {
		t.Errorf("the registered pod: %v, %v", ok, err)
	}
	a.Executor = "another"
	if ok, err := creds.Check(t.Context(), by(c.token(), pod), a); ok || api.Code(err) != api.CodeConflict {
		t.Errorf("another pod is registered: %v, %v", ok, err)
	}
	a.Executor, a.Ended = pod, &c.now
	if ok, err := creds.Check(t.Context(), by(c.token(), pod), a); ok || api.Code(err) != api.CodeConflict {
		t.Errorf("the attempt has ended: %v, %v", ok, err)
	}
	if ok, err := creds.Check(t.Context(), by("garbage", pod), a); ok || err != nil {
		t.Errorf("a stranger learns that it has ended: %v, %v", ok, err)
	}
}

func TestKeysRotate(t *testing.T) {
	c := newCluster(t)
	creds := c.credentials()
	check := func(token string) bool {
		t.Helper()
		ok, err := creds.Check(t.Context(), by(token, pod), attempt())
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	old := c.token()
	first, again := check(old), check(old)
	if !first || !again || c.asked != 1 {
		t.Fatalf("keys were asked for %d times", c.asked)
	}
	fresh, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c.public = append(c.public, jose.JSONWebKey{Key: fresh.Public(), KeyID: "fresh", Algorithm: "RS256"})
	token := c.sign(jose.RS256, fresh, "fresh", c.said())
	if check(token) {
		t.Error("a key was known before it could be")
	}
	for i := range 1000 {
		check(c.sign(jose.ES256, c.ec, fmt.Sprint("made-up-", i), c.said()))
	}
	if c.asked != 1 {
		t.Errorf("made-up names asked for keys %d times", c.asked)
	}
	c.now = c.now.Add(10 * time.Second)
	if !check(token) || c.asked != 2 {
		t.Errorf("the new key is not believed after 10 s; asked %d times", c.asked)
	}
	c.public = c.public[1:] // the old one is given up
	c.now = c.now.Add(10 * time.Minute)
	if check(old) {
		t.Error("a key that the cluster gave up is still believed")
	}
}

func TestTheClusterIsAway(t *testing.T) {
	c := newCluster(t)
	creds := c.credentials()
	c.away = errors.New("connection refused to canary")
	for range 3 {
		ok, err := creds.Check(t.Context(), by(c.token(), pod), attempt())
		var told *api.Error
		if ok || api.Code(err) != api.CodeUnavailable || !errors.As(err, &told) || strings.Contains(told.Message, "canary") {
			t.Errorf("nobody can know: %v, %v", ok, err)
		}
	}
	if c.asked != 1 {
		t.Errorf("asked %d times", c.asked)
	}
	c.now, c.away = c.now.Add(10*time.Second), nil
	token := c.token()
	if ok, err := creds.Check(t.Context(), by(token, pod), attempt()); !ok || err != nil {
		t.Errorf("it is back: %v, %v", ok, err)
	}
	c.away = errors.New("away again")
	c.now = c.now.Add(30 * time.Minute)
	if ok, err := creds.Check(t.Context(), by(token, pod), attempt()); !ok || err != nil {
		t.Errorf("known keys are enough: %v, %v", ok, err)
	}
}

func TestUsable(t *testing.T) {
	for set, want := range map[string]int{
		`{"keys":[]}`: 0, `{}`: 0, `nonsense`: 0, `{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"x"}]}`: 0, `{"keys":[{"kty":"new","kid":"x"}]}`: 0,
	} {
		if n, err := podtoken.Usable([]byte(set)); n != want || err == nil {
			t.Errorf("%s: %d, %v", set, n, err)
		}
	}
	c := newCluster(t)
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: c.public})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := podtoken.Usable(b); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestIssue(t *testing.T) {
	path, err := newCluster(t).credentials().Issue(t.Context(), store.Task{}, attempt())
	if path != "/var/run/secrets/cultivar/token" || err != nil {
		t.Errorf("%s, %v", path, err)
	}
}

func FuzzCheck(f *testing.F) {
	c := newCluster(f)
	creds := c.credentials()
	good := c.token()
	for _, seed := range []string{good, good[:len(good)/2], "", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", `{"payload":"x"}`} {
		f.Add(seed, pod)
	}
	f.Fuzz(func(t *testing.T, token, executor string) {
		ok, err := creds.Check(t.Context(), by(token, executor), attempt())
		if err != nil || ok && executor != pod {
			t.Errorf("%q by %q: %v, %v", token, executor, ok, err)
		}
	})
}
