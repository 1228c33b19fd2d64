// Package httpapi serves the API of shared/api over gorilla/mux: what the document describes as JSON by the generated
// strict handlers, the rest (uploads, streams, files) by hand on the same router. It decides nothing; it turns requests
// into calls and errors into answers.
package httpapi

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/tus/tusd/v2/pkg/handler"
	"go.yaml.in/yaml/v3"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/deliver"
	"github.com/cultivar-ml/cultivar/server/internal/ingest"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/server/internal/tasks"
	"github.com/cultivar-ml/cultivar/shared/api"
)

// base is where the API lies.
const base = "/api/v1"

// Options are what a Server works with. Zero durations stand for the defaults in brackets.
type Options struct {
	Store        *store.Store
	Ingest       *ingest.Service
	Deliver      *deliver.Service
	Tasks        *tasks.Service
	Authenticate auth.Authenticator
	Hosts        []string       // values of Host that are answered, without port; nil: any (a unix socket cannot be reached by a browser)
	Proxies      []netip.Prefix // networks of the proxies that terminate TLS, which alone may send requests; nil: there are none
	Log          *slog.Logger
	Now          func() time.Time
	Heartbeat    time.Duration // between comments on a quiet stream (15 s)
	StreamLife   time.Duration // of a stream, ± 20 % (10 min)
	WriteTimeout time.Duration // for each write to a stream's reader (5 s)
}

// Server is the API's handler with what it knows of its use.
type Server struct {
	Options
	router  *mux.Router
	tus     *handler.UnroutedHandler
	spec    []byte
	closing chan struct{}

	inFlight atomic.Int64
	lastUse  atomic.Int64 // nanoseconds since 1970
}

// New builds the router.
func New(o Options) (*Server, error) {
	o.Heartbeat = orDefault(o.Heartbeat, 15*time.Second)
	o.StreamLife = orDefault(o.StreamLife, 10*time.Minute)
	o.WriteTimeout = orDefault(o.WriteTimeout, 5*time.Second)
	s := &Server{Options: o, router: mux.NewRouter(), closing: make(chan struct{})}
	s.lastUse.Store(o.Now().UnixNano())
	var err error
	if s.spec, err = specJSON(); err != nil {
		return nil, err
	}
	if s.tus, err = newTus(o.Ingest); err != nil {
		return nil, err
	}
	s.routes()
	return s, nil
}

func orDefault(d, value time.Duration) time.Duration {
	if d == 0 {
		return value
	}
	return d
}

// specJSON is the API's document as JSON.
func specJSON() ([]byte, error) {
	var doc any
	if err := yaml.Unmarshal(api.Spec, &doc); err != nil {
		return nil, fmt.Errorf("read the API's document: %w", err)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("read the API's document: %w", err)
	}
	return b, nil
}

func (s *Server) routes() {
	r := s.router
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, api.Errorf(api.CodeNotFound, "There is nothing at %s; the API is described at %s/openapi.json.", r.URL.Path, base))
	})
	r.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", strings.Join(s.allowed(r), ", "))
		e := api.Errorf(api.CodeInvalid, "%s is not possible at %s; the API is described at %s/openapi.json.", r.Method, r.URL.Path, base)
		s.answer(w, http.StatusMethodNotAllowed, s.stamped(r, e))
	})
	r.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }).Methods(http.MethodGet)
	r.HandleFunc("/readyz", s.ready).Methods(http.MethodGet)
	r.HandleFunc(base+"/openapi.json", s.document).Methods(http.MethodGet)

	r.HandleFunc(base+"/datasets/zip", s.authed(s.importZip)).Methods(http.MethodPost)
	r.HandleFunc(base+"/blobs/missing", s.authed(s.missingBlobs)).Methods(http.MethodPost)
	r.HandleFunc(base+"/uploads", s.authed(s.uploads(s.tus.PostFile))).Methods(http.MethodPost)
	r.HandleFunc(base+"/uploads", s.uploads(nil)).Methods(http.MethodOptions)
	r.HandleFunc(base+"/uploads/{id}", s.authed(s.uploads(s.tus.HeadFile))).Methods(http.MethodHead)
	r.HandleFunc(base+"/uploads/{id}", s.authed(s.uploads(s.tus.PatchFile))).Methods(http.MethodPatch)
	r.HandleFunc(base+"/uploads/{id}", s.authed(s.uploads(s.tus.DelFile))).Methods(http.MethodDelete)
	r.HandleFunc(base+"/runs/{id}/artifacts/{name}", s.authed(s.artifact)).Methods(http.MethodGet, http.MethodHead)
	r.HandleFunc(base+"/runs/{id}/metrics.csv", s.authed(s.metricsTable)).Methods(http.MethodGet)
	r.HandleFunc(base+"/runs/{id}/metrics.tfevents", s.authed(s.metricsEvents)).Methods(http.MethodGet)
	r.HandleFunc(base+"/runs/{id}/predict", s.authed(s.predict)).Methods(http.MethodPost)
	r.HandleFunc(base+"/tasks/{id}/events", s.authed(s.events)).Methods(http.MethodGet)

	wrong := func(w http.ResponseWriter, r *http.Request, err error) { s.fail(w, r, badRequest(err)) }
	strict := api.NewStrictHandlerWithOptions(operations{s}, nil, api.StrictHTTPServerOptions{
		RequestErrorHandlerFunc:  wrong,
		ResponseErrorHandlerFunc: s.fail,
	})
	api.HandlerWithOptions(strict, api.GorillaServerOptions{
		BaseURL: base, BaseRouter: r, ErrorHandlerFunc: wrong,
		Middlewares: []api.MiddlewareFunc{s.jsonBody},
	})
}

// allowed lists the methods that are possible at a request's path.
func (s *Server) allowed(r *http.Request) []string {
	var out []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
		other := r.Clone(r.Context())
		other.Method = method
		var m mux.RouteMatch
		if s.router.Match(other, &m) && m.MatchErr == nil {
			out = append(out, method)
		}
	}
	return out
}

// maxJSON bounds a JSON body.
const maxJSON = 1 << 20

// jsonBody limits and authenticates the strict operations.
func (s *Server) jsonBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxJSON)
		if strings.HasSuffix(r.URL.Path, base+"/version") {
			next.ServeHTTP(w, r) // asked before there is a token
			return
		}
		s.authed(next.ServeHTTP)(w, r)
	})
}

// authed lets only known callers through, and those only to what their scopes allow.
func (s *Server) authed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, err := s.Authenticate(r)
		if err == nil {
			err = permit(p, r)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		next(w, r.WithContext(auth.With(r.Context(), p)))
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.inFlight.Add(1)
	defer func() {
		s.lastUse.Store(s.Now().UnixNano())
		s.inFlight.Add(-1)
	}()
	id := auth.NewID()
	r = r.WithContext(withRequestID(r.Context(), id))
	w.Header().Set("X-Request-Id", id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !probe(r) {
		through, err := s.throughProxy(r)
		if err == nil {
			err = s.foreign(r)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		r = through
	}
	s.router.ServeHTTP(w, r)
}

// foreign refuses what only a browser sends: this API has no cookies and no pages, so such a request was made by
// somebody else's page, perhaps under a name that was pointed at this machine (DNS rebinding).
func (s *Server) foreign(r *http.Request) error {
	if r.Header.Get("Origin") != "" || r.Header.Get("Cookie") != "" {
		return api.Errorf(api.CodeForbidden, "Requests from web pages are not answered.")
	}
	if s.Hosts == nil {
		return nil
	}
	host := hostOnly(r.Host)
	for _, h := range s.Hosts {
		if strings.EqualFold(h, host) {
			return nil
		}
	}
	return api.Errorf(api.CodeForbidden, "This server does not answer to the name %q.", host)
}

func hostOnly(hostport string) string {
	host := hostport
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	return strings.Trim(host, "[]")
}

// Close ends every event stream, so that a server can shut down; the clients reconnect.
func (s *Server) Close() { close(s.closing) }

// IdleSince tells when the last request ended; ok is false while one is being served.
func (s *Server) IdleSince() (t time.Time, ok bool) {
	if s.inFlight.Load() > 0 {
		return time.Time{}, false
	}
	return time.Unix(0, s.lastUse.Load()), true
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if err := s.Store.Ping(r.Context()); err != nil {
		s.fail(w, r, err)
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}

func (s *Server) document(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(s.spec)
}
