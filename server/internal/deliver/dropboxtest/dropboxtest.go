// Package dropboxtest is a double of Dropbox's HTTP API, as far as package deliver uses it, for tests. It checks what it
// is asked as strictly as Dropbox does, and can lose answers, be busy, be broken and forget upload sessions on demand.
//
// Its hosts are folders: /api/2/…, /content/2/…, and /api/oauth2/token for access tokens. Share links lead to /s/….
package dropboxtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/dropbox/dropbox-sdk-go-unofficial/v6/dropbox/contenthash"
)

// Fault is what goes wrong with one request.
type Fault int

// What can go wrong.
const (
	None   Fault = iota
	Lose         // it takes effect, and the connection breaks before the answer
	Drop         // the connection breaks before anything happens
	Busy         // 429 with Retry-After
	Broken       // 503
	Forget       // upload sessions are forgotten first
)

// Options say which account the double has. All but the credentials may be zero.
type Options struct {
	AppKey, AppSecret, RefreshToken string

	Dir      string                   // where files are put too; empty: memory only
	NoExpiry bool                     // the account may not make links that end
	Lacks    []string                 // rights that the permission does not have, such as sharing.write
	Fault    func(route string) Fault // asked once a request, one at a time; nil: nothing goes wrong
	Now      func() time.Time         // default time.Now
}

// Link is a share link.
type Link struct {
	URL     string     `json:"url"`
	Path    string     `json:"path"`
	Expires *time.Time `json:"expires,omitempty"`
}

// State is what the account holds, and how much was asked of it.
type State struct {
	Files    map[string]string `json:"files"` // path to content_hash
	Links    []Link            `json:"links"`
	Finished int               `json:"finished"` // uploads that became a file
	Created  int               `json:"created"`  // links that were made
	Bytes    int64             `json:"bytes"`    // that were appended to sessions
}

// Server is the account. It is an http.Handler for any number of requests at once.
type Server struct {
	options Options

	mu       sync.Mutex
	files    map[string][]byte
	links    map[string]Link // by id
	sessions map[string][]byte
	revoked  bool
	token    int
	state    State
}

// New makes an account with nothing in it.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Fault == nil {
		o.Fault = func(string) Fault { return None }
	}
	return &Server{options: o, files: map[string][]byte{}, links: map[string]Link{}, sessions: map[string][]byte{}}
}

// State tells what there is now.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.state
	out.Files = map[string]string{}
	for p, content := range s.files {
		out.Files[p] = hash(content)
	}
	for _, l := range s.links {
		out.Links = append(out.Links, l)
	}
	sort.Slice(out.Links, func(i, j int) bool { return out.Links[i].URL < out.Links[j].URL })
	return out
}

// Revoke withdraws the refresh token.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = true
}

// ServeHTTP implements http.Handler. GET /state answers the State as JSON.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		s.get(w, r)
		return
	}
	s.mu.Lock()
	fault := s.options.Fault(r.URL.Path)
	if fault == Forget {
		s.sessions = map[string][]byte{}
	}
	answer := httptest.NewRecorder()
	switch fault {
	case Busy:
		answer.Header().Set("Retry-After", "7")
		answer.WriteHeader(http.StatusTooManyRequests)
		_, _ = answer.WriteString("too_many_requests/..")
	case Broken:
		answer.WriteHeader(http.StatusServiceUnavailable)
	case Drop:
	default:
		s.route(answer, r)
	}
	s.mu.Unlock()
	if fault == Drop || fault == Lose {
		hangUp(w)
		return
	}
	for k, v := range answer.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

func hangUp(w http.ResponseWriter) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = c.Close()
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/state" {
		reply(w, s.State())
		return
	}
	s.mu.Lock()
	l, ok := s.links[strings.Split(strings.TrimPrefix(r.URL.Path, "/s/"), "/")[0]]
	content := s.files[l.Path]
	s.mu.Unlock()
	if !ok || (l.Expires != nil && !l.Expires.After(s.options.Now())) {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(content)
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/api/oauth2/token" {
		s.grant(w, r)
		return
	}
	if r.Header.Get("Authorization") != fmt.Sprintf("Bearer sl.%d", s.token) || s.revoked {
		fail(w, http.StatusUnauthorized, "invalid_access_token/..", map[string]any{".tag": "invalid_access_token"})
		return
	}
	if right := rights[r.URL.Path]; slices.Contains(s.options.Lacks, right) {
		fail(w, http.StatusUnauthorized, "missing_scope/..", map[string]any{".tag": "missing_scope", "required_scope": right})
		return
	}
	routes := map[string]func(http.ResponseWriter, *http.Request){
		"/api/2/check/user":                               s.echo,
		"/api/2/files/get_metadata":                       s.metadata,
		"/content/2/files/upload_session/start":           s.start,
		"/content/2/files/upload_session/append_v2":       s.add,
		"/content/2/files/upload_session/finish":          s.finish,
		"/api/2/sharing/create_shared_link_with_settings": s.create,
		"/api/2/sharing/list_shared_links":                s.list,
		"/api/2/sharing/revoke_shared_link":               s.revoke,
	}
	if do, ok := routes[r.URL.Path]; ok {
		do(w, r)
		return
	}
	http.Error(w, "unknown route "+r.URL.Path, http.StatusBadRequest)
}

// rights are what Dropbox asks for each route: https://www.dropbox.com/developers/documentation/http/documentation.
var rights = map[string]string{
	"/api/2/check/user":                               "account_info.read",
	"/api/2/files/get_metadata":                       "files.metadata.read",
	"/content/2/files/upload_session/start":           "files.content.write",
	"/content/2/files/upload_session/append_v2":       "files.content.write",
	"/content/2/files/upload_session/finish":          "files.content.write",
	"/api/2/sharing/create_shared_link_with_settings": "sharing.write",
	"/api/2/sharing/list_shared_links":                "sharing.read",
	"/api/2/sharing/revoke_shared_link":               "sharing.write",
}

func (s *Server) echo(w http.ResponseWriter, r *http.Request) {
	var arg struct {
		Query string `json:"query"`
	}
	if _, ok := body(w, r, &arg); ok {
		reply(w, map[string]string{"result": arg.Query})
	}
}

func (s *Server) grant(w http.ResponseWriter, r *http.Request) {
	key, secret, _ := r.BasicAuth()
	code := ""
	switch {
	case key != s.options.AppKey || secret != s.options.AppSecret:
		code = "invalid_client"
	case r.FormValue("grant_type") != "refresh_token":
		code = "unsupported_grant_type"
	case s.revoked || r.FormValue("refresh_token") != s.options.RefreshToken:
		code = "invalid_grant"
	}
	if code != "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": "refresh token is invalid or revoked"})
		return
	}
	s.token++
	reply(w, map[string]any{"access_token": fmt.Sprintf("sl.%d", s.token), "token_type": "bearer", "expires_in": 14400})
}

// save puts a file into the folder, under the path it has in the account.
func (s *Server) save(name string, content []byte) error {
	if s.options.Dir == "" {
		return nil
	}
	to := filepath.Join(s.options.Dir, filepath.FromSlash(filepath.Clean("/"+name)))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o600)
}

func hash(content []byte) string {
	h := contenthash.New()
	_, _ = h.Write(content) // a hash never fails
	return h.HexDigest()
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who has gone needs no answer
}

func fail(w http.ResponseWriter, status int, summary string, e any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error_summary": summary, "error": e})
}
