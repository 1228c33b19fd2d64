package auth_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/shared/api"
)

func TestTokenFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "token")
	token, err := auth.TokenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if again, err := auth.TokenFile(name); err != nil || again != token {
		t.Errorf("the second start has the token %q, %v", again, err)
	}
	check := auth.ByToken(token, auth.Local(7))
	for header, ok := range map[string]bool{
		"Bearer " + token: true, "bearer " + token: true,
		"": false, "Bearer": false, "Bearer ": false, "Basic " + token: false, "Bearer " + token + "x": false, "Bearer " + token[:20]: false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", header)
		p, err := check(r)
		if (err == nil) != ok || ok && p.User != "local-7" || !ok && api.Code(err) != api.CodeUnauthorized {
			t.Errorf("%q: %+v, %v", header, p, err)
		}
	}
	if err := os.WriteFile(name, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.TokenFile(name); err == nil {
		t.Error("a damaged token file was taken")
	}
}

// TestBySocket asks over a real socket, whose peer is this process.
func TestBySocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "cv") // short enough for a socket's path everywhere
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for uid, want := range map[int]api.ErrorCode{os.Getuid(): "", os.Getuid() + 1: api.CodeForbidden} {
		path := filepath.Join(dir, "s")
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		check := auth.BySocket(uid)
		result := make(chan error, 1)
		s := &http.Server{ConnContext: auth.ConnContext, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { //nolint:gosec // a test
			p, err := check(r)
			if err == nil && p != auth.Local(uid) {
				t.Errorf("principal %+v", p)
			}
			result <- err
		})}
		go func() { _ = s.Serve(l) }()
		c := http.Client{Transport: &http.Transport{Dial: func(string, string) (net.Conn, error) { return net.Dial("unix", path) }}} //nolint:staticcheck // short
		resp, err := c.Get("http://socket/")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		got := <-result
		if want == "" && got != nil || want != "" && api.Code(got) != want {
			t.Errorf("peer as uid %d: %v", uid, got)
		}
		_ = s.Close()
	}
	if _, err := auth.BySocket(0)(httptest.NewRequest(http.MethodGet, "/", nil)); api.Code(err) != api.CodeUnauthorized {
		t.Errorf("a caller without a name: %v", err)
	}
}

func TestIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := auth.NewID()
		if len(id) != 26 || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}
