package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/store"
	"github.com/cultivar-ml/cultivar/shared/api"
)

type requestIDKey struct{}

func withRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// fail answers with an error. It is the one place where an error that is not meant for people is logged and replaced by
// "internal error" with the request's id.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := s.public(r, err)
	status := api.Status(e.Code)
	var limited *auth.Limited
	switch {
	case errors.As(err, &limited):
		status = http.StatusTooManyRequests
		w.Header().Set("Retry-After", strconv.Itoa(int(limited.After/time.Second)+1))
	case e.Code == api.CodeUnavailable:
		w.Header().Set("Retry-After", "10")
	}
	if e.Code == api.CodeUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	s.answer(w, status, e)
}

func (s *Server) public(r *http.Request, err error) api.Error {
	var e *api.Error
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &e):
	case errors.As(err, &tooLong):
		e = api.Errorf(api.CodeTooLarge, "The request's body may have at most %d bytes.", tooLong.Limit)
	case errors.Is(err, store.ErrNotFound):
		e = api.Errorf(api.CodeNotFound, "There is nothing of yours with this id at %s.", r.URL.Path)
	case errors.Is(err, store.ErrConflict):
		e = api.Errorf(api.CodeConflict, "It has changed in the meantime. Look again and decide anew.")
	default:
		if r.Context().Err() == nil { // a caller who has gone makes errors that mean nothing
			s.Log.ErrorContext(r.Context(), "request failed", "request_id", requestID(r.Context()), "method", r.Method, "path", r.URL.Path, "error", err)
		}
		e = api.Errorf(api.CodeInternal, "Internal error. The server's log tells more under the request id %s.", requestID(r.Context()))
	}
	return s.stamped(r, e)
}

// stamped is a copy of e with the request's id.
func (s *Server) stamped(r *http.Request, e *api.Error) api.Error {
	out := *e
	if id := requestID(r.Context()); id != "" {
		out.RequestId = &id
	}
	return out
}

func (s *Server) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller may have gone
}

// badRequest turns what the generated code found wrong with a request into an answer for people.
func badRequest(err error) error {
	var tooLong *http.MaxBytesError
	var e *api.Error
	if errors.As(err, &tooLong) || errors.As(err, &e) {
		return err
	}
	return api.Errorf(api.CodeInvalid, "The request cannot be understood: %v.", err)
}
