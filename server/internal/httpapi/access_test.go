package httpapi_test

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// scopes is what each operation of the API's document takes; "" is open to everybody.
var scopes = map[string]string{
	"GET /version":              "",
	"GET /openapi.json":         "",
	"GET /abilities":            "read",
	"GET /me":                   "read",
	"DELETE /me/data":           "upload train",
	"GET /bases":                "read",
	"GET /datasets":             "read",
	"POST /datasets":            "upload",
	"POST /datasets/zip":        "upload",
	"GET /datasets/{id}":        "read",
	"DELETE /datasets/{id}":     "upload",
	"POST /blobs/missing":       "upload",
	"POST /uploads":             "upload",
	"HEAD /uploads/{id}":        "upload",
	"PATCH /uploads/{id}":       "upload",
	"DELETE /uploads/{id}":      "upload",
	"GET /runs":                 "read",
	"POST /runs":                "train",
	"POST /runs/plan":           "train",
	"GET /runs/{id}":            "read",
	"DELETE /runs/{id}":         "train",
	"POST /runs/{id}/stop":      "train",
	"POST /runs/{id}/cancel":    "train",
	"POST /runs/{id}/retry":     "train",
	"POST /runs/{id}/share":     "train",
	"GET /runs/{id}/deliveries": "read",
	"POST /runs/{id}/deliveries/{delivery}/retry": "train",
	"GET /runs/{id}/artifacts":                    "read",
	"GET /runs/{id}/artifacts/{name}":             "read",
	"GET /runs/{id}/metrics.csv":                  "read",
	"GET /runs/{id}/metrics.tfevents":             "read",
	"POST /runs/{id}/predict":                     "train",
	"GET /models":                                 "read",
	"GET /models/{model}":                         "read",
	"PUT /models/{model}":                         "train",
	"DELETE /models/{model}":                      "train",
	"GET /tasks/{id}":                             "read",
	"GET /tasks/{id}/events":                      "read",
}

// operations lists what the API's document describes, as "METHOD /path".
func operations(t *testing.T) (out []string) {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	if err := yaml.Unmarshal(api.Spec, &doc); err != nil {
		t.Fatal(err)
	}
	for path, all := range doc.Paths {
		for method := range all {
			if method != "parameters" {
				out = append(out, strings.ToUpper(method)+" "+path)
			}
		}
	}
	return out
}

// TestScopes asks every operation with every scope alone and without a token. An operation that the table lacks fails.
func TestScopes(t *testing.T) {
	f := newFixture(t)
	asked := operations(t)
	if len(asked) != len(scopes) {
		t.Errorf("%d operations are described and %d are in this test's table", len(asked), len(scopes))
	}
	for _, operation := range asked {
		need, known := scopes[operation]
		if !known {
			t.Errorf("%s is not in this test's table: who may do it?", operation)
			continue
		}
		method, path, _ := strings.Cut(operation, " ")
		path = "/api/v1" + strings.NewReplacer("{id}", "x", "{name}", "x", "{delivery}", "x", "{model}", "x@y").Replace(path)
		if got := f.do("", method, path, nil).StatusCode; (got == http.StatusUnauthorized) != (need != "") {
			t.Errorf("%s without a token: %d", operation, got)
		}
		for _, scope := range []string{"read", "upload", "train", "admin", "portal"} {
			got := f.do("ada+"+scope, method, path, strings.NewReader("{}"), "Content-Type", "application/json").StatusCode
			if refused := got == http.StatusForbidden; refused != (need != "" && need != scope) {
				t.Errorf("%s with scope %s: %d", operation, scope, got)
			}
		}
	}
}

// TestOthersSeeNothing asks every operation about alice's things as bob, who may do everything with his own: to him they do not
// exist.
func TestOthersSeeNothing(t *testing.T) {
	f := newFixture(t)
	d := f.dataset("alice", "a", "b")
	r := f.run("alice", d)
	f.await("alice", r.Id, api.StateSucceeded)
	upload := strings.TrimPrefix(f.createUpload("alice", "pack", "", 10), "/api/v1/uploads/")
	own := f.dataset("bob", "a", "b") // the same photos
	ids := map[string]string{"datasets": d.Id, "runs": r.Id, "tasks": r.Id, "uploads": upload}
	asked := 0
	for _, operation := range operations(t) {
		method, path, _ := strings.Cut(operation, " ")
		if !strings.Contains(path, "{id}") {
			continue
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		path = "/api/v1" + strings.NewReplacer("{id}", ids[first], "{name}", "model.h5", "{delivery}", "x").Replace(path)
		headers := []string{"Content-Type", "application/json"}
		if first == "uploads" {
			headers = []string{"Content-Type", "application/offset+octet-stream", "Tus-Resumable", "1.0.0", "Upload-Offset", "0"}
		}
		asked++
		if got := f.do("bob", method, path, strings.NewReader("{}"), headers...).StatusCode; got != http.StatusNotFound {
			t.Errorf("%s of somebody else's: %d", operation, got)
		}
	}
	if asked < 15 {
		t.Errorf("%d operations were asked", asked)
	}
	for name, body := range map[string]string{
		"/runs":      `{"dataset":"` + d.Id + `"}`,
		"/runs/plan": `{"dataset":"` + d.Id + `"}`,
	} {
		if got := f.do("bob", "POST", "/api/v1"+name, strings.NewReader(body), "Content-Type", "application/json").StatusCode; got != http.StatusNotFound {
			t.Errorf("POST %s with somebody else's dataset: %d", name, got)
		}
	}
	for _, field := range []string{"start_from", "distill_teacher"} {
		body := `{"dataset":"` + own.Id + `","recipe":{"` + field + `":"` + r.Id + `"}}`
		if got := f.do("bob", "POST", "/api/v1/runs", strings.NewReader(body), "Content-Type", "application/json").StatusCode; got/100 != 4 {
			t.Errorf("POST /runs with somebody else's run as %s: %d", field, got)
		}
	}
	if got := f.do("bob", "POST", "/api/v1/uploads", nil, tusHeaders("manifest", d.Id, 10)...).StatusCode; got != http.StatusNotFound {
		t.Errorf("a manifest for somebody else's dataset: %d", got)
	}
	for _, list := range []string{"/runs", "/datasets"} {
		b, err := io.ReadAll(f.do("bob", "GET", "/api/v1"+list, nil).Body)
		if err != nil || strings.Contains(string(b), d.Id) || strings.Contains(string(b), r.Id) {
			t.Errorf("GET %s: %s, %v", list, b, err)
		}
	}
	// Nothing was done to them either.
	f.await("alice", r.Id, api.StateSucceeded)
	if got := f.offset("alice", "/api/v1/uploads/"+upload); got != "0" {
		t.Errorf("alice's upload is at %s", got)
	}
}

// TestProxies sends requests past and through a proxy on this machine.
func TestProxies(t *testing.T) {
	f := newFixture(t)
	f.proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	f.restart()
	if got := f.do("ada", http.MethodGet, "/api/v1/runs", nil); got.StatusCode != http.StatusForbidden {
		t.Errorf("past the proxy: %d", got.StatusCode)
	}
	for _, probe := range []string{"/healthz", "/readyz"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.api.URL+probe, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "10.9.8.7:8080" // a load balancer checks under the pod's address
		got, err := http.DefaultClient.Do(req)
		if err != nil || got.StatusCode != http.StatusOK {
			t.Errorf("%s past the proxy: %v, %v", probe, got, err)
		}
	}
	f.proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")}
	f.restart()
	for _, c := range []struct {
		name    string
		headers []string
		want    int
		client  string
	}{
		{"through the proxy", nil, http.StatusOK, "127.0.0.1"},
		{"by https", []string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "203.0.113.7"}, http.StatusOK, "203.0.113.7"},
		{"by http", []string{"X-Forwarded-Proto", "http"}, http.StatusForbidden, ""},
		{"two proxies", []string{"X-Forwarded-For", "203.0.113.7, 192.0.2.1"}, http.StatusOK, "203.0.113.7"},
		{"who claims to be another", []string{"X-Forwarded-For", "198.51.100.1, 203.0.113.7"}, http.StatusOK, "203.0.113.7"},
		{"nonsense", []string{"X-Forwarded-For", "<script>"}, http.StatusOK, "127.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := f.do("ada", http.MethodGet, "/api/v1/runs", nil, c.headers...); got.StatusCode != c.want {
				b, _ := io.ReadAll(got.Body)
				t.Fatalf("%d: %s", got.StatusCode, b)
			}
			if got := f.seen.Load(); c.client != "" && got != netip.MustParseAddr(c.client) {
				t.Errorf("taken for %v, want %s", got, c.client)
			}
		})
	}
}

// TestTooManyWrongTokens meets the limit of a caller that goes on showing a wrong token.
func TestTooManyWrongTokens(t *testing.T) {
	f := newFixture(t)
	f.refuse = &auth.Limited{After: 90 * time.Second, Answer: api.Errorf(api.CodeUnavailable, "Too many.")}
	got := f.do("ada", http.MethodGet, "/api/v1/runs", nil)
	if got.StatusCode != http.StatusTooManyRequests || got.Header.Get("Retry-After") != "91" {
		t.Errorf("%d, to be tried again after %q s", got.StatusCode, got.Header.Get("Retry-After"))
	}
}
